package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chipster/firn/internal/postgres/postgrestest"
)

// drillReport is what `firn drill` says.
type drillReport struct {
	Verdict         string
	Seconds         float64
	Problems        int64
	Chosen, Right   drillTally
	Kept, Leftovers []string
	Trials          []struct {
		Storage, Version               string
		AgeSeconds                     int64
		Database, Server, RowsCompared bool
		Format                         string
		Listed, Chosen, LeftOut, Right drillTally
		Seconds, WholeSeconds          float64
		BytesPerSecond                 float64
		Rows                           struct{ Tables, Rows int64 }
		Problems                       struct {
			Count int64
			First []struct{ Path, Reason string }
		}
	}
}

type drillTally struct{ Files, Bytes int64 }

// drill runs `firn drill`, which has to end with an exit code and leave nothing.
func (w *world) drill(want int, args ...string) (report drillReport, stderr string) {
	w.Helper()
	scratch := w.scratch()
	args = slices.Concat([]string{"drill", w.archive, "--scratch", scratch, "--json", w.catalog()}, w.open, args)
	stdout, stderr, code := w.run(nil, firn, args...)
	if code != want {
		w.Fatalf("%q: exit code %d, not %d\n%s%s", args, code, want, stdout, stderr)
	}
	if stdout != "" {
		if err := json.Unmarshal([]byte(stdout), &report); err != nil {
			w.Fatalf("%v\n%s", err, stdout)
		}
	}
	if left := w.left(scratch); len(left) > 0 {
		w.Errorf("%q leaves %q", args, left)
	}
	return report, stderr
}

func (w *world) scratch() string {
	w.Helper()
	must(w, os.MkdirAll(w.path("scratch"), 0o755))
	return w.path("scratch")
}

func (w *world) left(folder string) (names []string) {
	w.Helper()
	entries, err := os.ReadDir(folder)
	must(w, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Files that were backed up are tried, and what is wrong with them is found.
func TestDrillFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t).withBucket()
	withNewKey(w)
	var versions []string
	for night := range 3 {
		for n := range 40 {
			must(t, os.WriteFile(filepath.Join(w.storage, fmt.Sprintf("%d-%d", night, n)), []byte(strings.Repeat(fmt.Sprint(night, n), n*n)), 0o640))
		}
		versions = append(versions, w.upload())
		w.pull()
	}
	report, _ := w.drill(0, "--files", "20")
	if report.Verdict != "good" || len(report.Trials) != 2 || report.Chosen != report.Right {
		t.Fatalf("%+v", report)
	}
	for i, trial := range report.Trials {
		if n := trial.Right.Files; n < 20 || n > 22 || trial.Seconds <= 0 || trial.BytesPerSecond <= 0 || trial.WholeSeconds <= 0 {
			t.Errorf("%+v", trial)
		}
		if at := slices.Index(versions, trial.Version); at < 0 || (at == 2) != (i == 0) || trial.Listed.Files != int64(40*(at+1)) {
			t.Errorf("trial %d is of the %d. version: %+v", i, at+1, trial)
		}
	}
	out := w.must(firn, slices.Concat([]string{"drill", w.archive, "--scratch", w.scratch(), w.catalog()}, w.open)...)
	for _, want := range []string{versions[2] + ", 0 min old: ", " files tried are right, ", "all of it, 120 files, ", "MiB/s", "would take about", "; no problems\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}

	// Another key than the one that they are sealed for.
	w.firn("key", "generate", "--curve25519", "--public", "other.asc", "--private", "other")
	right := w.open
	w.open = []string{"--key", w.path("other")}
	if report, stderr := w.drill(5); report.Verdict != "locked" || report.Right.Files != 0 || !strings.Contains(stderr, "no key opens") {
		t.Errorf("%+v\n%s", report, stderr)
	}
	w.open = right

	// Every sealed file is damaged: whichever are drawn, all are found.
	must(t, filepath.WalkDir(w.archive, func(name string, e os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, ".gpg") {
			return err
		}
		data, err := os.ReadFile(name)
		must(t, err)
		return os.WriteFile(name, flipped(data, len(data)-30), 0o600)
	}))
	report, stderr := w.drill(3, "--files", "10")
	if report.Verdict != "problems" || report.Right.Files != 0 || report.Problems != report.Chosen.Files || report.Chosen.Files < 20 {
		t.Errorf("%+v", report)
	}
	for _, trial := range report.Trials {
		if p := trial.Problems; p.Count != trial.Chosen.Files || p.First[0].Path == "" || !strings.Contains(p.First[0].Reason, "damaged") {
			t.Errorf("%+v", p)
		}
	}
	if !strings.Contains(stderr, "problems in 2 of 2 versions") {
		t.Error(stderr)
	}
}

