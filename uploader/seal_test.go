package uploader

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chipster/firn/internal/envelope"
)

// sealedFiles reads what a backup brought, by path.
func (w *world) sealedFiles(backup string) map[string][]byte {
	w.t.Helper()
	files := map[string][]byte{}
	for _, e := range w.list(backup) {
		if e.Backup.String() == backup {
			files[e.Path] = w.get(backup + "/" + e.Package)[e.Offset : e.Offset+e.SealedSize]
		}
	}
	return files
}

// header is what comes before the encrypted packet, byte 0xd2: the session key,
// sealed, whose length is in the second byte for this kind of key.
func header(sealed []byte) []byte { return sealed[:2+int(sealed[1])] }

func TestSessionKeyPerFile(t *testing.T) {
	w := newWorld(t)
	for i := range 20 {
		w.write(fmt.Sprint("small", i), random(1000))
	}
	w.write("large1", random(1_500_000))
	w.write("large2", random(1_500_000))
	for _, perFile := range []bool{false, true} {
		r := w.mustBackup(func(o *Options) {
			o.Recipients = recipients(t, "curve")
			o.SessionKeyPerFile = perFile
		})
		if r.Packages != 2 || len(w.check(r.Backup, opener(t, "curve"), true)) != 22 {
			t.Errorf("%+v", r)
		}
		var headers [][]byte
		for _, sealed := range w.sealedFiles(r.Backup) {
			headers = append(headers, header(sealed))
		}
		slices.SortFunc(headers, bytes.Compare)
		want := 2 // one a package
		if perFile {
			want = 22
		}
		if got := len(slices.CompactFunc(headers, bytes.Equal)); got != want {
			t.Errorf("per file %v: %d session keys, want %d", perFile, got, want)
		}
	}
}

// The list has tables of the blocks of large files, and of no others.
func TestTablesAreListed(t *testing.T) {
	w := newWorld(t)
	w.write("one block", random(1<<20))
	w.write("two blocks", random(1<<20+1))
	w.write("small", random(1000))
	r := w.mustBackup(func(o *Options) { o.Recipients = recipients(t, "curve") })
	got := w.check(r.Backup, opener(t, "curve"), true)
	for path, want := range map[string]bool{"one block": false, "two blocks": true, "small": false} {
		if e := got[path]; (e.Blocks != "") != want {
			t.Errorf("%s: table %q", path, e.Blocks)
		}
	}
}

// One package of many small files keeps all workers busy: each waits here until
// the others have one, too.
func TestSmallFilesOfOnePackageAreSealedSideBySide(t *testing.T) {
	const workers = 5
	w := newWorld(t)
	for i := range 400 {
		w.write(fmt.Sprint("f", i), random(500))
	}
	before := runtime.NumGoroutine()
	var met sync.WaitGroup
	met.Add(workers)
	var mu sync.Mutex
	calls, most := 0, 0
	r := w.mustBackup(func(o *Options) {
		o.Workers = workers
		o.Progress = func(files int, n int64) {
			mu.Lock()
			calls++
			early := files == 0 && n > 0 && calls <= workers
			most = max(most, runtime.NumGoroutine())
			mu.Unlock()
			if early {
				met.Done()
				met.Wait()
			}
		}
	})
	if r.Packages != 1 || len(w.check(r.Backup, envelope.NewOpener(nil), false)) != 400 {
		t.Errorf("%+v", r)
	}
	if more := most - before; more > workers+10 {
		t.Errorf("%d goroutines for %d workers", more, workers)
	}
	w.checkWithTar(r.Backup)
}

// Files that became larger or smaller since they were found are sealed as what
// they are.
func TestFilesThatWereOfAnotherSizeWhenFound(t *testing.T) {
	w := newWorld(t)
	for i := range 10 {
		w.write(fmt.Sprint("grows", i), random(1000))
		w.write(fmt.Sprint("shrinks", i), random(1_200_000))
	}
	r := w.mustBackup(func(o *Options) {
		o.Planned = func(int, int64) {
			for i := range 10 {
				w.write(fmt.Sprint("grows", i), random(1_100_000+i))
				w.write(fmt.Sprint("shrinks", i), random(100+i))
			}
		}
	})
	got := w.check(r.Backup, envelope.NewOpener(nil), false)
	for i := range 10 {
		if e := got[fmt.Sprint("grows", i)]; e.Size != int64(1_100_000+i) || e.Blocks == "" {
			t.Errorf("grows%d: %+v", i, e)
		}
		if e := got[fmt.Sprint("shrinks", i)]; e.Size != int64(100+i) {
			t.Errorf("shrinks%d: %+v", i, e)
		}
	}
	w.checkWithTar(r.Backup)
}

// A small file that changes is sealed anew, and leaves nothing in the package.
func TestSmallFileThatChangesLeavesNothing(t *testing.T) {
	w := newWorld(t)
	w.write("restless", random(900_000))
	w.write("quiet", random(900_000))
	r, err := w.backup(func(o *Options) {
		o.Progress = func(int, int64) { appendTo(t, filepath.Join(w.storage, "restless")) }
	})
	if !errors.Is(err, ErrIncomplete) || r.LeftOut != 1 || r.Files != 1 {
		t.Fatalf("%v, %+v", err, r)
	}
	if n := w.checkMembers(r.Backup); n != 0 {
		t.Errorf("%d members of no file", n)
	}
}

// Descriptors are given back, whatever becomes of a file.
func TestDescriptorsAreClosed(t *testing.T) {
	w := newWorld(t)
	for i := range 50 {
		w.write(fmt.Sprint("a", i), random(100))
	}
	w.write("large", random(2_000_000))
	open := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	w.mustBackup(nil)
	before := open()
	if _, err := w.backup(func(o *Options) {
		o.Planned = func(int, int64) {
			for i := range 10 {
				os.Remove(filepath.Join(w.storage, fmt.Sprint("a", i)))
				os.Mkdir(filepath.Join(w.storage, fmt.Sprint("a", i)), 0o755)
				os.Chtimes(filepath.Join(w.storage, "large"), time.Time{}, time.Now())
			}
		}
	}); !errors.Is(err, ErrIncomplete) {
		t.Error(err)
	}
	if after := open(); after > before {
		t.Errorf("%d descriptors are open, %d before", after, before)
	}
}
