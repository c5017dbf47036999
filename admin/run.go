package admin

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/service"
)

// runRow is a run in the list of the last ones.
type runRow struct {
	ID    string
	Began *when
	Title string
	Why   string
	Badge badge
	Took  string
	Files string
	Bytes string
	Error string
}

func rowOf(r runs.Run, title string, now time.Time) runRow {
	row := runRow{
		ID: r.ID, Began: moment(r.Started, now), Title: title, Why: whyOf(r), Badge: badgeOf(r.Result),
		Took: duration(r.Duration(now)), Error: visible(r.Error),
	}
	if title == "" { // of a command, or of a job that is no more
		row.Title = visible(r.Job)
	}
	if files, bytes, known := mainCounts(r); known {
		row.Bytes = size(bytes)
		if files > 0 {
			row.Files = count(files)
		}
	}
	return row
}

// mainCounts are what a run was about: what was new in a backup or an archive,
// or was read in a verification.
func mainCounts(r runs.Run) (files, bytes int64, known bool) {
	for _, of := range []struct{ files, bytes string }{{"read", "read"}, {"new", "fetched"}, {"new", "new"}, {"total", "total"}} {
		if bytes, known := r.Bytes[of.bytes]; known {
			return r.Files[of.files], bytes, true
		}
	}
	return 0, 0, false
}

func whyOf(r runs.Run) string {
	why, known := triggerWords[r.Trigger]
	if !known {
		why = visible(string(r.Trigger))
	}
	if r.Attempt > 1 {
		why += ", attempt " + count(int64(r.Attempt))
	}
	return why
}

// runView is the page of one run.
type runView struct {
	page
	Row     runRow
	Ended   *when
	Running *runningView
	Cancel  string // address, where this service can cancel it
	Made    []string
	Counts  []countRow
	Trouble []string
	Log     string
	LogCut  bool // only its end is shown
}

// countRow is what was counted in one state.
type countRow struct{ State, Files, Bytes string }

func (h *handler) runPage(w http.ResponseWriter, r *http.Request) {
	run, err := h.Runs.Run(r.PathValue("id"))
	if err != nil {
		h.failRun(w, r, err)
		return
	}
	v := h.runViewOf(run, h.Service.State())
	v.Notice, v.LoggedIn = notices[r.URL.Query().Get("notice")], h.in(r)
	if v.Log, v.LogCut, err = h.endOfLog(run.ID); err != nil {
		h.failRun(w, r, err)
		return
	}
	h.render(w, http.StatusOK, "run.html", v)
}

func (h *handler) runViewOf(run runs.Run, s service.State) *runView {
	title := ""
	v := &runView{Ended: moment(run.Ended, s.Now), Counts: countRows(run)}
	for _, j := range s.Jobs {
		if j.Name == run.Job {
			title = visible(j.Title)
		}
		if j.Running != nil && j.Running.ID == run.ID {
			v.Cancel = cancelRun(j.Running)
		}
	}
	v.Row = rowOf(run, title, s.Now)
	v.page = h.page("run", v.Row.Badge.Sign+" "+v.Row.Title+": "+visible(h.Title))
	if run.Result == runs.Running {
		v.Running, v.Busy = runningOf(run, s.Now), true
	}
	for _, name := range run.Made {
		v.Made = append(v.Made, visible(name))
	}
	for _, p := range run.Problems {
		v.Trouble = append(v.Trouble, visible(p))
	}
	return v
}

// countRows has the totals first.
func countRows(r runs.Run) (rows []countRow) {
	states := map[string]bool{}
	for state := range r.Files {
		states[state] = true
	}
	for state := range r.Bytes {
		states[state] = true
	}
	list := slices.SortedFunc(maps.Keys(states), func(a, b string) int {
		if (a == "total") != (b == "total") {
			return map[bool]int{true: -1, false: 1}[a == "total"]
		}
		return strings.Compare(a, b)
	})
	for _, state := range list {
		row := countRow{State: visible(strings.ReplaceAll(state, "_", " "))}
		if n, ok := r.Files[state]; ok {
			row.Files = count(n)
		}
		if n, ok := r.Bytes[state]; ok {
			row.Bytes = size(n)
		}
		rows = append(rows, row)
	}
	return rows
}

// logShown is how much of a log is on the page, in bytes: it is sent again every
// two seconds while a run is under way.
const logShown = 64 << 10

func (h *handler) endOfLog(id string) (text string, cut bool, err error) {
	log, err := h.Runs.Log(id)
	if err != nil {
		return "", false, err
	}
	defer log.Close()
	data, err := io.ReadAll(log)
	if err != nil {
		return "", false, err
	}
	if len(data) > logShown {
		_, rest, _ := strings.Cut(string(data[len(data)-logShown:]), "\n")
		return visibleLines(rest), true, nil
	}
	return visibleLines(string(data)), false, nil
}
