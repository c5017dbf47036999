package archiver

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// failingSync is a syncfs that fails from a call on, counted from 1, so often.
func failingSync(errno syscall.Errno, from, times int) func(int) error {
	calls := 0
	return func(fd int) error {
		if calls++; calls >= from && calls < from+times {
			return errno
		}
		return unix.Syncfs(fd)
	}
}

// A sync that fails ends the work at the backup, and nothing of it is published.
// The system tells of it once: what had come is fetched again, also of another
// backup, but for what was safe before.
func TestFailedSync(t *testing.T) {
	const forever = 1 << 30
	for name, c := range map[string]struct {
		errno       syscall.Errno
		from, times int
		again       int // how often the next run fetches the package
	}{
		"of what came":       {syscall.EIO, 1, 1, 1},
		"of the moves":       {syscall.EIO, 2, 1, 0},
		"always":             {syscall.EIO, 1, forever, 1},
		"not in this system": {syscall.ENOSYS, 1, forever, 1},
		"not on this disk":   {syscall.EINVAL, 1, forever, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			u := &nightly{w, "fs", map[string]string{"a/1": "one"}}
			u.backup(t)
			w.run(t)
			w.now = w.now.Add(time.Hour)
			u.plain["b/2"] = "two"
			n := u.backup(t)
			other := w.nameAt(t, "other")
			f := w.seal(other, "c", "three")
			w.upload(t, other, inPackage("_small_files.tar", f))
			begun := filepath.Join(w.root, downloadDir, other.String()) // by a run that was killed
			must(t, os.Mkdir(begun, 0o755))
			must(t, os.WriteFile(filepath.Join(begun, arrivalName(0)), f.bytes, 0o644))
			lists, bucket := w.lists(t), tree(t, w.bucket)

			store := countingStore{w.store, map[string]int{}}
			o := w.options()
			o.Store, o.syncfs = store, failingSync(c.errno, c.from, c.times)
			_, err := Run(t.Context(), o)
			if !errors.Is(err, c.errno) || !strings.Contains(err.Error(), "syncing the file system of "+w.root) {
				t.Errorf("%v", err)
			}
			if c.times == forever && (!maps.Equal(w.lists(t), lists) || !maps.Equal(tree(t, w.bucket), bucket)) {
				t.Error("something was published")
			}
			if exists(w.folder(n, "archive-info")) || exists(filepath.Join(w.bucket, n.String(), "archive-info")) {
				t.Error("published")
			}
			w.checkFindable(t)
			if store.fetched[other.String()+"/_small_files.tar"] == 0 {
				t.Error("what had come of the other backup was kept")
			}

			clear(store.fetched)
			o.syncfs = nil
			report, err := runAgain(t, o)
			if err != nil || report.incomplete() {
				t.Fatalf("the next run: %v: %+v", err, report)
			}
			if got := store.fetched[n.String()+"/_small_files.tar"]; got != c.again {
				t.Errorf("the next run fetched the package %d times, not %d", got, c.again)
			}
			w.checkArchive(t)
		})
	}
}

// After a failed sync no batch is moved any more, though the next sync does well:
// the failed one covered what had come of that batch.
func TestNoMovesAfterFailedSync(t *testing.T) {
	w := newWorld(t)
	n := w.nameAt(t, "fs")
	disk, err := openDisk(w.root, func(string) {})
	must(t, err)
	defer disk.close()
	disk.syncfs = failingSync(syscall.EIO, 1, 1)
	j := (&run{disk: disk}).newJob(&backup{name: n})
	defer j.close()
	must(t, disk.mkdirAll(j.download))
	for i, name := range []string{"a", "b"} {
		must(t, os.WriteFile(filepath.Join(w.root, j.download, name), nil, 0o644))
		err := j.forward([]arrival{{j.download, name, name, int64(i), &pkg{}}})
		if !errors.Is(err, syscall.EIO) || exists(w.folder(n, name)) {
			t.Errorf("batch %d: %v", i, err)
		}
	}
}

// A named pipe in a file's place is not it, and nobody waits for its writer.
func TestPipeInAFilesPlace(t *testing.T) {
	w := newWorld(t)
	disk, err := openDisk(w.root, func(string) {})
	must(t, err)
	defer disk.close()
	must(t, unix.Mkfifo(filepath.Join(w.root, "pipe"), 0o644))
	open := newFolders(disk)
	defer open.abandon()
	dir, err := open.get(".", false)
	must(t, err)
	defer open.put(dir)
	done := make(chan bool, 1)
	go func() {
		is, err := dir.holds(t.Context(), "pipe", w.seal(w.nameAt(t, "fs"), "a", "a").entry.SealedSHA512)
		done <- is || err != nil
	}()
	select {
	case wrong := <-done:
		if wrong {
			t.Error("it was taken for a file, or is an error")
		}
	case <-time.After(10 * time.Second):
		t.Error("waits for a writer")
	}
}

// A run is killed between the last file that it took from a folder and the removal
// of that folder, in a version that is not the newest: the next run removes it.
func TestFolderLeftInAnOlderVersion(t *testing.T) {
	w := newWorld(t)
	first := w.nameAt(t, "fs")
	a, b := w.seal(first, "d/a", "a"), w.seal(first, "b", "b")
	w.upload(t, first, []sealed{a, b})
	w.run(t)
	w.now = w.now.Add(time.Hour)
	second := w.nameAt(t, "fs")
	c := w.seal(second, "c", "c")
	w.upload(t, second, []sealed{c})
	w.run(t)
	w.now = w.now.Add(time.Hour)
	third := w.nameAt(t, "fs")
	w.upload(t, third, nil, a.entry, c.entry)
	must(t, os.MkdirAll(w.folder(third, "d"), 0o755))
	must(t, os.Rename(w.folder(first, a.entry.SealedPath), w.folder(third, a.entry.SealedPath)))
	w.run(t)
	if exists(w.folder(first, "d")) {
		t.Error("the empty folder stays")
	}
	w.checkArchive(t)
}
