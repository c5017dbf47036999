package service_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chipster/firn/admin"
	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/restore"
	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/internal/schedule"
	"github.com/chipster/firn/metrics"
	"github.com/chipster/firn/service"
)

const token = "a token of the administrator's"

// host is a server with a service of one job, and the page that it serves.
type host struct {
	f      *fortnight
	job    service.Job
	at     schedule.Schedule
	folder string
	s      *service.Service
	page   http.Handler
	stop   func()

	mu    sync.Mutex
	ended map[string]int // since somebody last looked
}

func (f *fortnight) start(job service.Job, at schedule.Schedule) {
	h := &host{f: f, job: job, at: at, folder: f.TempDir(), ended: map[string]int{}}
	f.hosts[job.Name] = h
	h.boot()
}

// boot starts the service on the state that the one before left.
func (h *host) boot() {
	quiet := slog.New(slog.DiscardHandler)
	store, err := runs.Open(filepath.Join(h.folder, "runs"), runs.Options{})
	must(h.f, err)
	h.s, err = service.New(service.Options{
		Jobs: []service.Job{h.job}, Schedule: h.at, Runs: store, Folder: h.folder, Result: resultOf, Ended: h.note, Logger: quiet,
	})
	must(h.f, err)
	h.page, err = admin.New(admin.Options{
		Service: h.s, Runs: store, Token: []byte(token), Title: "a host", Logger: quiet,
		Metrics: metrics.Handler(h.s, metrics.Options{Interval: h.at.Interval, Logger: quiet}),
	})
	must(h.f, err)
	ctx, cancel := context.WithCancel(h.f.Context())
	done := make(chan error, 1)
	go func() { done <- h.s.Run(ctx) }()
	h.stop = func() {
		cancel()
		must(h.f, <-done)
	}
}

func (h *host) note(run runs.Run) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended[fmt.Sprint(run.Trigger, " ", run.Result)]++
}

// ran counts the runs that ended since it was last asked, by trigger and result.
func (h *host) ran() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	ended := h.ended
	h.ended = map[string]int{}
	return ended
}

func (h *host) state() service.JobState { return h.s.State().Jobs[0] }

// get asks the page's server.
func (h *host) get(path string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	change(r)
	answer := httptest.NewRecorder()
	h.page.ServeHTTP(answer, r)
	return answer
}

// login opens a session, as the form does.
func (h *host) login(r *http.Request) {
	form := httptest.NewRequest(http.MethodPost, "/login", strings.NewReader(url.Values{"token": {token}}.Encode()))
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer := httptest.NewRecorder()
	h.page.ServeHTTP(answer, form)
	for _, cookie := range answer.Result().Cookies() {
		r.AddCookie(cookie)
	}
}

func authorize(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }

// headlines are what the page says first.
var headlines = map[string]string{"good": "All is well", "warn": "The last run failed", "bad": "attention"}

// check has state, monitoring, numbers and page tell the same of a day, which is
// good, bad for these reasons, or only warned of.
func (h *host) check(day int, level string, reasons ...string) {
	f, state := h.f, h.state()
	f.Helper()
	problems := h.s.Problems()
	if len(problems) != len(reasons) {
		f.Errorf("day %d: problems %q, want %q", day, problems, reasons)
	}
	for i := range min(len(problems), len(reasons)) {
		if !strings.HasPrefix(problems[i], h.job.Name+": "+reasons[i]) {
			f.Errorf("day %d: problem %q, want %q", day, problems[i], reasons[i])
		}
	}
	if state.Last == nil || state.LastDone == nil && day > firstNight || state.Running != nil || (level == "good") != state.Last.Result.Done() && len(reasons) == 0 {
		f.Errorf("day %d: %s is %+v", day, level, state)
		return
	}
	open := func(*http.Request) {}
	want := http.StatusOK
	if len(reasons) > 0 {
		want = http.StatusNotFound
	}
	if answer := h.get("/admin/monitoring/backup", open); answer.Code != want || len(reasons) > 0 && !strings.Contains(answer.Body.String(), reasons[0]) {
		f.Errorf("day %d: monitoring answers %d, want %d: %s", day, answer.Code, want, answer.Body)
	}
	h.checkNumbers(day, state, len(reasons))
	if answer := h.get("/", h.login); answer.Code != http.StatusOK || !strings.Contains(answer.Body.String(), headlines[level]) || !strings.Contains(answer.Body.String(), h.job.Title) {
		f.Errorf("day %d: the page, %d, does not say %q: %.2000s", day, answer.Code, headlines[level], answer.Body)
	}
	if answer := h.get("/", open); strings.Contains(answer.Body.String(), h.job.Title) {
		f.Errorf("day %d: the page is open to everybody", day)
	}
}

// checkNumbers looks into what Prometheus is told.
func (h *host) checkNumbers(day int, state service.JobState, problems int) {
	answer := h.get("/metrics", authorize)
	for _, line := range []string{
		fmt.Sprintf("firn_problems %d", problems),
		fmt.Sprintf("firn_last_run_result{job=%q,result=%q} 1", h.job.Name, state.Last.Result),
		fmt.Sprintf("firn_consecutive_failures{job=%q} %d", h.job.Name, state.Failures),
		fmt.Sprintf("firn_run_active{job=%q} 0", h.job.Name),
		fmt.Sprintf("firn_runs_total{job=%q,result=%q} %d", h.job.Name, runs.Failed, state.Ends[runs.Failed]),
		"firn_schedule_enabled 1",
	} {
		if !strings.Contains("\n"+answer.Body.String(), "\n"+line+"\n") {
			h.f.Errorf("day %d: the numbers, %d, lack %s", day, answer.Code, line)
		}
	}
	if next := h.s.State().Next; time.Until(next) > 26*time.Hour || next.Minute() != h.at.Minute || next.Hour() != h.at.Hour {
		h.f.Errorf("day %d: next is %s", day, next)
	}
}

// restoreAll restores all versions of an archive, and returns their folders.
func restoreAll(t *testing.T, root string, opener *envelope.Opener) map[string]string {
	t.Helper()
	list, err := catalog.Open(t.Context(), root, catalog.Options{Path: filepath.Join(t.TempDir(), "catalog")})
	must(t, err)
	defer list.Close()
	versions, err := list.Versions(t.Context(), storageName)
	must(t, err)
	folders := map[string]string{}
	for _, v := range versions {
		to := t.TempDir()
		_, err := restore.Run(t.Context(), restore.Options{Catalog: list, Opener: opener, Version: v, To: to, Logger: slog.New(slog.DiscardHandler)})
		must(t, err)
		folders[v.Name.String()] = to
	}
	return folders
}
