package service

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chipster/firn/internal/runs"
)

// Each night the jobs run in their order, one at a time; those that nobody
// scheduled do not.
func TestNights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		byHand := work("verify", time.Minute)
		byHand.Scheduled = false
		w := newWorld(t, work("auth", 10*time.Minute), byHand, work("file-storage", 2*time.Hour))
		w.start()
		w.problems()
		if state := w.s.State(); len(state.Jobs) != 3 || state.Next.Format("02 15:04 -07") != "21 01:10 +02" || !state.ScheduleOn {
			t.Errorf("%+v", state)
		}
		w.sleepTo("2026-11-21 01:15:00")
		if state := w.s.State(); state.Jobs[0].Running == nil || state.Jobs[2].Running != nil || len(state.Queue) != 1 || !state.Jobs[2].Queued {
			t.Errorf("%+v", state)
		}
		w.sleepTo("2026-11-22 12:00:00")
		w.expect("21 01:10 auth schedule 1 succeeded", "21 01:20 file-storage schedule 1 succeeded",
			"22 01:10 auth schedule 1 succeeded", "22 01:20 file-storage schedule 1 succeeded")
		if state := w.state("auth"); state.Ends[runs.Succeeded] != 2 || state.LastDone == nil || state.Running != nil || state.Queued {
			t.Errorf("%+v", state)
		}
		w.problems()
	})
}

// A change of the clock neither drops a night nor doubles one.
func TestDaylightSaving(t *testing.T) {
	for _, test := range []struct {
		name, from, to string
		want           []string
	}{
		{"autumn, 03:30 comes twice", "2026-10-24 12:00:00", "2026-10-26 12:00:00",
			[]string{"25 03:30 files schedule 1 succeeded", "26 03:30 files schedule 1 succeeded"}},
		{"spring, 03:30 does not come", "2027-03-27 12:00:00", "2027-03-29 12:00:00",
			[]string{"28 04:00 files schedule 1 succeeded", "29 03:30 files schedule 1 succeeded"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{t: t}
				w.o.Schedule.Location = helsinki(t)
				w.sleepTo(test.from)
				w.o = Options{Jobs: []Job{work("files", time.Minute)}, Schedule: w.o.Schedule, Runs: memory(t), Ended: w.ended}
				w.o.Schedule.Hour, w.o.Schedule.Minute, w.o.Schedule.Interval = 3, 30, 24*time.Hour
				w.start()
				w.sleepTo(test.to)
				w.expect(test.want...)
			})
		})
	}
}

// What failed is tried again, ever more rarely, until the next night; others do
// not wait for it.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failing := []error{errWork, errWork, errWork, errWork, errWork, errWork}
		w := newWorld(t, work("auth", 0, failing...), work("file-storage", time.Minute))
		w.start()
		w.sleepTo("2026-11-21 01:12:00")
		if state := w.state("auth"); state.Failures != 1 || state.Retry.In(w.o.Schedule.Location).Format("15:04") != "01:15" || state.Last.Error != errWork.Error() {
			t.Errorf("%+v", state)
		}
		w.sleepTo("2026-11-22 00:00:00")
		w.expect("21 01:10 auth schedule 1 failed", "21 01:10 file-storage schedule 1 succeeded",
			"21 01:15 auth retry 2 failed", "21 01:25 auth retry 3 failed", "21 01:45 auth retry 4 failed",
			"21 02:25 auth retry 5 failed", "21 03:25 auth retry 6 failed", "21 04:25 auth retry 7 succeeded")
		if state := w.state("auth"); state.Failures != 0 || !state.Retry.IsZero() || state.Retries != 6 || state.Ends[runs.Failed] != 6 {
			t.Errorf("%+v", state)
		}
	})
}

// The next night begins anew, and what somebody started is his to try again.
func TestRetryEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failing := make([]error, 100)
		for i := range failing {
			failing[i] = errWork
		}
		w := newWorld(t, work("auth", 0, failing...))
		w.start()
		if err := w.s.Start("auth"); err != nil {
			t.Fatal(err)
		}
		w.sleepTo("2026-11-20 20:00:00")
		w.expect("20 12:00 auth hand 1 failed")
		w.sleepTo("2026-11-22 01:16:00")
		n := len(w.history)
		if n < 28 {
			t.Fatalf("%d runs", n)
		}
		w.history = w.history[n-3:]
		w.expect("22 00:25 auth retry 27 failed", "22 01:10 auth schedule 1 failed", "22 01:15 auth retry 2 failed")
	})
}

