package service

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chipster/firn/internal/runs"
)

// bucket is what a Seen answers.
type bucket struct {
	mu   sync.Mutex
	seen Seen
	err  error
}

func (b *bucket) tell(seen Seen, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seen, b.err = seen, err
}

func (b *bucket) ask(context.Context) (Seen, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen, b.err
}

// Backups that fail are a problem once they are older than twice the interval, and
// no more when one was made.
func TestProblemsOfBackups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failing := make([]error, 1, 200)
		for len(failing) < 60 {
			failing = append(failing, errWork)
		}
		w := newWorld(t, work("file-storage", 0, failing...))
		w.start()
		w.sleepTo("2026-11-23 01:00:00")
		w.problems()
		w.sleepTo("2026-11-23 04:20:00")
		w.problems("file-storage: no backup for 2 days 3 hours: the newest is of 2026-11-21 01:10; the last run failed: the work failed")
		if state := w.state("file-storage"); len(state.Problems) != 1 {
			t.Errorf("%q", state.Problems)
		}
		w.sleepTo("2026-11-25 12:00:00")
		w.problems()
	})
}

// A first run that takes long is no problem, one that fails is.
func TestProblemsOfTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, work("auth", 20*time.Hour, errWork))
		w.start()
		w.problems()
		w.sleepTo("2026-11-21 12:00:00")
		w.problems()
		w.sleepTo("2026-11-21 21:11:00")
		w.problems("auth: no backup yet: the first was due 2026-11-21 01:10; the last run failed: the work failed")
	})
}

// What the bucket holds counts more than what was recorded, and what the archiver
// takes counts too, unless the bucket is the final storage.
func TestProblemsOfTheBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bucket
		w := newWorld(t, work("file-storage", time.Minute))
		w.o.Jobs[0].Seen = b.ask
		w.start()
		w.sleepTo("2026-11-21 01:20:00")
		w.problems("file-storage: the bucket has no backup, though one was made at 2026-11-21 01:10")
		tell := func(seen Seen, err error) {
			b.tell(seen, err)
			time.Sleep(time.Hour + time.Minute)
			synctest.Wait()
		}
		tell(Seen{Backup: time.Now(), Waiting: 1}, nil)
		w.problems() // the archiver has some time
		w.sleepTo("2026-11-23 12:00:00")
		tell(Seen{Backup: time.Now(), Waiting: 3}, nil)
		w.problems("file-storage: no backup is archived, and 3 wait")
		tell(Seen{Backup: time.Now(), Archived: time.Now()}, nil)
		w.problems()
		tell(Seen{}, errSeen)
		w.problems() // what was known an hour ago is good enough
		if state := w.state("file-storage"); state.SeenError == "" || state.Seen == nil || time.Since(state.SeenAt) < time.Hour {
			t.Errorf("%+v", state)
		}
		time.Sleep(49 * time.Hour)
		w.problems("file-storage: nobody can tell what is archived: the bucket cannot be asked: the bucket is away")
		tell(Seen{Backup: time.Now(), Archived: time.Now().Add(-50 * time.Hour), Waiting: 2}, nil)
		w.problems("no backup was archived for 2 days 3 hours: the newest archived one is of")
		tell(Seen{Backup: time.Now(), Archived: time.Now().Add(-50 * time.Hour)}, nil)
		w.problems() // it has all that there was
		tell(Seen{Backup: time.Now(), Archived: time.Now().Add(-50 * time.Hour), Waiting: 2}, nil)
		w.stop()
		w.o.Final = true
		w.start()
		w.problems()
	})
}

// A backup without some of the files is one, and somebody has to see to it.
func TestProblemsOfWhatIsIncomplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, work("file-storage", time.Minute, errWork, nil))
		w.o.Result = func(err error) runs.Result {
			if err != nil {
				return runs.Incomplete
			}
			return runs.Succeeded
		}
		w.start()
		w.sleepTo("2026-11-21 12:00:00")
		w.problems("file-storage: the last run, of 2026-11-21 01:10, is not complete: the work failed")
		w.sleepTo("2026-11-22 12:00:00")
		w.problems()
	})
}

