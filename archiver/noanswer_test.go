package archiver

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/faultfs"
)

// window picks the n-th operation of a kind, counted from 0, of those between
// the making of a version's folder and the writing of its list. With it go those
// that follow at once: the kernel asks again before it believes an error.
type window struct {
	what  string
	n     int
	open  atomic.Bool
	seen  int
	going bool // the last operation failed
}

func (w *window) step(what string) {
	switch {
	case strings.HasPrefix(what, "make fs_"):
		w.open.Store(true)
	case what == "create "+newList:
		w.open.Store(false)
	}
}

func (w *window) pick(_ int, op string) bool {
	if op != w.what || !w.open.Load() {
		w.going = false
		return false
	}
	w.going = w.going || w.seen == w.n
	w.seen++
	return w.going
}

// prepareSearch makes a world in which a backup waits whose list names a version
// that its files have left for the one after it.
func prepareSearch(t *testing.T, dir string) (now backupname.Name) {
	t.Helper()
	w := openWorld(t, filepath.Join(dir, "bucket"), filepath.Join(dir, "root"))
	w.now = start.Add(-2 * time.Hour)
	n := w.nameAt(t, "fs")
	a, b := w.seal(n, "d/a", "one"), w.seal(n, "b", "two")
	w.upload(t, n, []sealed{a, b})
	for range 2 {
		w.run(t)
		w.now = w.now.Add(time.Hour)
		now, n = n, w.nameAt(t, "fs")
		w.upload(t, n, nil, a.entry, b.entry)
	}
	return now
}

// prepareDownload makes a world in which a backup waits that was begun: a carried
// and a new file lie in a folder of its version's, where the original's archiver
// has files arrive, and another new one where this archiver has.
func prepareDownload(t *testing.T, dir string) {
	t.Helper()
	w := openWorld(t, filepath.Join(dir, "bucket"), filepath.Join(dir, "root"))
	w.now = start.Add(-time.Hour)
	first := w.nameAt(t, "fs")
	carried := w.seal(first, "d/carried", "one")
	w.upload(t, first, []sealed{carried})
	w.run(t)
	w.now = start
	n := w.nameAt(t, "fs")
	left, arrived := w.seal(n, "left", "two"), w.seal(n, "arrived", "three")
	w.upload(t, n, inPackage("_small_files.tar", left, arrived), carried.entry)
	must(t, os.MkdirAll(w.folder(n, "download"), 0o755))
	must(t, os.Rename(w.folder(first, "d"), w.folder(n, "download", "d")))
	must(t, os.WriteFile(w.folder(n, "download", left.entry.SealedPath), left.bytes, 0o644))
	arrivals := filepath.Join(w.root, downloadDir, n.String())
	must(t, os.MkdirAll(arrivals, 0o755))
	must(t, os.WriteFile(filepath.Join(arrivals, arrivalName(2)), arrived.bytes, 0o644)) // the third line's
}

// sealedBytes are the contents of all sealed files, wherever they lie.
func (w *world) sealedBytes(t *testing.T) (contents []string) {
	t.Helper()
	for p, content := range tree(t, w.root) {
		if p != lockFile && filepath.Base(p) != "archive-info" && filepath.Base(p) != "backup-info" {
			contents = append(contents, content)
		}
	}
	slices.Sort(contents)
	return contents
}

// A folder that cannot be looked at for a moment is not one that is not there:
// the files in it are neither missing nor to be fetched again. The run ends with
// the disk's error before anything is published, and the next one ends where an
// undisturbed one does.
func TestFolderThatDoesNotAnswer(t *testing.T) {
	searched, begun := t.TempDir(), t.TempDir()
	now := prepareSearch(t, searched)
	prepareDownload(t, begun)
	for what, c := range map[string]struct {
		prepared, folder string
		least            int // how often the run cannot do without an answer
	}{
		"version":  {searched, now.String(), 2}, // is the file there, and is it listed?
		"download": {begun, "download", 4},      // twice before anything is fetched, and when files are searched for
	} {
		t.Run(what, func(t *testing.T) {
			calm := newOnFaulty(t, c.prepared)
			_, err := Run(t.Context(), killOptions(calm.world))
			must(t, err)
			calm.real.checkArchive(t)
			want := calm.real.archiveTree(t)
			for _, errno := range []syscall.Errno{syscall.EIO, syscall.ESTALE} {
				ended := 0
				for n, more := 0, true; more; n++ {
					var failed bool
					more, failed = noAnswer(t, c.prepared, &window{what: "lookup " + c.folder, n: n}, errno, want)
					if failed {
						ended++
					}
				}
				if ended < c.least {
					t.Errorf("%v ended a run only %d times", errno, ended)
				}
			}
		})
	}
}

