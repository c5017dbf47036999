package admin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/internal/schedule"
	"github.com/chipster/firn/service"
)

const token = "a token of enough characters"

// errIncomplete is of a run that was done, but not well.
var errIncomplete = errors.New("incomplete")

// world is a service with jobs that do as they are told, and its handler.
type world struct {
	testing.TB
	h        http.Handler
	service  *service.Service
	runs     *runs.Store
	holdings *service.Holdings
	work     chan func(context.Context, *runs.Active) error // what the next run does
	log      *strings.Builder
	requests int
}

// newWorld is called in a bubble of synctest: the service's day passes at once.
func newWorld(t testing.TB, change func(*Options)) *world {
	t.Helper()
	w := &world{TB: t, work: make(chan func(context.Context, *runs.Active) error, 1), log: &strings.Builder{},
		holdings: &service.Holdings{Folder: "/srv/storage", DiskTotal: 1000 << 30, DiskFree: 300 << 30}}
	quiet := slog.New(slog.DiscardHandler)
	var err error
	w.runs, err = runs.Open("", runs.Options{Logger: quiet})
	must(t, err)
	job := func(name string, kind service.Kind, title string) service.Job {
		return service.Job{Name: name, Kind: kind, Title: title, Scheduled: true, Run: w.run}
	}
	w.service, err = service.New(service.Options{
		Jobs: []service.Job{
			job("auth", service.Database, "database auth"), job("file-storage", service.Files, "files of file-storage"),
			job("archive", service.Archive, "archive"), job("verify", service.Verify, "verification \x1b[31m"),
		},
		Schedule: schedule.Schedule{Hour: 1, Minute: 10, Interval: 24 * time.Hour},
		Runs:     w.runs, Logger: quiet,
		Holds: func(context.Context) (*service.Holdings, error) { return w.holdings, nil },
		Result: func(err error) runs.Result {
			switch {
			case errors.Is(err, errIncomplete):
				return runs.Incomplete
			case err != nil:
				return runs.Failed
			}
			return runs.Succeeded
		},
	})
	must(t, err)
	o := Options{
		Service: w.service, Runs: w.runs, Token: []byte(token), Title: "storage.example.org", Version: "1.2.3",
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "firn_problems 0\n") }),
		Logger:  slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&o)
	}
	w.h, err = New(o)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.service.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return w
}

// run does what the test says, or nothing.
func (w *world) run(ctx context.Context, r *runs.Active) error {
	select {
	case work := <-w.work:
		return work(ctx, r)
	default:
		return nil
	}
}

// finish has a job run, and returns its record.
func (w *world) finish(job string, work func(context.Context, *runs.Active) error) runs.Run {
	w.Helper()
	w.work <- work
	must(w, w.service.Start(job))
	synctest.Wait()
	list, err := w.runs.Runs(job, 1)
	must(w, err)
	if len(list) != 1 || list[0].Result == runs.Running {
		w.Fatalf("%s did not run to its end: %+v", job, list)
	}
	return list[0]
}

// hold has a job run until the returned function is called.
func (w *world) hold(job string, work func(*runs.Active)) (id string, release func()) {
	w.Helper()
	ids, done := make(chan string, 1), make(chan struct{})
	w.work <- func(ctx context.Context, r *runs.Active) error {
		if work != nil {
			work(r)
		}
		ids <- r.ID()
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	must(w, w.service.Start(job))
	synctest.Wait()
	return <-ids, func() { close(done); synctest.Wait() }
}

// with changes a request.
type with func(*http.Request)

func header(name, value string) with { return func(r *http.Request) { r.Header.Set(name, value) } }

func from(address string) with { return func(r *http.Request) { r.RemoteAddr = address } }

var (
	authorized = header("Authorization", "Bearer "+token)
	wrongly    = header("Authorization", "Bearer a token of some other characters")
	asPage     = header("Accept", "text/html,application/xhtml+xml")
)

func form(values ...string) with {
	return func(r *http.Request) {
		v := url.Values{}
		for i := 0; i < len(values); i += 2 {
			v.Set(values[i], values[i+1])
		}
		r.Body = io.NopCloser(strings.NewReader(v.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
}

func session(c *http.Cookie) with { return func(r *http.Request) { r.AddCookie(c) } }

func (w *world) ask(method, path string, changes ...with) *httptest.ResponseRecorder {
	w.Helper()
	if w.requests++; w.requests%requestsAtOnce == 0 {
		time.Sleep(10 * time.Second) // in the bubble: for nothing
	}
	r := httptest.NewRequest(method, path, nil)
	for _, change := range changes {
		change(r)
	}
	answer := httptest.NewRecorder()
	w.h.ServeHTTP(answer, r)
	return answer
}

// want asks, and demands a code.
func (w *world) want(code int, method, path string, changes ...with) *httptest.ResponseRecorder {
	w.Helper()
	answer := w.ask(method, path, changes...)
	if answer.Code != code {
		w.Errorf("%s %s: %d, not %d: %.300s", method, path, answer.Code, code, answer.Body)
	}
	return answer
}

func (w *world) login() *http.Cookie {
	w.Helper()
	answer := w.want(http.StatusSeeOther, "POST", "/login", asPage, form("token", token))
	cookies := answer.Result().Cookies()
	if len(cookies) != 1 {
		w.Fatalf("%d cookies", len(cookies))
	}
	return cookies[0]
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bubble runs a test in a bubble of synctest.
func bubble(t *testing.T, change func(*Options), test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newWorld(t, change)) })
}
