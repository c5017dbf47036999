package uploader

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
)

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

// A path that no list can hold costs its file, and not the backup.
func TestPathThatNoListHolds(t *testing.T) {
	w := newWorld(t)
	w.write("good", random(10))
	root, err := os.OpenRoot(w.storage)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	deep := strings.TrimSuffix(strings.Repeat("d/", 2048), "/")
	if err := errors.Join(root.MkdirAll(deep, 0o755), root.WriteFile(deep+"/bad", nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	r, err := w.backup(nil)
	if !errors.Is(err, ErrIncomplete) || r.LeftOut != 1 || r.Files != 1 {
		t.Fatalf("%v, %+v", err, r)
	}
	w.check(r.Backup, envelope.NewOpener(nil), false)
}
