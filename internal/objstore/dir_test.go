package objstore_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chipster/firn/internal/objstore"
)

func TestDirReadsOrdinaryTree(t *testing.T) {
	dir := t.TempDir()
	want := []string{
		".firn", ".firnx/y", ".hidden", "100%25", "a b/c.tar", "a b/d/e", "name\xff", strings.Repeat("n", 255),
	}
	for _, name := range want {
		writeFile(t, filepath.Join(dir, name), name)
	}
	writeFile(t, filepath.Join(dir, objstore.TmpDir, "unfinished"), "")
	writeFile(t, filepath.Join(dir, "sub", objstore.TmpDir, "x"), "")
	writeFile(t, filepath.Join(dir, ".firn%not%escaped"), "")
	for link, to := range map[string]string{"link": ".hidden", "link-dir": "a b", "outside": "/etc"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	s := openDir(t, dir)
	if got := list(t, s, ""); !slices.Equal(got, want) {
		t.Errorf("listed\n%q\nwant\n%q", got, want)
	}
	for _, key := range want {
		if got := get(t, s, key); got != key {
			t.Errorf("%q: read %q", key, got)
		}
	}
	for _, key := range []string{objstore.TmpDir + "/unfinished", ".firn%not%escaped", "link"} {
		if _, err := s.Head(t.Context(), key); !errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("%s: error %v; want ErrNotFound", key, err)
		}
	}
}

func TestDirKeyPaths(t *testing.T) {
	long := strings.Repeat("x", 200)
	for key, want := range map[string]string{
		"file-storage_2019-05-08T09:26:17.038Z/ab.tar": "file-storage_2019-05-08T09:26:17.038Z/ab.tar",
		"name_time//abs/x.tar":                         "name_time/.firn%/abs/x.tar",
		"/a":                                           ".firn%/a",
		"a/":                                           "a/.firn%",
		"./../x":                                       ".firn%./.firn%../x",
		".firn-tmp/x":                                  ".firn%.firn-tmp/x",
		".firn%2F":                                     ".firn%.firn%252F",
		"a\x00%":                                       ".firn%a%00%25",
		long + long:                                    ".firn+" + long + "/.firn%" + long,
	} {
		if got, err := objstore.KeyPath(key); err != nil || got != want {
			t.Errorf("keyPath(%q) = %q, %v; want %q", key, got, err, want)
		}
	}
}

// FuzzDirKeys: every key can be written, listed and read, and makes one file
// in the folder and nothing beside it.
func FuzzDirKeys(f *testing.F) {
	seeds := []string{
		"a", "a/b", "a//b", "/", "//", "../../etc/x", ".", "a/./b", "\x00", ".firn%", ".firn+x/y", ".firn-tmp/x", "%00",
		strings.Repeat("ä", 200), strings.Repeat("%", 256), strings.Repeat("a/", 50), "\xff",
	}
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, key := range seeds {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if key == "" || len(key) > 1024 { // S3's limit
			return
		}
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "store"), 0o755); err != nil {
			t.Fatal(err)
		}
		s := openDir(t, filepath.Join(dir, "store"))
		put(t, s, key, key)
		if got := list(t, s, ""); !slices.Equal(got, []string{key}) {
			t.Errorf("%q is listed as %q", key, got)
		}
		if got := get(t, s, key); got != key {
			t.Errorf("%q: read %q", key, got)
		}
		if names := dirNames(t, dir); len(names) != 1 {
			t.Errorf("%q left the store: %q", key, names)
		}
		if err := s.Delete(t.Context(), key); err != nil {
			t.Error(err)
		}
		if names := dirNames(t, dir, "store"); !slices.Equal(names, []string{objstore.TmpDir}) {
			t.Errorf("%q: left after Delete: %q", key, names)
		}
	})
}

// TestDirListOrderOfLongNames: names in pieces sort among the plain ones.
func TestDirListOrderOfLongNames(t *testing.T) {
	s := openDir(t, t.TempDir())
	n := strings.Repeat("n", 200)
	want := []string{n, n + strings.Repeat("a", 100), n + "b", n + strings.Repeat("c", 300), n + strings.Repeat("c", 300) + "/x", n + "d"}
	want = slices.Delete(want, 3, 4) // a file cannot be a folder too
	for _, key := range want {
		put(t, s, key, "")
	}
	if got := list(t, s, ""); !slices.Equal(got, want) {
		t.Errorf("listed %q", got)
	}
}

func TestDirLinksLeadNowhere(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	writeFile(t, filepath.Join(outside, "secret"), "secret")
	if err := os.Symlink(outside, filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	s := openDir(t, dir)
	if _, err := s.Get(t.Context(), "out/secret", 0, -1); err == nil {
		t.Error("read a file outside")
	}
	if err := s.Put(t.Context(), "out/new", nil); err == nil {
		t.Error("wrote a file outside")
	}
	_ = s.Delete(t.Context(), "out/secret")
	if names := dirNames(t, outside); !slices.Equal(names, []string{"secret"}) {
		t.Errorf("outside is %q", names)
	}
}

func TestDirDeleteTidiesUp(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	put(t, s, "a/b/c/x", "")
	put(t, s, "a/y", "")
	writeFile(t, filepath.Join(dir, "real/z"), "")
	writeFile(t, filepath.Join(dir, "real/stays"), "")
	if err := os.Symlink("real", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), "a/b/c/x", "link/z"); err != nil {
		t.Fatal(err)
	}
	if names := dirNames(t, dir, "a"); !slices.Equal(names, []string{"y"}) {
		t.Errorf("a holds %q", names)
	}
	if names := dirNames(t, dir); !slices.Equal(names, []string{objstore.TmpDir, "a", "link", "real"}) {
		t.Errorf("the store holds %q", names)
	}
}

