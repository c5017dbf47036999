package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	_ "time/tzdata" // the tests do not depend on what the host has

	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/internal/schedule"
)

var (
	errWork = errors.New("the work failed")
	errSeen = errors.New("the bucket is away")
)

// world is a service with fake jobs, in a bubble where time is virtual.
type world struct {
	t       *testing.T
	o       Options
	s       *Service
	stop    func()
	log     strings.Builder
	mu      sync.Mutex
	history []string
}

// helsinki has its clock changed on 2026-03-29 at 03:00 and on 2026-10-25 at 04:00.
func helsinki(t testing.TB) *time.Location {
	t.Helper()
	location, err := time.LoadLocation("Europe/Helsinki")
	if err != nil {
		t.Fatal(err)
	}
	return location
}

// newWorld sleeps to a time of the day before the first scheduled one.
func newWorld(t *testing.T, jobs ...Job) *world {
	t.Helper()
	w := &world{t: t}
	w.o = Options{
		Jobs: jobs, Runs: memory(t), Folder: t.TempDir(),
		Schedule: schedule.Schedule{Hour: 1, Minute: 10, Interval: 24 * time.Hour, Location: helsinki(t)},
		Logger:   slog.New(slog.NewTextHandler(&w.log, nil)),
		Ended:    w.ended,
	}
	w.sleepTo("2026-11-20 12:00:00")
	return w
}

func memory(t *testing.T) *runs.Store {
	t.Helper()
	store, err := runs.Open("", runs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func (w *world) ended(run runs.Run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.history = append(w.history, fmt.Sprintf("%s %s %s %d %s",
		run.Started.In(w.o.Schedule.Location).Format("02 15:04"), run.Job, run.Trigger, run.Attempt, run.Result))
}

// start starts a service, as a program that was started.
func (w *world) start() {
	w.t.Helper()
	s, err := New(w.o)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w.s = s
	w.stop = func() {
		w.t.Helper()
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
		w.stop = func() {}
	}
	w.t.Cleanup(func() { w.stop() })
	synctest.Wait()
}

// sleepTo sleeps until the clock on the wall shows a time for the first time.
func (w *world) sleepTo(text string) {
	w.t.Helper()
	at, err := time.ParseInLocation(time.DateTime, text, w.o.Schedule.Location)
	if err != nil || at.Before(time.Now()) {
		w.t.Fatalf("%s: %v", text, err)
	}
	time.Sleep(time.Until(at))
	synctest.Wait()
}

// expect checks which runs ended since it was last asked.
func (w *world) expect(want ...string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if got := strings.Join(w.history, "\n"); got != strings.Join(want, "\n") {
		w.t.Errorf("ran:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
	w.history = nil
}

// problems checks that each problem has a text in it, and that there are no more.
func (w *world) problems(want ...string) {
	w.t.Helper()
	got := w.s.Problems()
	if len(got) != len(want) {
		w.t.Errorf("problems: %q, want %q", got, want)
		return
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			w.t.Errorf("problem %q lacks %q", got[i], want[i])
		}
	}
}

func (w *world) state(job string) JobState {
	w.t.Helper()
	for _, j := range w.s.State().Jobs {
		if j.Name == job {
			return j
		}
	}
	w.t.Fatalf("no job %s", job)
	return JobState{}
}

// work is a job that takes some time, and then has the result that is told.
func work(name string, took time.Duration, results ...error) Job {
	var n int
	return Job{Name: name, Kind: Files, Title: name, Scheduled: true, Run: func(ctx context.Context, _ *runs.Active) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(took):
		}
		if n++; n > len(results) {
			return nil
		}
		return results[n-1]
	}}
}
