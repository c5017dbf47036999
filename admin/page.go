package admin

import (
	"bytes"
	"fmt"
	"net/http"
	"time"

	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/service"
)

// page is what all pages have.
type page struct {
	Kind     string // overview, run, login or error
	Title    string // of the browser's window
	Host     string
	Version  string
	Zone     string
	Notice   string
	Busy     bool // something runs or waits: look again soon
	LoggedIn bool
}

func (h *handler) page(kind, title string) page {
	return page{
		Kind: kind, Title: title, Host: visible(h.Title), Version: visible(h.Version), Zone: zone(time.Now()),
	}
}

// render writes a page. It is made in memory first: half a page with the code
// 200 would help nobody.
func (h *handler) render(w http.ResponseWriter, code int, name string, data any) {
	var b bytes.Buffer
	if err := h.pages.ExecuteTemplate(&b, name, data); err != nil {
		h.Logger.Error("page cannot be made", "page", name, "error", err)
		http.Error(w, "the page cannot be made; the service's log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(b.Bytes()) // who has gone does not read it
}

func (h *handler) loginForm(w http.ResponseWriter, code int, problem string) {
	h.render(w, code, "login.html", struct {
		page
		Problem string
		NoToken bool
	}{h.page("login", "firn: "+visible(h.Title)), problem, h.guard.none})
}

func (h *handler) errorPage(w http.ResponseWriter, code int, text string) {
	h.render(w, code, "error.html", struct {
		page
		Code   int
		Status string
		Text   string
	}{h.page("error", "firn: "+visible(h.Title)), code, http.StatusText(code), visible(text)})
}

// overview is the first page, or the login form.
type overview struct {
	page
	Verdict  verdict
	Schedule scheduleView
	News     string // for those who listen to the page: changes only when something begins or ends
	Jobs     []jobView
	Runs     []runRow
	Holdings *holdingsView
}

type scheduleView struct {
	On    bool
	Next  *when
	Queue []string // titles of the jobs that wait
}

// runsShown are listed on the first page.
const runsShown = 25

func (h *handler) overview(w http.ResponseWriter, r *http.Request) {
	if f := h.admit(r); f != nil {
		if _, given := bearer(r); given {
			f.header(w)
			h.fail(w, r, f.code, f.text)
			return
		}
		h.loginForm(w, http.StatusOK, "")
		return
	}
	o := h.overviewOf(h.Service.State(), h.Service.Problems())
	o.Notice, o.LoggedIn = notices[r.URL.Query().Get("notice")], h.in(r)
	h.render(w, http.StatusOK, "overview.html", o)
}

func (h *handler) overviewOf(s service.State, problems []string) *overview {
	o := &overview{page: h.page("overview", ""), Verdict: verdictOf(s, problems), Holdings: holdingsOf(s)}
	o.Busy = len(s.Queue) > 0
	o.Schedule = scheduleView{On: s.ScheduleOn, Next: moment(s.Next, s.Now)}
	titles := map[string]string{}
	running := ""
	for i, j := range s.Jobs {
		titles[j.Name] = visible(j.Title)
		o.Jobs = append(o.Jobs, jobViewOf(i, j, s, h.lastRuns(j.Name, historyRuns)))
		if j.Running != nil {
			o.Busy = true
			if p := j.Running.Progress.Percent(); p >= 0 {
				running = fmt.Sprintf(" %.0f %%", p)
			}
		}
	}
	for _, name := range s.Queue {
		o.Schedule.Queue = append(o.Schedule.Queue, titles[name])
	}
	for _, r := range h.lastRuns("", runsShown) {
		o.Runs = append(o.Runs, rowOf(r, titles[r.Job], s.Now))
	}
	o.News = newsOf(s, titles)
	o.Title = o.Verdict.Sign + running + " firn: " + o.Host
	return o
}

// lastRuns are those that can be read: a page without some of them is what
// somebody needs who looks why a disk fails.
func (h *handler) lastRuns(job string, limit int) []runs.Run {
	list, err := h.Runs.Runs(job, limit)
	if err != nil {
		h.Logger.Warn("records of runs cannot be read", "error", err)
	}
	return list
}

// newsOf says what runs, or how the last run ended.
func newsOf(s service.State, titles map[string]string) string {
	var last *service.JobState
	for i, j := range s.Jobs {
		if j.Running != nil {
			return "Running: " + titles[j.Name] + "."
		}
		if j.Last != nil && (last == nil || j.Last.Ended.After(last.Last.Ended)) {
			last = &s.Jobs[i]
		}
	}
	if last == nil {
		return "Nothing has run yet."
	}
	return titles[last.Name] + ": " + resultWords[last.Last.Result].text + "."
}
