package uploader

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha512"
	"io"
	"maps"
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
	w := &world{t: t, storage: t.TempDir(), now: time.Date(2026, 1, 1, 1, 10, 0, 0, time.UTC)}
	w.takeBucket(t.TempDir())
	return w
}

// takeBucket has the world go on with another bucket.
func (w *world) takeBucket(dir string) {
	w.t.Helper()
	store, err := objstore.OpenDir(dir)
	if err != nil {
		w.t.Fatal(err)
	}
	w.bucket, w.store = dir, store
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

func (w *world) setTime(path string, at time.Time) {
	w.t.Helper()
	if err := os.Chtimes(filepath.Join(w.storage, path), time.Time{}, at); err != nil {
		w.t.Fatal(err)
	}
}

// touch makes a file younger.
func (w *world) touch(path string) { w.t.Helper(); w.setTime(path, w.now.Add(time.Minute)) }

// rewrite gives a file other bytes, but the same size and time.
func (w *world) rewrite(path string) {
	w.t.Helper()
	info, err := os.Stat(filepath.Join(w.storage, path))
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(path, random(int(info.Size())))
	w.setTime(path, info.ModTime())
}

func (w *world) chmod(path string, mode os.FileMode) {
	w.t.Helper()
	if err := os.Chmod(filepath.Join(w.storage, path), mode); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) remove(path string) {
	w.t.Helper()
	if err := os.Remove(filepath.Join(w.storage, path)); err != nil {
		w.t.Fatal(err)
	}
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

// put replaces an object.
func (w *world) put(key string, data []byte) {
	w.t.Helper()
	if err := w.store.Put(context.Background(), key, data); err != nil {
		w.t.Fatal(err)
	}
}

// edit changes an object's bytes.
func (w *world) edit(key string, change func([]byte) []byte) {
	w.t.Helper()
	before := w.get(key)
	after := change(bytes.Clone(before))
	if bytes.Equal(before, after) {
		w.t.Fatalf("%s stayed as it was", key)
	}
	w.put(key, after)
}

func (w *world) delete(keys ...string) {
	w.t.Helper()
	if err := w.store.Delete(context.Background(), keys...); err != nil {
		w.t.Fatal(err)
	}
}

// lines are a list's text.
func (w *world) lines(entries ...manifest.Entry) []byte {
	w.t.Helper()
	var b bytes.Buffer
	out := manifest.NewWriter(&b)
	for i := range entries {
		if err := out.Write(&entries[i]); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := out.Flush(); err != nil {
		w.t.Fatal(err)
	}
	return b.Bytes()
}

// archive does as the archiver: the list becomes the archive's.
func (w *world) archive(backup string) {
	w.t.Helper()
	w.put(backup+"/archive-info", w.lines(w.archived(backup)...))
}

// archived is a backup's list as the archiver writes it.
func (w *world) archived(backup string) []manifest.Entry {
	w.t.Helper()
	name, err := backupname.Parse(backup)
	if err != nil {
		w.t.Fatal(err)
	}
	entries := w.list(backup)
	for i := range entries {
		entries[i].Backup = name
	}
	return entries
}

func (w *world) list(backup string) []manifest.Entry {
	w.t.Helper()
	return w.readList(backup + "/backup-info")
}

func (w *world) readList(key string) (entries []manifest.Entry) {
	w.t.Helper()
	for e, err := range manifest.Read(bytes.NewReader(w.get(key))) {
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
	return w.checkEntries(backup, w.list(backup), opener, encrypted)
}

func (w *world) checkEntries(backup string, entries []manifest.Entry, opener *envelope.Opener, encrypted bool) map[string]manifest.Entry {
	w.t.Helper()
	packages := map[string][]byte{}
	all := map[string]manifest.Entry{}
	for _, e := range entries {
		if _, twice := all[e.Path]; twice {
			w.t.Errorf("%q is listed twice", e.Path)
		}
		all[e.Path] = e
		if e.Backup.String() != backup {
			continue
		}
		if packages[e.Package] == nil {
			packages[e.Package] = w.get(backup + "/" + e.Package)
		}
		if int64(len(packages[e.Package])) < e.Offset+e.SealedSize {
			w.t.Errorf("%q: its package is too short", e.Path)
			continue
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

// checkBucket checks that there is nothing but the backups' lists, with or
// without signatures, and what they name, nor anything in the making.
func (w *world) checkBucket(backups ...string) {
	w.t.Helper()
	want := map[string]bool{}
	keys := w.keys()
	for _, backup := range backups {
		want[backup+"/backup-info"] = true
		if sig := backup + "/backup-info.sig"; slices.Contains(keys, sig) {
			want[sig] = true
		}
		for _, e := range w.list(backup) {
			want[backup+"/"+e.Package] = true
		}
	}
	if len(keys) != len(want) || slices.ContainsFunc(keys, func(key string) bool { return !want[key] }) {
		w.t.Errorf("the bucket holds %q, not %q", keys, slices.Sorted(maps.Keys(want)))
	}
	w.checkNothingUnfinished()
}

// checkNothingUnfinished checks that nobody is in the middle of writing.
func (w *world) checkNothingUnfinished() {
	w.t.Helper()
	left, err := filepath.Glob(filepath.Join(w.bucket, ".firn-tmp", "*"))
	if err != nil || len(left) != 0 {
		w.t.Errorf("unfinished: %v, %v", left, err)
	}
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

// rounds are how often to do what chance has a part in: many times where
// FIRN_SOAK is set.
func rounds(n int) int {
	if os.Getenv("FIRN_SOAK") != "" {
		return 20 * n
	}
	return n
}

// everyOther is 2, or 1 where FIRN_SOAK is set.
func everyOther() int64 {
	if os.Getenv("FIRN_SOAK") != "" {
		return 1
	}
	return 2
}
