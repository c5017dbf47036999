package archiver

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chipster/firn/internal/faultfs"
)

// onFaulty is a copy of a world, whose archive lies on a file system that can
// fail. real is the world without that.
type onFaulty struct {
	*world
	fs   *faultfs.Faulty
	real *world
}

func newOnFaulty(t *testing.T, prepared string) onFaulty {
	t.Helper()
	dir := t.TempDir()
	faultfs.Tmpfs(t, dir, "size=64m") // a disk would sync each time
	must(t, os.CopyFS(dir, os.DirFS(prepared)))
	bucket, real, root := filepath.Join(dir, "bucket"), filepath.Join(dir, "root"), filepath.Join(dir, "faulty")
	must(t, os.Mkdir(root, 0o755))
	return onFaulty{openWorld(t, bucket, root), faultfs.NewFaulty(t, real, root), openWorld(t, bucket, real)}
}

// faults are how an operation of the archive's file system fails: once, or with
// all after it, as when a server is gone.
var faults = []struct {
	errno   syscall.Errno
	forever bool
}{{syscall.EIO, false}, {syscall.ESTALE, false}, {syscall.EIO, true}}

// runAgain is Run after another one in this process. Its lock may live on for an
// instant, in a program that another test is just starting.
func runAgain(t *testing.T, o Options) (*Report, error) {
	t.Helper()
	report, err := Run(t.Context(), o)
	for end := time.Now().Add(10 * time.Second); errors.Is(err, ErrLocked) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
		report, err = Run(t.Context(), o)
	}
	return report, err
}

// Whatever operation of the archive's file system fails, the run says so, or
// ends as if nothing had been. Nothing that was archived is lost, no file that
// is there is left out, and the next run ends where an undisturbed one does.
func TestFaultyFileSystem(t *testing.T) {
	prepared := t.TempDir()
	prepareKill(t, prepared)
	calm := newOnFaulty(t, prepared)
	before := calm.real.versions(t)
	calm.fs.Fail(0, nil)
	_, err := Run(t.Context(), killOptions(calm.world))
	must(t, err)
	total, _ := calm.fs.Operations()
	want, wantBucket := calm.real.archiveTree(t), tree(t, calm.bucket)
	if total < 200 {
		t.Fatalf("only %d operations", total)
	}
	var count struct{ faults, harmless, failed int }
	for i := 0; i < total*len(faults); i += faultfs.Stride(8*len(faults) + 1) {
		at, fault := i/len(faults)+1, faults[i%len(faults)]
		w := newOnFaulty(t, prepared)
		w.fs.Fail(fault.errno, func(n int, _ string) bool { return n == at || n > at && fault.forever })
		report, err := Run(t.Context(), killOptions(w.world))
		_, failed := w.fs.Operations()
		what := fmt.Sprintf("%+v in operation %d, %.200q: %v", fault, at, failed, err)
		w.fs.Fail(0, nil)
		w.real.checkFindable(t)
		w.real.checkKept(t, before)
		count.faults++
		if err == nil {
			count.harmless++
		} else {
			count.failed++
			if errors.Is(err, ErrIncomplete) {
				t.Errorf("%s: files are left out that are there: %+v", what, report.Backups)
			}
			_, err = runAgain(t, killOptions(w.world))
		}
		switch got, gotBucket := w.real.archiveTree(t), tree(t, w.bucket); {
		case err != nil:
			t.Errorf("%s: the next run: %v", what, err)
		case !maps.Equal(got, want):
			t.Errorf("%s: in the end there is %q, not %q", what, sorted(got), sorted(want))
		case !maps.Equal(gotBucket, wantBucket):
			t.Errorf("%s: in the end there is in the bucket %q, not %q", what, sorted(gotBucket), sorted(wantBucket))
		}
		faultfs.Unmount(t, w.root)
		faultfs.Detach(filepath.Dir(w.root))
	}
	t.Logf("%d operations: %+v", total, count)
}

// once picks the first operation of that kind.
func once(what string) func(int, string) bool {
	done := false
	return func(_ int, op string) bool {
		now := !done && op == what
		done = done || now
		return now
	}
}

