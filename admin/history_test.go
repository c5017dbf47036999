package admin

import (
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/service"
)

func aRun(at time.Time, result runs.Result, fresh, total int64) runs.Run {
	return runs.Run{
		Job: "file-storage", Started: at, Ended: at.Add(time.Minute), Result: result,
		Files: map[string]int64{"new": fresh / 10, "total": total / 10}, Bytes: map[string]int64{"new": fresh, "total": total},
	}
}

// A day is what its runs did: their sum where something is new, the newest where
// it stays; a day is failed when no run was done.
func TestDays(t *testing.T) {
	now := time.Date(2026, 11, 23, 18, 0, 0, 0, time.Local)
	night := func(before int, hour int) time.Time {
		return time.Date(2026, 11, 23-before, hour, 10, 0, 0, time.Local)
	}
	days := daysOf([]runs.Run{ // newest first
		{Started: now, Result: runs.Running},
		aRun(night(0, 15), runs.Failed, 1, 1),
		aRun(night(0, 13), runs.Incomplete, 200, 1200),
		aRun(night(0, 1), runs.Succeeded, 100, 1000),
		aRun(night(1, 3), runs.Succeeded, 50, 900),
		aRun(night(1, 1), runs.Failed, 1, 1),
		aRun(night(3, 1), runs.Failed, 1, 1),
		aRun(night(4, 1), runs.Cancelled, 1, 1),
		aRun(night(29, 1), runs.Succeeded, 7, 70),
		aRun(night(30, 23), runs.Succeeded, 8, 80),
	}, now)
	if len(days) != historyDays {
		t.Fatal(len(days))
	}
	want := map[int]day{
		0: {Ran: true, Files: 120, Bytes: 1200, NewFiles: 30, New: 300, Took: time.Minute}, 1: {Ran: true, Files: 90, Bytes: 900, NewFiles: 5, New: 50, Took: time.Minute},
		3: {Failed: true}, 29: {Ran: true, Files: 7, Bytes: 70, New: 7, Took: time.Minute},
	}
	for i := range days {
		d := days[historyDays-1-i]
		if y, m, n := d.Began.Date(); !time.Date(y, m, n, 1, 10, 0, 0, time.Local).Equal(night(i, 1)) {
			t.Errorf("%d days ago began %s", i, d.Began)
		}
		d.Began = time.Time{}
		if d != want[i] {
			t.Errorf("%d days ago: %+v, not %+v", i, d, want[i])
		}
	}
}

// The month in which the clock goes back has its days, each once.
func TestDaysOverDaylightSaving(t *testing.T) {
	old := time.Local
	defer func() { time.Local = old }()
	var err error
	time.Local, err = time.LoadLocation("Europe/Helsinki")
	must(t, err)
	days := daysOf(nil, time.Date(2026, 11, 5, 0, 30, 0, 0, time.Local))
	for i := 1; i < len(days); i++ {
		if days[i].Began.Hour() != 0 || days[i].Began.Day() == days[i-1].Began.Day() {
			t.Errorf("%s follows %s", days[i].Began, days[i-1].Began)
		}
	}
}

func TestPlots(t *testing.T) {
	now := time.Date(2026, 11, 23, 18, 0, 0, 0, time.Local)
	h := historyOf(3, service.Files, []runs.Run{
		aRun(now.AddDate(0, 0, -1), runs.Succeeded, 0, 400), aRun(now.AddDate(0, 0, -2), runs.Failed, 0, 0),
		aRun(now.AddDate(0, 0, -3), runs.Succeeded, 200, 200), aRun(now.AddDate(0, 0, -4), runs.Succeeded, 50, 100),
	}, now)
	if len(h.Plots) != 4 || len(h.Days) != 4 {
		t.Fatalf("%d plots, %d days", len(h.Plots), len(h.Days))
	}
	fresh, all := h.Plots[0], h.Plots[2]
	if len(fresh.Bars) != 2 || fresh.Bars[1].H != number(plotBase-plotTop) || fresh.Bars[0].H != number((plotBase-plotTop)/4.0) || fresh.Max != "200 B" || fresh.Newest != "0 B" {
		t.Errorf("%+v", fresh)
	}
	if little := plotHeight(1, 1<<40); little != plotBase-1.5 || plotHeight(0, 1<<40) != plotBase {
		t.Errorf("of a little, %v is seen", plotBase-little)
	}
	if len(fresh.Marks) != 1 || !strings.HasPrefix(fresh.Marks[0], "M272 ") { // the third day from the right
		t.Errorf("%q", fresh.Marks)
	}
	if all.Line != "M255 45.8L265 31.5L285 3" || !strings.HasSuffix(all.Area, "L285 60L255 60Z") || len(all.Dots) != 3 || len(all.Hits) != 4 {
		t.Errorf("%+v", all)
	}
	if want := "The last 30 days: 3 with a run that was done, 1 on which all failed. Highest 400 B, newest 400 B."; all.Described != want {
		t.Error(all.Described)
	}
	if first := h.Days[0]; first.Date != "Sun 22 Nov" || strings.Join(first.Cells, "; ") != "0 B; 0; 400 B; 1 min" {
		t.Errorf("%+v", first)
	}
	if failed := h.Days[1]; failed.Badge.Text != "failed" || failed.Cells[0] != "–" {
		t.Errorf("%+v", failed)
	}
}
