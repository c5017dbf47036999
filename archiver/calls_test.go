package archiver

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chipster/firn/internal/faultfs"
)

// farNight is an archive on a far disk with a version of carried files, 50 a
// folder, and in the bucket a backup that carries them and has some new ones.
func farNight(t *testing.T, carried, added int, delay time.Duration) (*world, *faultfs.Far) {
	t.Helper()
	dir := t.TempDir()
	faultfs.Tmpfs(t, dir, "")
	w := openWorld(t, filepath.Join(dir, "bucket"), filepath.Join(dir, "root"))
	u := &nightly{w, "fs", map[string]string{}}
	file := func(i int) string { return fmt.Sprintf("d%d/e%03d/f%05d", i/50%7, i/50, i) }
	for i := range carried {
		u.plain[file(i)] = "old"
	}
	u.backup(t)
	w.run(t)
	for i := range added {
		u.plain[file(carried+i)] = "new"
	}
	w.now = w.now.Add(time.Hour)
	u.backup(t)
	far := filepath.Join(dir, "far")
	must(t, os.Mkdir(far, 0o755))
	disk := faultfs.NewFar(t, w.root, far, delay)
	w.root = far
	return w, disk
}

// What a disk on a network is asked for each file. In what a folder takes there is
// making it, opening it, and removing it from where its files came.
func TestCallsForEachFile(t *testing.T) {
	const carried, added = 1000, 300
	calls := func(carried, added int) int {
		w, disk := farNight(t, carried, added, 0)
		report := w.run(t)
		if b := report.Backups[0]; b.Carried != carried || b.New != added {
			t.Fatalf("%+v", b)
		}
		kinds, all, _ := disk.Requests()
		t.Logf("%d carried, %d new: %d requests: %v", carried, added, all, kinds)
		w.checkArchive(t)
		return all
	}
	none := calls(carried, 0)
	empty := calls(50, 0)
	if each := float64(none-empty) / (carried - 50); each > 3.25 {
		t.Errorf("%.2f requests for a carried file", each)
	}
	if each := float64(calls(carried, added)-none) / added; each > 6.5 {
		t.Errorf("%.2f requests for a new file", each)
	}
}

// Several files are asked for at once: a night takes less than its requests one
// after the other. Renames do come one after the other, for the system lets no two
// from folder to folder through.
func TestFarDisk(t *testing.T) {
	const carried, delay = 500, 3 * time.Millisecond
	w, disk := farNight(t, carried, 0, delay)
	began := time.Now()
	w.run(t)
	took := time.Since(began)
	_, requests, waited := disk.Requests()
	t.Logf("%d carried files, %d requests of %s (really %s): %s, so a million take %s", carried, requests, delay,
		waited/time.Duration(requests), took.Round(time.Millisecond), (took * 1_000_000 / carried).Round(time.Minute))
	if took > waited {
		t.Errorf("requests that took %s took %s together", waited, took)
	}
}