// newTwoFiles has an archived version of two files, and a backup or more that
// carry both.
func newTwoFiles(t *testing.T, waiting int) onFaulty {
	t.Helper()
	prepared := t.TempDir()
	w := openWorld(t, filepath.Join(prepared, "bucket"), filepath.Join(prepared, "root"))
	u := &nightly{w, "fs", map[string]string{"a": "one", "b": "two"}}
	u.backup(t)
	w.run(t)
	for range waiting {
		w.now = w.now.Add(time.Hour)
		u.backup(t)
	}
	f := newOnFaulty(t, prepared)
	f.now, f.real.now = w.now, w.now
	return f
}

func (f onFaulty) checkTwoFiles(t *testing.T) {
	t.Helper()
	for _, v := range f.real.versions(t)["fs"] {
		if len(v.entries) != 2 {
			t.Errorf("%s has %d files, not 2", v.name, len(v.entries))
		}
	}
}

// A file that cannot be looked at for a moment is not one that is missing.
func TestUnreadableIsNotMissing(t *testing.T) {
	f := newTwoFiles(t, 1)
	f.fs.Fail(syscall.EIO, once("lookup a.lz4.gpg"))
	if report, err := Run(t.Context(), f.options()); !errors.Is(err, syscall.EIO) {
		t.Errorf("%v: %+v", err, report)
	}
	f.checkTwoFiles(t)
}

// A backup fails that had begun to carry files forward: the one after it finds
// them where they are now.
func TestFilesOfFailedBackupAreFound(t *testing.T) {
	f := newTwoFiles(t, 2)
	f.fs.Fail(syscall.EIO, once("rename b.lz4.gpg"))
	report, err := Run(t.Context(), f.options())
	if !errors.Is(err, syscall.EIO) || report.incomplete() {
		t.Errorf("%v: %+v", err, report)
	}
	f.checkTwoFiles(t)
	_, err = runAgain(t, f.options())
	must(t, err)
	f.checkTwoFiles(t)
	f.real.checkArchive(t)
}

// A list that cannot be looked at for a moment does not make a version vanish
// from the plan of what to delete: else the one after the oldest may go, with
// the oldest one's files, and the oldest stay.
func TestUnreadableListIsNotNoVersion(t *testing.T) {
	prepared := t.TempDir()
	w := openWorld(t, filepath.Join(prepared, "bucket"), filepath.Join(prepared, "root"))
	u := &nightly{w, "fs", map[string]string{"a": "one", "b": "two"}}
	for night := range 4 {
		w.now = start.AddDate(0, 0, night-4)
		if night == 2 {
			delete(u.plain, "b") // lies with the second version, and is the first one's too
		}
		u.backup(t)
		w.run(t)
	}
	for which := range 6 {
		f := newOnFaulty(t, prepared)
		f.fs.Fail(syscall.EIO, func(_ int, op string) bool {
			if op == "lookup archive-info" {
				which--
			}
			return op == "lookup archive-info" && which == -1
		})
		o := killOptions(f.world)
		o.Retention.KeepLast = 2
		_, err := Run(t.Context(), o)
		if n := len(f.real.versions(t)["fs"]); !errors.Is(err, syscall.EIO) && n != 2 {
			t.Errorf("%d versions are left, not 2: %v", n, err)
		}
		f.real.checkFindable(t)
	}
}

// A read-only archive ends the run, with its name.
func TestReadOnlyRoot(t *testing.T) {
	for what, before := range map[string]bool{"new": false, "used before": true} {
		w := newWorld(t)
		u := &nightly{w, "fs", map[string]string{"a": "one"}}
		if before {
			u.backup(t)
			w.run(t)
			w.now = w.now.Add(time.Hour)
		}
		u.backup(t)
		files := tree(t, w.root)
		o := w.options()
		o.Root = t.TempDir()
		faultfs.ReadOnly(t, w.root, o.Root)
		if _, err := Run(t.Context(), o); !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), o.Root) {
			t.Errorf("%s: %v", what, err)
		}
		o.DryRun = true
		if _, err := Run(t.Context(), o); err != nil {
			t.Errorf("%s: a dry run: %v", what, err)
		}
		if !maps.Equal(files, tree(t, w.root)) {
			t.Errorf("%s: something was written", what)
		}
	}
}