// An archive server is looked after when nothing was archived, and when the last
// verification found damage.
func TestProblemsOfTheArchive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		errDamage := errors.New("1 file is damaged")
		archive, verify := work("archive", time.Minute, nil, errWork), work("verify", time.Minute, nil, errDamage)
		archive.Kind, verify.Kind = Archive, Verify
		w := newWorld(t, archive, verify)
		w.o.Result = func(err error) runs.Result {
			switch {
			case err == nil:
				return runs.Succeeded
			case errors.Is(err, errDamage):
				return runs.Incomplete
			}
			return runs.Failed
		}
		w.o.Holds = func(context.Context) (*Holdings, error) { return &Holdings{Folder: "/archive", DiskFree: 1}, nil }
		w.start()
		w.sleepTo("2026-11-21 12:00:00")
		w.problems()
		if state := w.s.State(); state.Holdings == nil || state.Holdings.DiskFree != 1 {
			t.Errorf("%+v", state.Holdings)
		}
		w.sleepTo("2026-11-22 01:14:00")
		w.problems("verify: the verification of 2026-11-22 01:11 found damage: 1 file is damaged")
		if err := w.s.SetSchedule(false); err != nil {
			t.Fatal(err)
		}
		w.sleepTo("2026-11-24 12:00:00")
		w.problems("archive: no run done for 3 days 10 hours: the newest is of 2026-11-21 01:10; the last run failed",
			"verify: no run done for 2 days 10 hours", "verify: the verification of", "schedule: it is switched off since")
	})
}

// Whoever asks waits for nothing, though disk and bucket hang.
func TestStateWaitsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := work("auth", time.Hour)
		hang.Seen = func(ctx context.Context) (Seen, error) { <-ctx.Done(); return Seen{}, ctx.Err() }
		w := newWorld(t, hang)
		w.o.Holds = func(ctx context.Context) (*Holdings, error) { <-ctx.Done(); return nil, ctx.Err() }
		w.start()
		before := time.Now()
		w.problems()
		if state := w.s.State(); len(state.Jobs) != 1 || time.Now() != before {
			t.Errorf("%+v after %s", state, time.Since(before))
		}
		w.sleepTo("2026-11-20 12:02:00")
		if state := w.state("auth"); state.SeenError == "" {
			t.Errorf("%+v", state)
		}
		w.stop() // and the end does not hang either
		if time.Since(before) > 3*time.Minute {
			t.Errorf("ended after %s", time.Since(before))
		}
	})
}

// A switch that cannot be read is on, one that cannot be written is not switched.
func TestPowerFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, work("auth", time.Minute))
		path := filepath.Join(w.o.Folder, "schedule.json")
		if err := os.WriteFile(path, []byte("{\"enab"), 0o640); err != nil {
			t.Fatal(err)
		}
		w.start()
		if !w.s.State().ScheduleOn || !strings.Contains(w.log.String(), "schedule.json") {
			t.Errorf("%+v: %s", w.s.State(), &w.log)
		}
		if err := os.RemoveAll(w.o.Folder); err != nil {
			t.Fatal(err)
		}
		if err := w.s.SetSchedule(false); err == nil || !w.s.State().ScheduleOn {
			t.Errorf("%v, %+v", err, w.s.State())
		}
	})
}

// A clock that leaps neither doubles a night nor loses all that follow. The loop
// is asked at instants that no bubble can show it one after the other.
func TestClockLeaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, work("auth", time.Minute))
		w.start()
		w.sleepTo("2026-11-21 12:00:00")
		w.expect("21 01:10 auth schedule 1 succeeded")
		w.stop()
		at := func(text string) time.Time {
			at, err := time.ParseInLocation(time.DateTime, text, w.o.Schedule.Location)
			if err != nil {
				t.Fatal(err)
			}
			return at
		}
		step := func(now time.Time) string {
			w.s.refresh(w.s.jobs[0], now)
			next, wait := w.s.step(now)
			if wait <= 0 || wait > time.Minute {
				t.Errorf("at %s the loop sleeps for %s", now, wait)
			}
			w.s.current = nil
			if next == nil {
				return ""
			}
			return string(next.why)
		}
		for _, test := range []struct{ now, want string }{
			{"2026-11-21 01:05:00", ""},         // back before the night that was
			{"2026-11-21 01:10:00", ""},         // which comes again
			{"2026-11-22 01:10:00", "schedule"}, // and the next
			{"2026-11-22 09:00:00", "missed"},   // a laptop slept
			{"2016-11-21 12:00:00", ""},         // a battery is empty: nothing was due since, and what was recorded is of no time yet
			{"2016-11-22 01:10:00", "schedule"},
			{"2036-11-22 01:10:00", "schedule"},
		} {
			if got := step(at(test.now)); got != test.want {
				t.Errorf("at %s: %q, want %q", test.now, got, test.want)
			}
		}
	})
}