// A program that is stopped in the middle of a run goes on with it when it is
// started again, and makes up for the nights when it was off.
func TestStopAndMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, work("file-storage", 2*time.Hour))
		store, err := runs.Open(t.TempDir(), runs.Options{})
		if err != nil {
			t.Fatal(err)
		}
		w.o.Runs = store
		w.start()
		w.sleepTo("2026-11-21 02:00:00")
		w.stop()
		w.expect("21 01:10 file-storage schedule 1 interrupted")
		w.sleepTo("2026-11-21 02:10:00")
		w.start()
		w.sleepTo("2026-11-21 12:00:00")
		w.expect("21 02:10 file-storage missed 1 succeeded")
		w.stop()
		w.sleepTo("2026-11-21 20:00:00") // no night was missed
		w.start()
		w.stop()
		w.expect()
		w.sleepTo("2026-11-23 09:00:00") // two were: one run is enough
		w.start()
		w.sleepTo("2026-11-24 12:00:00")
		w.expect("23 09:00 file-storage missed 1 succeeded", "24 01:10 file-storage schedule 1 succeeded")
	})
}

// A program that dies of its run does not die as fast as it is started.
func TestInterruptedAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, work("file-storage", time.Hour))
		w.start()
		w.sleepTo("2026-11-21 01:11:00")
		for range 5 {
			w.stop()
			time.Sleep(time.Second)
			w.start()
		}
		w.sleepTo("2026-11-21 12:00:00")
		w.expect("21 01:10 file-storage schedule 1 interrupted", "21 01:11 file-storage missed 1 interrupted",
			"21 01:11 file-storage missed 1 interrupted", "21 01:16 file-storage missed 1 succeeded")
	})
}

// A fresh installation waits for its first time, also across restarts; one whose
// records are lost does not, as the bucket knows better.
func TestFirstTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, work("file-storage", time.Minute))
		w.start()
		w.sleepTo("2026-11-20 20:00:00")
		w.expect()
		w.problems()
		w.stop()
		w.sleepTo("2026-11-21 08:00:00") // off at night, as a laptop
		w.start()
		w.sleepTo("2026-11-21 12:00:00")
		w.expect("21 08:00 file-storage missed 1 succeeded")
		w.stop()
		w.o.Runs, w.o.Folder = memory(t), t.TempDir()
		w.start()
		w.sleepTo("2026-11-21 13:00:00")
		w.expect()
		w.stop()
		w.o.Runs, w.o.Folder = memory(t), t.TempDir()
		w.o.Jobs[0].Seen = func(context.Context) (Seen, error) {
			time.Sleep(20 * time.Second)
			return Seen{Backup: time.Date(2026, 11, 19, 0, 0, 0, 0, time.UTC)}, nil
		}
		w.start()
		w.sleepTo("2026-11-21 14:00:00")
		w.expect("21 13:00 file-storage missed 1 succeeded")
	})
}

// A night counts when the bucket has its backup, and when a command of its own
// made it.
func TestMadeByOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := work("auth", time.Minute)
		seen.Seen = func(context.Context) (Seen, error) { return Seen{Backup: time.Now().Add(-time.Hour)}, nil }
		w := newWorld(t, work("file-storage", time.Minute), seen)
		w.start()
		w.sleepTo("2026-11-21 01:00:00")
		w.stop()
		w.sleepTo("2026-11-21 03:00:00")
		active, err := w.o.Runs.Begin("file-storage", runs.Command, 1)
		if err != nil {
			t.Fatal(err)
		}
		w.start() // while the command is at work
		if state := w.state("file-storage"); state.Running == nil || !errors.Is(w.s.Start("file-storage"), ErrQueued) {
			t.Errorf("%+v", state)
		}
		w.sleepTo("2026-11-21 04:00:00")
		if _, err := active.End(runs.Succeeded, nil); err != nil {
			t.Fatal(err)
		}
		w.sleepTo("2026-11-21 12:00:00")
		w.expect()
		if state := w.state("file-storage"); state.Running != nil || state.Last.Trigger != runs.Command {
			t.Errorf("%+v", state)
		}
	})
}

// What says that somebody ended it, though nobody did, has failed.
func TestCancelledByNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, work("auth", time.Second, context.Canceled))
		w.o.Result = func(err error) runs.Result {
			if err != nil {
				return runs.Interrupted
			}
			return runs.Succeeded
		}
		w.start()
		w.sleepTo("2026-11-21 12:00:00")
		w.expect("21 01:10 auth schedule 1 failed", "21 01:15 auth retry 2 succeeded")
	})
}