func TestDirFileAndFolderClash(t *testing.T) {
	s := openDir(t, t.TempDir())
	put(t, s, "a/b", "data")
	for _, key := range []string{"a", "a/b/c"} {
		err := s.Put(t.Context(), key, nil)
		if err == nil || !strings.Contains(err.Error(), "file and a folder of one name") || errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("%s: error %v", key, err)
		}
	}
	if get(t, s, "a/b") != "data" {
		t.Error("the first object is lost")
	}
}

func TestOpenDirMissing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	if _, err := objstore.OpenDir(dir); !errors.Is(err, objstore.ErrNotFound) || !strings.Contains(err.Error(), dir) {
		t.Errorf("error %v; want ErrNotFound with the folder", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the folder was made")
	}
}

// TestOpenDirSweeps: old leftovers go, but not what a process still writes.
func TestOpenDirSweeps(t *testing.T) {
	dir := t.TempDir()
	old := time.Now().Add(-25 * time.Hour)
	writeFile(t, filepath.Join(dir, objstore.TmpDir, "old"), "")
	writeFile(t, filepath.Join(dir, objstore.TmpDir, "young"), "")
	u := create(t, openDir(t, dir), "x") // "another process"
	writePart(t, u, 1, "data")
	for _, name := range dirNames(t, dir, objstore.TmpDir) {
		if name != "young" {
			if err := os.Chtimes(filepath.Join(dir, objstore.TmpDir, name), old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := openDir(t, dir)
	if names := dirNames(t, dir, objstore.TmpDir); len(names) != 2 || !slices.Contains(names, "young") {
		t.Errorf("left: %q", names)
	}
	complete(t, u)
	if get(t, s, "x") != "data" {
		t.Error("the upload suffered")
	}
}

// TestDirAbortUploadsSparesTheLiving: somebody else may begin to write just when
// leftovers are removed.
func TestDirAbortUploadsSparesTheLiving(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	done := make(chan struct{})
	var wg sync.WaitGroup
	stop := sync.OnceFunc(func() { close(done); wg.Wait() })
	defer stop()
	other := openDir(t, dir)
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if _, err := other.AbortUploads(t.Context(), ""); err != nil {
				t.Error(err)
			}
		}
	})
	for i := range 300 {
		u := create(t, s, fmt.Sprint(i))
		writePart(t, u, 1, "data")
		complete(t, u)
	}
	stop()
	if n := len(list(t, s, "")); n != 300 {
		t.Errorf("%d of 300 objects", n)
	}
}

// TestDirModes: what is in the bucket is nobody else's business.
func TestDirModes(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	dir := t.TempDir()
	put(t, openDir(t, dir), "a/b/x", "data")
	for name, want := range map[string]fs.FileMode{"a": 0o750, "a/b": 0o750, "a/b/x": 0o640, objstore.TmpDir: 0o750} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode().Perm(), err, want)
		}
	}
}

// TestDirUploadWithoutCopy: a package's first part comes last, and 100 GiB
// must not be copied for that.
func TestDirUploadWithoutCopy(t *testing.T) {
	for _, order := range [][]int{{1, 2, 3, 4}, {2, 3, 4, 1}, {2, 4, 3, 1}, {3, 2, 1, 4}} {
		dir := t.TempDir()
		s := openDir(t, dir)
		u := create(t, s, "x")
		for _, n := range order {
			writePart(t, u, n, strings.Repeat(fmt.Sprint(n), 4-n/4)) // the last is shorter
		}
		written, err := os.Stat(filepath.Join(dir, objstore.TmpDir, dirNames(t, dir, objstore.TmpDir)[0]))
		if err != nil {
			t.Fatal(err)
		}
		complete(t, u)
		object, err := os.Stat(filepath.Join(dir, "x"))
		if err != nil || !os.SameFile(written, object) {
			t.Errorf("%v: copied, or %v", order, err)
		}
		if got := get(t, s, "x"); got != "111122223333444" {
			t.Errorf("%v: read %q", order, got)
		}
	}
}

func TestDirReadsWhatWasOpened(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	put(t, s, "x", "old data")
	r, err := s.Get(t.Context(), "x", 4, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	put(t, s, "x", "new")
	if got, err := io.ReadAll(r); err != nil || string(got) != "data" {
		t.Errorf("read %q, %v", got, err)
	}
	if r, err = s.Get(t.Context(), "x", 0, -1); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := os.Truncate(filepath.Join(dir, "x"), 1); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("of a file that was cut: read %q, %v", got, err)
	}
}

// TestDirPutBesideDelete: a folder that one removes as empty is the one that
// another is about to write into.
func TestDirPutBesideDelete(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 4 {
		s := openDir(t, dir)
		wg.Go(func() {
			key := fmt.Sprintf("a/b/%d", i)
			for range 50 {
				if err := s.Put(t.Context(), key, nil); err != nil {
					t.Error(err)
				}
				if err := s.Delete(t.Context(), key); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if names := dirNames(t, dir); !slices.Equal(names, []string{objstore.TmpDir}) {
		t.Errorf("left: %q", names)
	}
}

func writeFile(t *testing.T, name, data string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}