// Whatever ends a drill, what it unsealed does not stay. A killed one cannot help
// it; then the next ones tell.
func TestDrillInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t).withBucket()
	withNewKey(w)
	for n := range 6 {
		w.shell(`head -c 60000000 /dev/urandom >"$1"`, filepath.Join(w.storage, fmt.Sprint(n)))
	}
	w.upload()
	w.pull()
	for signal, want := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 130, syscall.SIGKILL: -1} {
		scratch := w.scratch()
		cmd := exec.Command(firn, slices.Concat([]string{"drill", w.archive, "--scratch", scratch, w.catalog()}, w.open)...)
		cmd.Env = w.env
		var stderr strings.Builder
		cmd.Stderr = &stderr
		must(t, cmd.Start())
		for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			files, err := filepath.Glob(filepath.Join(scratch, "*", "*", "*"))
			must(t, err)
			if partial, _ := filepath.Glob(filepath.Join(scratch, "*", "*", ".firn-*")); len(files)+len(partial) > 0 {
				break
			}
			if time.Now().After(end) {
				t.Fatal("nothing is restored")
			}
		}
		must(t, cmd.Process.Signal(signal))
		_ = cmd.Wait() // the exit code tells
		if code := cmd.ProcessState.ExitCode(); code != want {
			t.Errorf("%v: exit code %d, not %d\n%s", signal, code, want, stderr.String())
		}
		left := w.left(scratch)
		if signal != syscall.SIGKILL {
			if len(left) > 0 {
				t.Errorf("%v: left are %q", signal, left)
			}
			continue
		}
		if len(left) != 1 {
			t.Fatalf("killed: left are %q", left)
		}
		// As it would be tomorrow.
		old := filepath.Join(w.path("home"), "firn-drill-20200101000000-1")
		must(t, os.Rename(filepath.Join(scratch, left[0]), old))
		var report drillReport
		w.firnJSON(&report, slices.Concat([]string{"drill", w.archive, "--scratch", w.path("home"), "--max-size", "130MB", w.catalog()}, w.open)...)
		if !slices.Equal(report.Leftovers, []string{old}) || report.Trials[0].LeftOut.Files != 4 {
			t.Errorf("%+v", report)
		}
	}
}

// Where there is no room, that is told before anything is restored.
func TestDrillWithoutRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t).withBucket()
	withNewKey(w)
	w.shell(`head -c 2000000 /dev/urandom >"$1"`, filepath.Join(w.storage, "large"))
	w.upload()
	w.pull()
	w.shell(`mount -t tmpfs -o size=1m tmpfs "$1"`, w.scratch())
	defer w.shell(`umount "$1"`, w.scratch())
	if report, stderr := w.drill(1); report.Verdict != "" || !strings.Contains(stderr, "not enough room") || !strings.Contains(stderr, w.scratch()) {
		t.Errorf("%+v\n%s", report, stderr)
	}
	must(t, os.WriteFile(filepath.Join(w.storage, "small"), []byte("content"), 0o600))
	w.upload()
	w.pull()
	w.shell(`mount -o remount,size=4m "$1"`, w.scratch())
	if report, _ := w.drill(0); report.Right.Files != 3 || report.Trials[0].LeftOut.Files != 0 {
		t.Errorf("%+v", report)
	}
}

// TestDrillDatabases tries dumps in a real server, of which no database stays.
func TestDrillDatabases(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	for _, format := range []string{"plain", "custom"} {
		t.Run(format, func(t *testing.T) {
			d := newDatabases(t, server, withNewKey)
			server.Exec(t, "postgres", "ALTER ROLE "+d.user+" CREATEDB")
			d.add("auth", authDatabase...)
			d.add("jobs", jobDatabase(50_000)...)
			d.backUp(0, "--format", format)
			d.pull()
			inServer := []string{"--database", d.address(""), "--password-file", d.passwordFile}
			before := d.databaseNames()
			try := func(want int, args ...string) (drillReport, string) {
				t.Helper()
				report, stderr := d.drill(want, args...)
				if after := d.databaseNames(); after != before {
					t.Errorf("%q leaves databases: %s", args, after)
				}
				if strings.Contains(stderr, d.secret) {
					t.Errorf("it prints the password:\n%s", stderr)
				}
				return report, stderr
			}

			report, _ := try(0, inServer...)
			if len(report.Trials) != 2 || report.Right.Files != 2 {
				t.Fatalf("%+v", report)
			}
			for _, trial := range report.Trials {
				if !trial.Server || !trial.RowsCompared || trial.Rows.Tables == 0 || trial.WholeSeconds <= 0 {
					t.Errorf("%+v", trial)
				}
			}
			// Without a server, only what can be told without.
			report, _ = try(0)
			for _, trial := range report.Trials {
				if trial.Server || trial.Format != format || trial.Right.Bytes != trial.Listed.Bytes {
					t.Errorf("%+v", trial)
				}
			}
			if report, _ := try(0, append(inServer, "auth-db-backup")...); len(report.Trials) != 1 {
				t.Errorf("%+v", report)
			}

			// Who is interrupted takes the database along.
			for _, signal := range []string{"INT", "TERM"} {
				try(130, append(inServer, "--pg-bin", d.standIn("psql", `{ head -c 1000000; kill -`+signal+` $PPID; sleep 1; cat; } | "$real" "$@"`))...)
			}

			// A list that counts other rows.
			lists, err := filepath.Glob(filepath.Join(d.archive, "jobs-*", "archive-info"))
			if err != nil || len(lists) != 1 {
				t.Fatalf("%q, %v", lists, err)
			}
			good, err := os.ReadFile(lists[0])
			must(t, err)
			other := strings.Replace(string(good), `"jobs":50000`, `"jobs":50001`, 1)
			must(t, os.WriteFile(lists[0], []byte(other), 0o600))
			must(t, os.RemoveAll(d.path("catalog.sqlite")))
			report, _ = try(3, inServer...)
			if p := report.Trials[1].Problems; p.Count != 1 || p.First[0].Path != "public.jobs" || p.First[0].Reason != "50000 rows, expected 50001 rows" {
				t.Errorf("%+v", report)
			}
			if report.Right.Files != 1 {
				t.Errorf("the other database was not tried: %+v", report)
			}

			// Who gets no answer, or is not let in, hears of that first.
			try(5, "--database", d.address(""), "--password-file", d.file("wrong", "wrong\n"))
			try(1, "--database", "postgres://"+d.user+"@127.0.0.1:1/")
		})
	}
}

func (d *databases) databaseNames() string {
	d.Helper()
	return d.server.Query(d, "postgres", `SELECT string_agg(datname, ' ' ORDER BY 1) FROM pg_database`)
}
