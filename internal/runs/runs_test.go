package runs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// open opens a store that logs into a buffer.
func open(t *testing.T, dir string, keep int) (*Store, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	s, err := Open(dir, Options{Keep: keep, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return s, &log
}

func begin(t *testing.T, s *Store, job string) *Active {
	t.Helper()
	a, err := s.Begin(job, Scheduled, 1)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func end(t *testing.T, a *Active, result Result, err error) Run {
	t.Helper()
	run, err := a.End(result, err)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func get(t *testing.T, s *Store, id string) Run {
	t.Helper()
	run, err := s.Run(id)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func logOf(t *testing.T, s *Store, id string) string {
	t.Helper()
	log, err := s.Log(id)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	text, err := io.ReadAll(log)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// All that is told of a run is there for another process, and in memory too
// where there is no folder.
func TestRecord(t *testing.T) {
	for _, dir := range []string{"", filepath.Join(t.TempDir(), "runs")} {
		s, _ := open(t, dir, 0)
		a := begin(t, s, "file-storage")
		a.Plan(3, 300)
		a.Add(1, 100)
		if run := get(t, s, a.ID()); run.Result != Running || run.Progress.Percent() < 33 || run.Progress.Percent() > 34 {
			t.Errorf("under way: %+v", run)
		}
		a.Logger(slog.New(slog.DiscardHandler)).Info("sealed", "path", "a/b")
		a.Logger(nil).Debug("not this")
		if log := logOf(t, s, a.ID()); !strings.Contains(log, "path=a/b") || strings.Contains(log, "not this") {
			t.Errorf("log under way: %q", log)
		}
		a.Made("file-storage_x")
		a.CountFiles("new", 2)
		a.CountFiles("new", 1)
		a.CountBytes("sealed", 7)
		for i := range 200 {
			a.Problem(fmt.Sprint("lost ", i))
		}
		run := end(t, a, Incomplete, errors.New("200 lost"))
		if _, err := a.End(Failed, nil); err != nil {
			t.Error(err)
		}
		a.Add(1, 1) // too late to count
		a.Logger(nil).Info("too late")
		if dir != "" {
			s, _ = open(t, dir, 0)
		}
		got := get(t, s, a.ID())
		if got.Result != Incomplete || got.Error != "200 lost" || got.Files["new"] != 3 || got.Bytes["sealed"] != 7 ||
			len(got.Problems) != 100 || got.Made[0] != "file-storage_x" || !got.Ended.Equal(run.Ended) || got.Progress.Files != 1 {
			t.Errorf("recorded in %q: %+v", dir, got)
		}
		if log := logOf(t, s, a.ID()); !strings.Contains(log, "path=a/b") {
			t.Errorf("log: %q", log)
		}
		if last, ok, err := s.LastDone("file-storage"); err != nil || !ok || last.ID != a.ID() {
			t.Errorf("last done: %+v, %v, %v", last, ok, err)
		}
		if _, ok, err := s.LastDone("file"); ok || err != nil {
			t.Errorf("last done of a job that never was: %v, %v", ok, err)
		}
	}
}

// A total that was only estimated never looks like the end, and stays when
// nobody knows better.
func TestEstimate(t *testing.T) {
	s, _ := open(t, "", 0)
	a := begin(t, s, "auth")
	if p := a.snapshot().Progress.Percent(); p != -1 {
		t.Errorf("before anything is known: %v", p)
	}
	a.Estimate(100)
	a.Plan(Unknown, Unknown)
	a.Add(0, 150)
	if p := a.snapshot().Progress; p.Percent() != 99 || !p.Estimated {
		t.Errorf("%+v is %v %%", p, p.Percent())
	}
	a.Plan(1, 300)
	a.Add(0, 150)
	if p := a.snapshot().Progress; p.Percent() != 50 || p.Estimated {
		t.Errorf("%+v is %v %%", p, p.Percent())
	}
}

// Runs come newest first, also those that began in one instant; job and limit
// hold, whatever the job's name is.
func TestRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where time stands still
		dir := t.TempDir()
		s, _ := open(t, dir, 0)
		jobs := []string{"auth", "a/../../b", strings.Repeat("ä", 300), "auth", "", "auth"}
		var ids []string
		for _, job := range jobs {
			a := begin(t, s, job)
			ids = append(ids, a.ID())
			end(t, a, Succeeded, nil)
		}
		all, err := s.Runs("", 0)
		if err != nil || len(all) != len(jobs) {
			t.Fatalf("%d runs, %v", len(all), err)
		}
		for i, run := range all {
			if n := len(jobs) - 1 - i; run.ID != ids[n] || run.Job != jobs[n] || !validID(run.ID) {
				t.Errorf("run %d is %s of %q", i, run.ID, run.Job)
			}
		}
		if two, _ := s.Runs("auth", 2); len(two) != 2 || two[0].ID != ids[5] || two[1].ID != ids[3] {
			t.Errorf("the two newest are %+v", two)
		}
		if odd, _ := s.Runs("a/../../b", 10); len(odd) != 1 {
			t.Errorf("%d runs of an odd name", len(odd))
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 2*len(jobs) {
			t.Errorf("%d files in the folder", len(entries))
		}
	})
}

// What is not an ID never becomes a path.
func TestHostileIDs(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, filepath.Join(dir, "runs"), 0)
	a := begin(t, s, "auth")
	end(t, a, Succeeded, nil)
	if err := os.WriteFile(filepath.Join(dir, "secret.log"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"", ".", "..", "../secret", "../runs/" + a.ID(), a.ID() + "/", a.ID() + "\n", a.ID() + "\x00", strings.ToUpper(a.ID()), strings.Replace(a.ID(), "auth", "a/th", 1), strings.Replace(a.ID(), "auth", "", 1), a.ID()[1:], "x" + a.ID()[1:], a.ID()[:len(a.ID())-1] + "g", strings.Repeat("a", 5000)} {
		if _, err := s.Run(id); !errors.Is(err, ErrNoRun) {
			t.Errorf("run %q: %v", id, err)
		}
		if _, err := s.Log(id); !errors.Is(err, ErrNoRun) {
			t.Errorf("log %q: %v", id, err)
		}
	}
}

// A long log keeps its first and its last lines, whole, within a mebibyte.
func TestLongLog(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		s, _ := open(t, dir, 0)
		a := begin(t, s, "auth")
		logger := a.Logger(nil)
		const lines = 30000
		for i := range lines {
			logger.Info("line", "n", i, "filler", strings.Repeat("x", i%100))
		}
		during := logOf(t, s, a.ID())
		end(t, a, Succeeded, nil)
		log := logOf(t, s, a.ID())
		if log != during {
			t.Errorf("the log changed at the end, from %d to %d bytes", len(during), len(log))
		}
		if len(log) > 1<<20 || len(log) < 1000<<10 {
			t.Errorf("the log has %d bytes", len(log))
		}
		if !strings.Contains(log, "n=0 ") || !strings.Contains(log, fmt.Sprintf("n=%d ", lines-1)) || !strings.Contains(log, " bytes are left out here ...\n") {
			t.Errorf("the log lacks a line: %q ... %q", log[:100], log[len(log)-200:])
		}
		for line := range strings.Lines(log) {
			if !strings.HasPrefix(line, "time=") && !strings.HasPrefix(line, "... ") {
				t.Errorf("torn line %q", line)
			}
		}
	}
}

// The oldest runs go, but none that is under way, nor the newest done of a job.
func TestKeep(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		s, _ := open(t, dir, 10)
		under := begin(t, s, "verify")
		done := end(t, begin(t, s, "auth"), Succeeded, nil)
		first := end(t, begin(t, s, "auth"), Failed, nil)
		for range 30 {
			end(t, begin(t, s, "auth"), Failed, errors.New("no"))
		}
		all, err := s.Runs("", 0)
		if err != nil || len(all) > 11 || len(all) < 10 {
			t.Errorf("%d runs, %v", len(all), err)
		}
		if last, ok, _ := s.LastDone("auth"); !ok || last.ID != done.ID {
			t.Errorf("the newest done is %+v", last)
		}
		if _, err := s.Run(first.ID); !errors.Is(err, ErrNoRun) {
			t.Errorf("the oldest failed: %v", err)
		}
		if dir != "" {
			s, _ = open(t, dir, 10) // as another process sees it
		}
		if run := get(t, s, under.ID()); run.Result != Running {
			t.Errorf("under way: %+v", run)
		}
		end(t, under, Succeeded, nil)
	}
}

// Many goroutines tell of one run, and others look.
func TestConcurrent(t *testing.T) {
	s, _ := open(t, t.TempDir(), 20)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			a, err := s.Begin("auth", Scheduled, 1)
			if err != nil {
				t.Error(err)
				return
			}
			var inner sync.WaitGroup
			for range 4 {
				inner.Go(func() {
					for range 200 {
						a.Add(1, 10)
						a.CountFiles("new", 1)
						a.Logger(nil).Info("one")
						_, _ = s.Run(a.ID())
					}
				})
			}
			inner.Wait()
			if run, err := a.End(Succeeded, nil); err != nil || run.Files["new"] != 800 || run.Progress.Bytes != 8000 {
				t.Errorf("%+v, %v", run, err)
			}
		})
	}
	wg.Wait()
	if all, err := s.Runs("auth", 0); err != nil || len(all) != 4 {
		t.Errorf("%d runs, %v", len(all), err)
	}
}

// Progress reaches other processes, but does not cost a write each time.
func TestProgressOnDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s, _ := open(t, dir, 0)
		other, _ := open(t, dir, 0)
		a := begin(t, s, "auth")
		a.Plan(10, 1000)
		a.Add(1, 100)
		if run := get(t, other, a.ID()); run.Progress.Bytes != 0 || run.Result != Running {
			t.Errorf("at once: %+v", run)
		}
		time.Sleep(6 * time.Second)
		a.Add(1, 100)
		a.Add(1, 100)
		if run := get(t, other, a.ID()); run.Progress.Bytes != 200 || run.Result != Running {
			t.Errorf("after some seconds: %+v", run)
		}
		if run := get(t, s, a.ID()); run.Progress.Bytes != 300 {
			t.Errorf("here: %+v", run)
		}
		end(t, a, Succeeded, nil)
		if run := get(t, other, a.ID()); run.Progress.Bytes != 300 || run.Result != Succeeded {
			t.Errorf("in the end: %+v", run)
		}
	})
}