// A service whose clock was far ahead when it began does not wait for that time.
func TestClockWasAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, work("auth", time.Second))
		s, err := New(w.o)
		if err != nil {
			t.Fatal(err)
		}
		ahead := wall().AddDate(10, 0, 0)
		s.began, s.power.Installed, s.power.Since, s.looked = ahead, ahead, ahead, true
		if next, _ := s.step(wall()); next != nil {
			t.Error("it runs before its first time")
		}
		at := s.o.Schedule.Next(wall())
		if next, _ := s.step(at); next == nil || next.why != runs.Scheduled {
			t.Errorf("at its time it runs %+v", next)
		}
	})
}

// Nor does one that was installed then, when it is started again.
func TestInstalledAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, work("auth", time.Second))
		s, err := New(w.o)
		if err != nil {
			t.Fatal(err)
		}
		s.power.Installed, s.looked = wall().AddDate(10, 0, 0), true
		s.step(wall())
		s.began = wall().Add(24 * time.Hour) // started again, and late
		if next, _ := s.step(s.began); next == nil || next.why != runs.Missed {
			t.Errorf("what was missed runs %+v", next)
		}
	})
}

// A job that panics has failed, says where, and takes nobody with it.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := work("auth", 0)
		bad.Run = func(context.Context, *runs.Active) error { panic("nil map") }
		w := newWorld(t, bad, work("file-storage", time.Minute))
		w.start()
		w.sleepTo("2026-11-21 01:14:00")
		w.expect("21 01:10 auth schedule 1 failed", "21 01:10 file-storage schedule 1 succeeded")
		last := w.state("auth").Last
		log, err := w.o.Runs.Log(last.ID)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(log)
		if !strings.Contains(last.Error, "nil map") || !strings.Contains(string(text), "service_test.go") {
			t.Errorf("%q: %s", last.Error, text)
		}
	})
}

// The result of a run is what its error says; a dump has an estimate from the one
// before; a run that was done as the program ended was done.
func TestResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		errMissing := errors.New("two files are missing")
		auth := Job{Name: "auth", Kind: Database, Scheduled: true}
		auth.Run = func(ctx context.Context, r *runs.Active) error {
			r.CountBytes("total", 1000)
			r.Add(0, 500)
			<-ctx.Done()
			return errMissing
		}
		w := newWorld(t, auth)
		w.o.Result = func(err error) runs.Result {
			if errors.Is(err, errMissing) {
				return runs.Incomplete
			}
			return runs.Failed
		}
		w.start()
		w.sleepTo("2026-11-21 01:20:00")
		if p := w.state("auth").Running.Progress; p.Percent() != -1 {
			t.Errorf("the first: %+v", p)
		}
		w.stop()
		w.expect("21 01:10 auth schedule 1 incomplete")
		w.start()
		w.sleepTo("2026-11-22 01:20:00")
		if p := w.state("auth").Running.Progress; p.Percent() != 50 || !p.Estimated {
			t.Errorf("the second: %+v", p)
		}
		w.stop()
		w.expect("22 01:10 auth schedule 1 incomplete")
	})
}

// What cannot work is refused.
func TestNew(t *testing.T) {
	good := work("auth", 0)
	for name, change := range map[string]func(*Options){
		"no jobs":       func(o *Options) { o.Jobs = nil },
		"no records":    func(o *Options) { o.Runs = nil },
		"twice":         func(o *Options) { o.Jobs = []Job{good, good} },
		"no name":       func(o *Options) { o.Jobs[0].Name = "" },
		"no work":       func(o *Options) { o.Jobs[0].Run = nil },
		"no interval":   func(o *Options) { o.Schedule.Interval = 0 },
		"half an hour":  func(o *Options) { o.Schedule.Interval = 90 * time.Minute },
		"no such time":  func(o *Options) { o.Schedule.Hour = 24 },
		"nor such time": func(o *Options) { o.Schedule.Minute = -1 },
	} {
		o := Options{Jobs: []Job{good}, Runs: memory(t)}
		o.Schedule.Interval = time.Hour
		if _, err := New(o); err != nil {
			t.Fatal(err)
		}
		if change(&o); true {
			if _, err := New(o); err == nil {
				t.Errorf("%s: nobody minds", name)
			}
		}
	}
}