// noAnswer runs with a fault, and then without. It tells whether there was an
// operation to fail, and whether that ended the run.
func noAnswer(t *testing.T, prepared string, w *window, errno syscall.Errno, want map[string]string) (hit, ended bool) {
	t.Helper()
	f := newOnFaulty(t, prepared)
	lists, bucket, contents := f.real.lists(t), tree(t, f.bucket), f.real.sealedBytes(t)
	f.fs.Fail(errno, w.pick)
	store := countingStore{f.store, map[string]int{}}
	o := killOptions(f.world)
	o.Store = store
	o.step = w.step
	report, err := Run(t.Context(), o)
	_, failed := f.fs.Operations()
	f.fs.Fail(0, nil)
	what := fmt.Sprintf("%v at %q number %d: %v", errno, w.what, w.n, err)
	if err != nil {
		if !errors.Is(err, errno) || report.incomplete() {
			t.Errorf("%s: %+v", what, report.Backups)
		}
		if !maps.Equal(f.real.lists(t), lists) || !maps.Equal(tree(t, f.bucket), bucket) {
			t.Errorf("%s: something was published", what)
		}
		if got := f.real.sealedBytes(t); !slices.Equal(got, contents) {
			t.Errorf("%s: there are the files %q, not %q", what, got, contents)
		}
		o.step = nil
		if _, err := runAgain(t, o); err != nil {
			t.Errorf("%s: the next run: %v", what, err)
		}
	}
	if len(store.fetched) > 0 {
		t.Errorf("%s: fetched again: %v", what, store.fetched)
	}
	if got := f.real.archiveTree(t); !maps.Equal(got, want) {
		t.Errorf("%s: in the end there is %q, not %q", what, sorted(got), sorted(want))
	}
	faultfs.Unmount(t, f.root)
	faultfs.Detach(filepath.Dir(f.root))
	return len(failed) > 0, err != nil
}

// An empty folder that a killed run left with the version before, and that cannot
// be read or removed, keeps no backup from being published.
func TestEmptyFolderThatStays(t *testing.T) {
	for _, fault := range []string{"lookup hollow", "opendir", "readdir", "rmdir hollow"} {
		t.Run(fault, func(t *testing.T) {
			prepared := t.TempDir()
			w := openWorld(t, filepath.Join(prepared, "bucket"), filepath.Join(prepared, "root"))
			u := &nightly{w, "fs", map[string]string{"a": "one", "b": "two"}}
			first := u.backup(t)
			w.run(t)
			w.now = w.now.Add(time.Hour)
			second := u.backup(t)
			must(t, os.Mkdir(w.folder(second), 0o755)) // so that this run is not its first
			must(t, os.Rename(w.folder(first, "a.lz4.gpg"), w.folder(second, "a.lz4.gpg")))
			must(t, os.Mkdir(w.folder(first, "hollow"), 0o755))
			f := newOnFaulty(t, prepared)
			f.now = w.now
			inside := false // that folder was the last one to be looked up
			f.fs.Fail(syscall.EIO, func(_ int, op string) bool {
				if strings.HasPrefix(op, "lookup ") {
					inside = op == "lookup hollow"
				}
				return op == fault && (inside || op == "rmdir hollow")
			})
			var log bytes.Buffer
			o := f.options()
			o.Logger = slog.New(slog.NewTextHandler(&log, nil))
			report, err := Run(t.Context(), o)
			_, failed := f.fs.Operations()
			if err != nil || report.incomplete() || len(failed) == 0 {
				t.Fatalf("%v, with %q failed: %+v", err, failed, report)
			}
			f.checkTwoFiles(t)
			f.real.checkFindable(t)
			if vs := f.real.versions(t)["fs"]; len(vs) != 2 || !exists(filepath.Join(f.bucket, second.String(), "archive-info")) {
				t.Errorf("not published: %d versions", len(vs))
			}
			if !exists(f.real.folder(first, "hollow")) || !strings.Contains(log.String(), "empty folders are left") {
				t.Errorf("it is gone, or nobody is told: %s", &log)
			}
		})
	}
}
