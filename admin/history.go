package admin

import (
	"time"

	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/service"
)

const (
	historyDays = 30
	// historyRuns is how many runs of a job are looked at for them: six a day.
	historyRuns = 200
)

// day is what the runs of one job did on one day of this host: sums of what was
// new, and the rest as the last run left it.
type day struct {
	Began         time.Time // midnight
	Ran           bool
	Failed        bool // and none was done
	Files, Bytes  int64
	NewFiles, New int64
	Problems      int64
	Took          time.Duration
}

// history is the last days of a job, for the plots and the table below them.
type history struct {
	Plots []plot
	Days  []dayRow // newest first, those without a run left out
}

// dayRow is a day in words.
type dayRow struct {
	Date  string
	Badge badge
	Cells []string // as in columns
}

// measure is something that is plotted.
type measure struct {
	Name  string
	Line  bool // a stock, which stays; else bars, of what happened
	Value func(day) int64
	Text  func(int64) string
}

var (
	newBytes = measure{"New data", false, func(d day) int64 { return d.New }, size}
	newFiles = measure{"New files", false, func(d day) int64 { return d.NewFiles }, count}
	allBytes = measure{"Data in all", true, func(d day) int64 { return d.Bytes }, size}
	took     = measure{"Time it took", false, func(d day) int64 { return int64(d.Took) }, func(n int64) string { return duration(time.Duration(n)) }}
	allFiles = measure{"Files in all", true, func(d day) int64 { return d.Files }, count}
	dumped   = measure{"Size of the dump", true, func(d day) int64 { return d.Bytes }, size}
	fetched  = measure{"Data fetched", false, func(d day) int64 { return d.New }, size}
	read     = measure{"Data read", false, func(d day) int64 { return d.New }, size}
	wrong    = measure{"Problems found", false, func(d day) int64 { return d.Problems }, count}

	measures = map[service.Kind][]measure{
		service.Files:    {newBytes, newFiles, allBytes, took},
		service.Database: {dumped, took},
		service.Archive:  {fetched, allFiles, took},
		service.Verify:   {read, wrong, took},
	}
)

// historyOf looks at the runs of a job, which are newest first.
func historyOf(n int, kind service.Kind, list []runs.Run, now time.Time) history {
	days := daysOf(list, now)
	var h history
	for i, m := range measures[kind] {
		h.Plots = append(h.Plots, plotOf(10*n+i, m, days))
	}
	for i := len(days) - 1; i >= 0; i-- {
		d := days[i]
		if !d.Ran && !d.Failed {
			continue
		}
		row := dayRow{Date: dateOf(d.Began), Badge: badgeOf(runs.Succeeded)}
		if d.Failed {
			row.Badge = badgeOf(runs.Failed)
		}
		for _, m := range measures[kind] {
			cell := "–"
			if d.Ran {
				cell = m.Text(m.Value(d))
			}
			row.Cells = append(row.Cells, cell)
		}
		h.Days = append(h.Days, row)
	}
	return h
}

func dateOf(t time.Time) string { return t.Format("Mon 2 Jan") }

func daysOf(list []runs.Run, now time.Time) []day {
	days := make([]day, historyDays)
	today := now.Local()
	index := map[[3]int]int{}
	for i := range days {
		at := time.Date(today.Year(), today.Month(), today.Day()-historyDays+1+i, 0, 0, 0, 0, time.Local)
		days[i].Began, index[dateKey(at)] = at, i
	}
	for i := len(list) - 1; i >= 0; i-- {
		r := &list[i]
		if r.Result == runs.Running {
			continue
		}
		if at, ok := index[dateKey(r.Started.Local())]; ok {
			days[at].add(r)
		}
	}
	return days
}

func dateKey(t time.Time) [3]int { return [3]int{t.Year(), int(t.Month()), t.Day()} }

// add counts a run in. They come in their order.
func (d *day) add(r *runs.Run) {
	if !r.Result.Done() {
		d.Failed = d.Failed || !d.Ran && r.Result == runs.Failed
		return
	}
	d.Ran, d.Failed = true, false
	d.Files, d.Bytes, d.Took = r.Files["total"], r.Bytes["total"], r.Duration(r.Ended)
	files, bytes, _ := mainCounts(*r)
	d.NewFiles += files
	d.New += bytes
	d.Problems += int64(len(r.Problems))
}
