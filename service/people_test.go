package service

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Whom a person cancels stays cancelled until the next night; who waits gives up
// his place.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, work("auth", time.Hour), work("file-storage", time.Hour))
		w.start()
		if err := w.s.Cancel("auth"); !errors.Is(err, ErrNotRunning) {
			t.Error(err)
		}
		w.sleepTo("2026-11-21 01:20:00")
		id := w.state("auth").Running.ID
		if err := errors.Join(w.s.Cancel("file-storage"), w.s.Cancel(id)); err != nil {
			t.Error(err)
		}
		w.sleepTo("2026-11-21 12:00:00")
		w.expect("21 01:10 auth schedule 1 cancelled")
		if err := w.s.Cancel(id); !errors.Is(err, ErrNotRunning) {
			t.Error(err)
		}
		w.sleepTo("2026-11-22 12:00:00")
		w.expect("22 01:10 auth schedule 1 succeeded", "22 02:10 file-storage schedule 1 succeeded")
	})
}

// Who cancels what he started himself does not want another attempt either.
func TestCancelByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, work("auth", 2*time.Minute, errWork))
		w.start()
		w.sleepTo("2026-11-21 01:13:00")
		if err := w.s.Start("auth"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if err := w.s.Cancel(w.state("auth").Running.ID); err != nil {
			t.Error(err)
		}
		w.sleepTo("2026-11-22 12:00:00")
		w.expect("21 01:10 auth schedule 1 failed", "21 01:13 auth hand 1 cancelled", "22 01:10 auth schedule 1 succeeded")
	})
}

// A run that was cancelled stays so when the program is started again; a place in
// the queue that was given up, nobody has written down.
func TestCancelAndRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, work("auth", time.Hour), work("file-storage", time.Hour))
		w.start()
		w.sleepTo("2026-11-21 01:20:00")
		if err := errors.Join(w.s.Cancel("file-storage"), w.s.Cancel(w.state("auth").Running.ID)); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		w.stop()
		w.start()
		w.sleepTo("2026-11-21 12:00:00")
		w.expect("21 01:10 auth schedule 1 cancelled", "21 01:20 file-storage missed 1 succeeded")
	})
}

// Start runs a job at any time, once.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, work("auth", time.Hour), work("file-storage", time.Hour))
		w.start()
		if err := w.s.Start("nobody"); !errors.Is(err, ErrNoJob) {
			t.Error(err)
		}
		for _, name := range []string{"file-storage", "auth"} {
			if err := w.s.Start(name); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		for _, name := range []string{"file-storage", "auth"} {
			if err := w.s.Start(name); !errors.Is(err, ErrQueued) {
				t.Errorf("%s: %v", name, err)
			}
		}
		w.sleepTo("2026-11-20 15:00:00")
		w.expect("20 12:00 file-storage hand 1 succeeded", "20 13:00 auth hand 1 succeeded")
	})
}

// While the schedule is off, nobody but a person starts anything; what was due
// meanwhile is not made up for. The switch outlives the program.
func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, work("auth", time.Hour, errWork), work("file-storage", time.Hour))
		w.start()
		w.sleepTo("2026-11-21 01:20:00")
		if err := w.s.SetSchedule(false); err != nil {
			t.Fatal(err)
		}
		w.sleepTo("2026-11-21 12:00:00") // the run goes on, no retry, no next one
		w.expect("21 01:10 auth schedule 1 failed")
		w.stop()
		w.start()
		if state := w.s.State(); state.ScheduleOn || !state.Next.IsZero() {
			t.Errorf("%+v", state)
		}
		if err := w.s.Start("file-storage"); err != nil {
			t.Error(err)
		}
		w.sleepTo("2026-11-24 12:00:00")
		w.expect("21 12:00 file-storage hand 1 succeeded")
		w.problems("auth: no backup yet: the first was due 2026-11-21 01:10; the last run failed: the work failed",
			"file-storage: no backup for 3 days: the newest is of 2026-11-21 12:00", "schedule: it is switched off since 2026-11-21 01:20")
		if err := w.s.SetSchedule(true); err != nil {
			t.Fatal(err)
		}
		w.sleepTo("2026-11-24 20:00:00")
		w.stop()
		w.start()
		w.sleepTo("2026-11-25 12:00:00")
		w.expect("25 01:10 auth schedule 1 succeeded", "25 02:10 file-storage schedule 1 succeeded")
		w.problems()
	})
}
