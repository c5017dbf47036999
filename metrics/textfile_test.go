package metrics

import (
	"errors"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/fs"
	"github.com/chipster/firn/internal/runs"
)

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFile(t *testing.T) {
	state := full()
	var jobs []Job
	for _, j := range state.Jobs {
		jobs = append(jobs, Job{Name: j.Name, Last: j.Last, LastDone: j.LastDone, Failures: j.Failures})
	}
	file := filepath.Join(t.TempDir(), "firn.prom")
	if err := WriteFile(file, jobs, state.Holdings); err != nil {
		t.Fatal(err)
	}
	out := read(t, file)
	golden(t, "file.prom", out)
	lint(t, out)
	// What grows old by itself, and what two files of a host would both tell, is
	// not for files.
	for _, name := range []string{"age_seconds", "run_active", "schedule", "queue", "build_info", "store_retries", "process_", "go_"} {
		if strings.Contains(out, name) {
			t.Errorf("%s is told", name)
		}
	}
}

func TestMountFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mount.prom")
	st := fs.Stats{
		Opens: 1, Reads: 2, BytesRead: 3, BlockHits: 4, BlockMisses: 5, BlocksAhead: 6, BlocksAheadUsed: 7, SealedBytesRead: 8,
		Evicted: 9, CacheBytes: 10, CacheLimit: 11, OpenFiles: 12, StreamedFiles: 13, KeysAhead: 14,
		Errors: map[string]int64{"EIO": 15, "ENOMEM": 16},
	}
	if err := WriteMountFile(file, "/mnt/versions", at(1, 10), true, st); err != nil {
		t.Fatal(err)
	}
	out := read(t, file)
	golden(t, "mount.prom", out)
	lint(t, out)
	wantSamples(t, out, "firn_mount_errors_total",
		`{errno="EACCES",mountpoint="/mnt/versions"} 0`, `{errno="EIO",mountpoint="/mnt/versions"} 15`, `{errno="ENOMEM",mountpoint="/mnt/versions"} 16`)
}

// A reader sees the old numbers or the new ones, and whatever else lies there is
// not for node_exporter.
func TestFilesAreReplaced(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "firn.prom")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	old, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := WriteFile(file, []Job{{Name: "auth"}}, nil); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	if n, _ := old.Read(b); string(b[:n]) != "old" {
		t.Errorf("who read the old file sees %q", b[:n])
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if all, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || !slices.Equal(all, []string{file}) {
		t.Errorf("there is %q, %v", all, err)
	}
	err = WriteFile(filepath.Join(dir, "no", "firn.prom"), nil, nil)
	if !errors.Is(err, iofs.ErrNotExist) || !strings.Contains(err.Error(), "firn.prom") {
		t.Errorf("no folder: %v", err)
	}
}

func TestJobOf(t *testing.T) {
	store, err := runs.Open(filepath.Join(t.TempDir(), "runs"), runs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	check := func(result runs.Result, failures int, lastDone runs.Result) {
		t.Helper()
		a, err := store.Begin("auth", runs.Command, 1)
		if err != nil {
			t.Fatal(err)
		}
		last, err := a.End(result, nil)
		if err != nil {
			t.Fatal(err)
		}
		j, err := JobOf(store, "auth")
		if err != nil || j.Last == nil || j.Last.ID != last.ID || j.Failures != failures {
			t.Fatalf("after %s: %+v, %v; want %d failures", result, j, err, failures)
		}
		if done := j.LastDone; (done == nil) != (lastDone == "") || done != nil && done.Result != lastDone {
			t.Errorf("after %s: last done %+v; want %q", result, done, lastDone)
		}
		time.Sleep(2 * time.Millisecond) // records sort by the time of their beginning
	}
	if j, err := JobOf(store, "auth"); err != nil || j.Last != nil || j.LastDone != nil || j.Failures != 0 {
		t.Errorf("nothing has run: %+v, %v", j, err)
	}
	check(runs.Failed, 1, "")
	check(runs.Interrupted, 1, "")
	check(runs.Failed, 2, "")
	check(runs.Incomplete, 0, runs.Incomplete)
	check(runs.Cancelled, 0, runs.Incomplete)
	check(runs.Failed, 1, runs.Incomplete)
	check(runs.Succeeded, 0, runs.Succeeded)
	if _, err := store.Begin("auth", runs.Command, 1); err != nil {
		t.Fatal(err)
	}
	if j, err := JobOf(store, "auth"); err != nil || j.Last == nil || j.Last.Result != runs.Succeeded {
		t.Errorf("while one runs: %+v, %v", j, err)
	}
}
