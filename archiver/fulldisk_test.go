package archiver

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/faultfs"
)

// prepareFirst makes a world whose archive is empty yet, and in whose bucket a
// backup waits with files of all sizes around that of a page.
func prepareFirst(t testing.TB, dir string) {
	w := openWorld(t, filepath.Join(dir, "bucket"), filepath.Join(dir, "root"))
	w.now = start
	u := &nightly{w, "fs", map[string]string{"a/empty": "", "z": "last"}}
	for _, size := range []int{4000, 4096, 10_000, 50_000} {
		u.plain[fmt.Sprintf("b/%d", size)] = strings.Repeat("x", size)
	}
	u.backup(t)
}

// Whatever the room on the disk, in pages or in inodes: where it does not do,
// the run says so and what it could not write; no version is listed that is not
// complete; and with room enough the next run ends where an undisturbed one
// does.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	for what, prepare := range map[string]func(testing.TB, string){"first backup": prepareFirst, "later backups": prepareKill} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			prepared, calm := t.TempDir(), t.TempDir()
			prepare(t, prepared)
			must(t, os.CopyFS(calm, os.DirFS(prepared)))
			w := openWorld(t, filepath.Join(calm, "bucket"), filepath.Join(calm, "root"))
			if _, err := Run(t.Context(), killOptions(w)); err != nil {
				t.Fatal(err)
			}
			want := w.archiveTree(t)
			pages := countLimits(func(n int) bool {
				return tryRoom(t, prepared, want, func(s unix.Statfs_t) string {
					return fmt.Sprintf("size=%dk", 4*max(int(s.Blocks-s.Bfree)+n, 1)) // 0 would be no limit
				})
			})
			inodes := countLimits(func(n int) bool {
				return tryRoom(t, prepared, want, func(s unix.Statfs_t) string {
					return fmt.Sprintf("nr_inodes=%d", int(s.Files-s.Ffree)+n)
				})
			})
			t.Logf("%d limits of pages, %d of inodes", pages, inodes)
			if pages < 3 || inodes < 3 {
				t.Error("too few limits tried")
			}
		})
	}
}

// countLimits tries ever larger ones until one does.
func countLimits(try func(n int) bool) (tried int) {
	for n := 0; ; n += faultfs.Stride(3) {
		if tried++; try(n) || tried > 1000 {
			return tried
		}
	}
}

// tryRoom runs with little room, twice, and then with enough. It tells whether
// the little did.
func tryRoom(t *testing.T, prepared string, want map[string]string, limit func(unix.Statfs_t) string) bool {
	t.Helper()
	dir := t.TempDir()
	root, bucket := filepath.Join(dir, "root"), filepath.Join(dir, "bucket")
	must(t, os.Mkdir(root, 0o755))
	faultfs.Tmpfs(t, root, "size=64m")
	must(t, os.CopyFS(root, os.DirFS(filepath.Join(prepared, "root"))))
	must(t, os.CopyFS(bucket, os.DirFS(filepath.Join(prepared, "bucket"))))
	var s unix.Statfs_t
	must(t, unix.Statfs(root, &s))
	w := openWorld(t, bucket, root)
	before := w.versions(t)
	little := limit(s)
	faultfs.Remount(t, root, little)
	enough := false
	for range 2 { // for the disk is full on the next night too
		_, err := runAgain(t, killOptions(w))
		if enough = err == nil; enough {
			break
		}
		if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrIncomplete) || !namesPath(err) {
			t.Errorf("with %s: %v", little, err)
		}
		w.checkFindable(t)
		w.checkKept(t, before)
	}
	faultfs.Remount(t, root, "size=64m,nr_inodes=10000")
	if _, err := runAgain(t, killOptions(w)); err != nil {
		t.Errorf("with room enough, after %s: %v", little, err)
	}
	w.checkArchive(t)
	if got := w.archiveTree(t); !maps.Equal(got, want) {
		t.Errorf("with room enough, after %s: there is %q, not %q", little, sorted(got), sorted(want))
	}
	faultfs.Unmount(t, root)
	return enough
}

// checkKept holds that versions are as they were, but for those that the
// options of killOptions let go once all is archived.
func (w *world) checkKept(t *testing.T, before map[string][]version) {
	t.Helper()
	now := map[string]int{}
	for _, v := range w.versions(t)["fs"] {
		now[v.name.String()] = len(v.entries) + 1
	}
	for i, v := range before["fs"] {
		if n := now[v.name.String()]; n != len(v.entries)+1 && (i >= 2 || n != 0) {
			t.Errorf("%s had %d files, and has %d now", v.name, len(v.entries), n-1)
		}
	}
}

// namesPath tells that an error says which file or folder it is about.
func namesPath(err error) bool {
	var p *fs.PathError
	var l *os.LinkError
	return errors.As(err, &p) && p.Path != "" || errors.As(err, &l) && l.New != ""
}
