package uploader

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/keys"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/objstore"
)

const fixtures = "../testdata/original"

// world is a storage and a bucket.
type world struct {
	t       *testing.T
	storage string
	bucket  string
	store   objstore.Store
	now     time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, storage: t.TempDir(), bucket: t.TempDir(), now: time.Date(2026, 1, 1, 1, 10, 0, 0, time.UTC)}
	store, err := objstore.OpenDir(w.bucket)
	if err != nil {
		t.Fatal(err)
	}
	w.store = store
	return w
}

func (w *world) write(path string, data []byte) {
	w.t.Helper()
	file := filepath.Join(w.storage, path)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// backup runs the uploader an hour later.
func (w *world) backup(change func(*Options)) (*Report, error) {
	w.t.Helper()
	w.now = w.now.Add(time.Hour)
	o := Options{
		Store: w.store, Storage: w.storage, Name: "file-storage", Workers: 2,
		now: func() time.Time { return w.now }, retryDelay: time.Millisecond, partSize: 64 << 10,
	}
	if change != nil {
		change(&o)
	}
	return Run(context.Background(), o)
}

func (w *world) mustBackup(change func(*Options)) *Report {
	w.t.Helper()
	r, err := w.backup(change)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) get(key string) []byte {
	w.t.Helper()
	r, err := w.store.Get(context.Background(), key, 0, -1)
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// archive does as the archiver: the list becomes the archive's.
func (w *world) archive(backup string) {
	w.t.Helper()
	var b bytes.Buffer
	out := manifest.NewWriter(&b)
	name, err := backupname.Parse(backup)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range w.list(backup) {
		e.Backup = name
		if err := out.Write(&e); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := errors.Join(out.Flush(), w.store.Put(context.Background(), backup+"/archive-info", b.Bytes())); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) list(backup string) (entries []manifest.Entry) {
	w.t.Helper()
	for e, err := range manifest.Read(bytes.NewReader(w.get(backup + "/backup-info"))) {
		if err != nil {
			w.t.Fatal(err)
		}
		entries = append(entries, e)
	}
	return entries
}

func (w *world) keys() (keys []string) {
	w.t.Helper()
	for o, err := range w.store.List(context.Background(), "") {
		if err != nil {
			w.t.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}

// check opens every new file of a backup from its package, where the list says
// it is, and compares it with the storage.
func (w *world) check(backup string, opener *envelope.Opener, encrypted bool) map[string]manifest.Entry {
	w.t.Helper()
	packages := map[string][]byte{}
	all := map[string]manifest.Entry{}
	for _, e := range w.list(backup) {
		all[e.Path] = e
		if e.Backup.String() != backup {
			continue
		}
		if packages[e.Package] == nil {
			packages[e.Package] = w.get(backup + "/" + e.Package)
		}
		sealed := packages[e.Package][e.Offset : e.Offset+e.SealedSize]
		if sha512.Sum512(sealed) != e.SealedSHA512 {
			w.t.Errorf("%q is not where the list says", e.Path)
			continue
		}
		r, err := opener.NewReader(bytes.NewReader(sealed), encrypted)
		if err != nil {
			w.t.Fatal(err)
		}
		plain, err := io.ReadAll(r)
		if err != nil {
			w.t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(w.storage, e.Path))
		if err != nil || !bytes.Equal(plain, want) || e.Size != int64(len(want)) || e.SHA512 != sha512.Sum512(want) {
			w.t.Errorf("%q is not what was backed up: %v", e.Path, err)
		}
	}
	return all
}

func random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

func recipients(t *testing.T, name string) envelope.Recipients {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(fixtures, "keys", name+".public.asc"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := keys.ParsePublic(b)
	if err != nil {
		t.Fatal(err)
	}
	return envelope.Recipients{Keys: list}
}

func opener(t *testing.T, name string) *envelope.Opener {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(fixtures, "keys", name+".private.base64"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := keys.ParsePrivate(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	return envelope.NewOpener(list)
}

func TestOddFilesComeBack(t *testing.T) {
	w := newWorld(t)
	names := []string{
		"empty", "a b", "-rf", "ta\tb", "new\nline", "\xff\xfe", "'\"`$", "ä/ö/日本", "%0A", strings.Repeat("x", 255), strings.Repeat("\n", 255),
		strings.Repeat("d/", 500) + "deep", "ab/large",
	}
	for i, name := range names {
		w.write(name, random(i*1000))
	}
	w.write("empty", nil)
	w.write("ab/large", random(2_000_000))
	r := w.mustBackup(func(o *Options) { o.Recipients = recipients(t, "curve") })
	got := w.check(r.Backup, opener(t, "curve"), true)
	if len(got) != len(names) || r.Files != len(names) || r.New != len(names) {
		t.Errorf("%d listed, %+v", len(got), r)
	}
	for _, name := range names {
		info, err := os.Stat(filepath.Join(w.storage, name))
		if err != nil {
			t.Fatal(err)
		}
		e, ok := got[name]
		if !ok || !e.Modified.Equal(info.ModTime()) || !e.HasMode || e.Mode != info.Mode() {
			t.Errorf("%q: listed %v as %+v", name, ok, e.Details)
		}
	}
	w.checkWithTar(r.Backup)
}

// checkWithTar lists every package with the real tar and compares sizes.
func (w *world) checkWithTar(backup string) {
	w.t.Helper()
	members := 0
	for _, key := range w.keys() {
		if !strings.HasPrefix(key, backup+"/") || !strings.HasSuffix(key, ".tar") {
			continue
		}
		cmd := exec.Command("tar", "--quoting-style=literal", "-tf", "-")
		cmd.Stdin = bytes.NewReader(w.get(key))
		out, err := cmd.CombinedOutput()
		if err != nil {
			w.t.Fatalf("tar -t %s: %v\n%s", key, err, out)
		}
		members += strings.Count(string(out), "\n")
	}
	for _, e := range w.list(backup) {
		if e.Backup.String() == backup {
			members--
		}
	}
	if members != 0 {
		w.t.Errorf("tar finds %d members more than the list", members)
	}
}

// Folders deeper than the system takes in one path.
func TestDeeperThanPathMax(t *testing.T) {
	w := newWorld(t)
	dir, err := os.OpenRoot(w.storage)
	if err != nil {
		t.Fatal(err)
	}
	part := strings.Repeat("d", 200)
	var path []string
	for range 30 {
		if err := dir.Mkdir(part, 0o755); err != nil {
			t.Fatal(err)
		}
		if dir, err = dir.OpenRoot(part); err != nil {
			t.Fatal(err)
		}
		path = append(path, part)
	}
	if err := dir.WriteFile("f", []byte("deep"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := w.mustBackup(nil)
	list := w.list(r.Backup)
	if len(list) != 1 || list[0].Path != strings.Join(path, "/")+"/f" || list[0].Size != 4 || len(list[0].SealedPath) > 200 {
		t.Fatalf("%+v", list)
	}
}

func TestEmptyStorage(t *testing.T) {
	w := newWorld(t)
	r := w.mustBackup(nil)
	if keys := w.keys(); !slices.Equal(keys, []string{r.Backup + "/backup-info"}) || len(w.list(r.Backup)) != 0 {
		t.Errorf("%v", keys)
	}
}

func TestMissingStorageIsAnError(t *testing.T) {
	w := newWorld(t)
	w.storage += "/missing"
	if _, err := w.backup(nil); err == nil || len(w.keys()) != 0 {
		t.Errorf("%v, %v", err, w.keys())
	}
}

func TestIncremental(t *testing.T) {
	w := newWorld(t)
	for i := range 20 {
		w.write(fmt.Sprintf("ab/file%d", i), random(1000))
	}
	first := w.mustBackup(nil)
	if first.Full == "" || first.New != 20 || first.Base != "" {
		t.Errorf("the first: %+v", first)
	}
	// Before the archiver has been there, all is new again.
	second := w.mustBackup(nil)
	if second.New != 20 || second.Base != "" {
		t.Errorf("the second: %+v", second)
	}
	w.archive(first.Backup)
	w.archive(second.Backup)

	touched := filepath.Join(w.storage, "ab/file1")
	if err := os.Chtimes(touched, time.Time{}, w.now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(w.storage, "ab/file2"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.write("ab/file3", random(999))
	w.write("new", random(10))
	if err := os.Remove(filepath.Join(w.storage, "ab/file4")); err != nil {
		t.Fatal(err)
	}
	third := w.mustBackup(nil)
	if third.New != 3 || third.Base != second.Backup || third.Full != "" || third.Files != 20 {
		t.Errorf("the third: %+v", third)
	}
	got := w.check(third.Backup, envelope.NewOpener(nil), false)
	for path, want := range map[string]string{"ab/file0": second.Backup, "ab/file1": third.Backup, "ab/file2": second.Backup, "ab/file3": third.Backup, "new": third.Backup} {
		if e := got[path]; e.Backup.String() != want {
			t.Errorf("%s is in %s, want %s", path, e.Backup, want)
		}
	}
	if e := got["ab/file2"]; e.Mode != 0o600 {
		t.Errorf("the new mode is not listed: %v", e.Mode)
	}

	w.archive(third.Backup)
	if err := os.Chtimes(touched, time.Time{}, w.now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	w.write("new", random(10))
	by := w.mustBackup(func(o *Options) { o.Checksum = true })
	if by.New != 1 {
		t.Errorf("by contents: %+v", by)
	}
	if full := w.mustBackup(func(o *Options) { o.Full = true }); full.New != 20 || full.Full == "" {
		t.Errorf("full: %+v", full)
	}
}

func TestChangedRecipientsMakeAFullBackup(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.write(fmt.Sprint(i), random(100))
	}
	both := recipients(t, "curve")
	both.Keys = append(both.Keys, recipients(t, "chipster").Keys...)
	steps := []struct {
		what string
		envelope.Recipients
	}{
		{"none", envelope.Recipients{}},
		{"key", recipients(t, "curve")},
		{"two keys", both},
		{"other key", recipients(t, "chipster")},
		{"passphrase", envelope.Recipients{Passphrase: []byte("one")}},
		{"other passphrase", envelope.Recipients{Passphrase: []byte("two")}},
		{"none again", envelope.Recipients{}},
	}
	for _, s := range steps {
		first := w.mustBackup(func(o *Options) { o.Recipients = s.Recipients })
		w.archive(first.Backup)
		if first.New != 5 || first.Full == "" {
			t.Errorf("%s: %+v", s.what, first)
		}
		again := w.mustBackup(func(o *Options) { o.Recipients = s.Recipients })
		w.archive(again.Backup)
		if again.New != 0 || again.Full != "" {
			t.Errorf("%s, again: %+v", s.what, again)
		}
	}
}

// The original's lists have no times and name no recipients: what they list is
// taken for unchanged when its size is the same.
func TestContinuesTheOriginalsChain(t *testing.T) {
	w := newWorld(t)
	w.now = time.Now()
	const base = "file-storage_2021-03-04T01:10:00.123456Z"
	list, err := os.ReadFile(filepath.Join(fixtures, "rsa/bucket", base, "archive-info"))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store.Put(context.Background(), base+"/archive-info", list); err != nil {
		t.Fatal(err)
	}
	for e, err := range manifest.Read(bytes.NewReader(list)) {
		if err != nil {
			t.Fatal(err)
		}
		w.write(e.Path, make([]byte, e.Size))
	}
	w.write("ff/new", random(10))
	r := w.mustBackup(func(o *Options) { o.Recipients = recipients(t, "chipster") })
	if r.New != 1 || r.Base != base || r.Full != "" {
		t.Errorf("%+v", r)
	}
}

// The original stores a file called "a%0Ab" where firn stores "a\nb".
func TestSealedPathsOfTheOriginalDoNotCollide(t *testing.T) {
	w := newWorld(t)
	w.write("a%0Ab", random(10))
	first := w.mustBackup(nil)
	e := w.list(first.Backup)[0]
	line := strings.Join([]string{"a%0Ab", "10", e.SHA512.String(), "a%0Ab.lz4", fmt.Sprint(e.SealedSize), e.SealedSHA512.String(), first.Backup}, "\t") + "\n"
	if err := w.store.Put(context.Background(), first.Backup+"/archive-info", []byte(line)); err != nil {
		t.Fatal(err)
	}
	w.write("a\nb", random(10))
	second := w.mustBackup(nil)
	got := w.check(second.Backup, envelope.NewOpener(nil), false)
	if len(got) != 2 || got["a%0Ab"].SealedPath == got["a\nb"].SealedPath {
		t.Errorf("%+v", got)
	}
}

func TestDamagedBaseMakesAFullBackup(t *testing.T) {
	w := newWorld(t)
	w.write("a", random(100))
	first := w.mustBackup(nil)
	list := w.get(first.Backup + "/backup-info")
	if err := w.store.Put(context.Background(), first.Backup+"/archive-info", list[:len(list)-10]); err != nil {
		t.Fatal(err)
	}
	if r := w.mustBackup(nil); r.New != 1 || r.Full != "the list of "+first.Backup+" is damaged" || r.Base != "" {
		t.Errorf("%+v", r)
	}
}

func TestClockBehindTheNewestBackup(t *testing.T) {
	w := newWorld(t)
	w.mustBackup(nil)
	w.now = w.now.Add(-48 * time.Hour)
	if _, err := w.backup(nil); !errors.Is(err, ErrClock) {
		t.Errorf("got %v", err)
	}
}

func TestExcludesAndLinks(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"a/keep", "a/x.tmp", "b/cache/c/d", "b/keep", "top.tmp", "b/tmp"} {
		w.write(name, []byte(name))
	}
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "linked"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"b/up": "..", "a/self": ".", "a/out": outside, "file": "a/keep", "nowhere": "missing", "round": "round"} {
		if err := os.Symlink(to, filepath.Join(w.storage, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := exec.Command("mkfifo", filepath.Join(w.storage, "pipe")).Run(); err != nil {
		t.Fatal(err)
	}
	r, err := w.backup(func(o *Options) { o.Exclude = []string{"*.tmp", "b/cache/**"} })
	var paths []string
	for _, e := range w.list(r.Backup) {
		paths = append(paths, e.Path)
	}
	if want := []string{"a/keep", "a/out/linked", "b/keep", "b/tmp", "file"}; !slices.Equal(paths, want) {
		t.Errorf("%q, want %q", paths, want)
	}
	// A link to itself cannot be read; all else is no reason to complain.
	if !errors.Is(err, ErrIncomplete) || r.LeftOut != 1 || r.Examples[0].Path != "round" {
		t.Errorf("%v, %+v", err, r)
	}
	if _, err := w.backup(func(o *Options) { o.Exclude = []string{"["} }); err == nil {
		t.Error("a bad pattern was taken")
	}
}

// A file that is written to all the while is left out; one that settles is in.
func TestFileChangesWhileItIsRead(t *testing.T) {
	for _, size := range []int{1000, 900_000, 5_000_000} { // within a part; over several; in a package of medium files
		w := newWorld(t)
		w.write("a", random(200_000))
		w.write("restless", random(size))
		w.write("settling", random(size))
		w.write("z", random(200_000))
		restless, settling := filepath.Join(w.storage, "restless"), filepath.Join(w.storage, "settling")
		calls := 0
		r, err := w.backup(func(o *Options) {
			o.Workers = 1
			o.Progress = func(files int, n int64) {
				calls++
				appendTo(t, restless)
				if calls < 3 {
					appendTo(t, settling)
				}
			}
		})
		if !errors.Is(err, ErrIncomplete) || r == nil || r.LeftOut != 1 || r.Examples[0].Path != "restless" {
			t.Fatalf("%d bytes: %v, %+v", size, err, r)
		}
		got := w.check(r.Backup, envelope.NewOpener(nil), false)
		if _, ok := got["restless"]; ok || len(got) != 3 {
			t.Errorf("%d bytes: %d files listed", size, len(got))
		}
		w.checkMembers(r.Backup)
	}
}

// One that is rewritten with other bytes of the same length, or cut short, is
// as bad as one that grows.
func TestFileIsRewrittenWhileItIsRead(t *testing.T) {
	for what, change := range map[string]func(file string, n int) error{
		"rewritten": func(file string, n int) error { return os.WriteFile(file, random(300_000), 0o644) },
		"touched":   func(file string, n int) error { return os.Chtimes(file, time.Time{}, time.Unix(int64(n), 0)) },
		"cut short": func(file string, n int) error { return os.Truncate(file, int64(max(0, 200_000-n*50_000))) },
	} {
		w := newWorld(t)
		w.write("restless", random(300_000))
		n := 0
		r, err := w.backup(func(o *Options) {
			o.Progress = func(files int, bytes int64) {
				if n++; files == 0 {
					if err := change(filepath.Join(w.storage, "restless"), n); err != nil {
						t.Error(err)
					}
				}
			}
		})
		if what == "cut short" && err == nil { // it settles when nothing is left
			if got := w.check(r.Backup, envelope.NewOpener(nil), false); got["restless"].Size != 0 {
				t.Errorf("%s: %d bytes are listed", what, got["restless"].Size)
			}
			continue
		}
		if !errors.Is(err, ErrIncomplete) || r.LeftOut != 1 || r.Files != 0 {
			t.Errorf("%s: %v, %+v", what, err, r)
		}
	}
}

// checkMembers reads the packages as the archiver does: what is not listed is
// named of tildes.
func (w *world) checkMembers(backup string) (abandoned int) {
	w.t.Helper()
	listed := map[string]bool{}
	for _, e := range w.list(backup) {
		listed[e.SealedPath] = true
	}
	for _, key := range w.keys() {
		if !strings.HasSuffix(key, ".tar") {
			continue
		}
		r := tar.NewReader(bytes.NewReader(w.get(key)))
		for {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				w.t.Fatalf("%s: %v", key, err)
			}
			switch {
			case listed[h.Name]:
			case strings.Trim(h.Name, "~/") == "":
				abandoned++
			default:
				w.t.Errorf("%s holds %q, which is not listed", key, h.Name)
			}
		}
	}
	return abandoned
}

func appendTo(t *testing.T, name string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
}

func TestFileVanishes(t *testing.T) {
	w := newWorld(t)
	w.write("a", random(10))
	w.write("b", random(10))
	r, err := w.backup(func(o *Options) {
		o.Planned = func(int, int64) { os.Remove(filepath.Join(w.storage, "a")) }
	})
	if err != nil || r.Vanished != 1 || r.Files != 1 || r.LeftOut != 0 {
		t.Errorf("%v, %+v", err, r)
	}
}

func TestUnreadableFile(t *testing.T) {
	w := newWorld(t)
	w.write("a", random(10))
	w.write("b", random(10))
	// Root may read anything, so the file becomes a folder instead.
	r, err := w.backup(func(o *Options) {
		o.Planned = func(int, int64) {
			os.Remove(filepath.Join(w.storage, "a"))
			os.Mkdir(filepath.Join(w.storage, "a"), 0o755)
		}
	})
	if !errors.Is(err, ErrIncomplete) || r.LeftOut != 1 || r.Files != 1 {
		t.Errorf("%v, %+v", err, r)
	}
}
