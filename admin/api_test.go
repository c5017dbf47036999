package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chipster/firn/internal/runs"
)

// backUp is a backup of files that went well.
func backUp(_ context.Context, r *runs.Active) error {
	r.Made("file-storage_2026-01-01T01:10:00.000Z")
	r.CountFiles("total", 1200)
	r.CountBytes("total", 5<<30)
	r.CountFiles("new", 12)
	r.CountBytes("new", 3<<20)
	r.Logger(nil).Info("a line of the log")
	time.Sleep(90 * time.Second)
	return nil
}

// A job is started by its path, once; a script gets a code, a person the page.
func TestStart(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		for path, job := range map[string]string{
			"/admin/backup/auth": "auth", "/admin/backup/file-storage": "file-storage", "/admin/backup": "file-storage",
			"/admin/archive": "archive", "/admin/verify": "verify",
		} {
			id, release := w.hold("auth", nil) // so that the others wait
			if job != "auth" {
				w.want(http.StatusAccepted, "POST", path, authorized)
				synctest.Wait()
				if queue := w.service.State().Queue; !reflect.DeepEqual(queue, []string{job}) {
					t.Errorf("%s: %q wait", path, queue)
				}
			}
			w.want(http.StatusConflict, "POST", path, authorized)
			again := w.want(http.StatusSeeOther, "POST", path, authorized, asPage)
			if to := again.Header().Get("Location"); to != "/?notice=busy" {
				t.Errorf("%s: to %s", path, to)
			}
			release()
			if run, err := w.runs.Run(id); err != nil || run.Trigger != runs.ByHand {
				t.Errorf("%+v, %v", run, err)
			}
		}
		for _, path := range []string{"/admin/backup/none", "/admin/backup/archive", "/admin/backup/verify"} {
			w.want(http.StatusNotFound, "POST", path, authorized)
		}
		started := w.want(http.StatusSeeOther, "POST", "/admin/backup", authorized, asPage)
		if to := started.Header().Get("Location"); to != "/?notice=started" {
			t.Error(to)
		}
	})
}

func TestCancel(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		id, _ := w.hold("file-storage", nil)
		must(t, w.service.Start("auth"))
		w.want(http.StatusAccepted, "POST", "/admin/runs/auth/cancel", authorized)
		if queue := w.service.State().Queue; len(queue) > 0 {
			t.Errorf("%q wait", queue)
		}
		w.want(http.StatusNotFound, "POST", "/admin/runs/none/cancel", authorized)
		answer := w.want(http.StatusSeeOther, "POST", "/admin/runs/"+id+"/cancel", authorized, asPage, form("run", id))
		if to := answer.Header().Get("Location"); to != "/runs/"+id+"?notice=cancelled" {
			t.Error(to)
		}
		synctest.Wait()
		if run, err := w.runs.Run(id); err != nil || run.Result != runs.Cancelled {
			t.Errorf("%+v, %v", run, err)
		}
		w.want(http.StatusConflict, "POST", "/admin/runs/"+id+"/cancel", authorized)
		away := w.want(http.StatusSeeOther, "POST", "/admin/runs/"+id+"/cancel", authorized, asPage, form("run", "//evil.example/"))
		if to := away.Header().Get("Location"); !strings.HasPrefix(to, "/runs/%2F%2Fevil.example%2F?") {
			t.Error(to)
		}
	})
}

func TestSchedule(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		for _, step := range []struct {
			method, path string
			on           bool
			change       with
		}{
			{"DELETE", "/admin/backup/schedule", false, authorized},
			{"DELETE", "/admin/backup/schedule", false, authorized},
			{"POST", "/admin/backup/schedule", true, authorized},
			{"POST", "/ui/schedule", false, form("on", "false")},
			{"POST", "/ui/schedule", true, form("on", "true")},
		} {
			if code := w.ask(step.method, step.path, authorized, step.change).Code; code != http.StatusOK {
				t.Errorf("%s %s: %d", step.method, step.path, code)
			}
			if on := w.service.State().ScheduleOn; on != step.on {
				t.Errorf("%s %s: the schedule is on: %v", step.method, step.path, on)
			}
		}
	})
}

func (w *world) json(path string, v any) {
	w.Helper()
	answer := w.want(http.StatusOK, "GET", path, authorized)
	if kind := answer.Header().Get("Content-Type"); kind != "application/json" {
		w.Errorf("%s: %s", path, kind)
	}
	if err := json.Unmarshal(answer.Body.Bytes(), v); err != nil {
		w.Errorf("%s: %v: %s", path, err, answer.Body)
	}
}

// The status is flat: strings, numbers and truths.
func TestStatus(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.finish("verify", func(context.Context, *runs.Active) error { return fmt.Errorf("what is it: %w", errIncomplete) })
		must(t, w.service.Start("file-storage"))
		w.work <- backUp
		time.Sleep(100 * time.Second)
		now := time.Now().UTC()
		_, release := w.hold("auth", func(r *runs.Active) { r.Plan(10, 200); r.Add(5, 50) })
		defer release()
		var got map[string]any
		w.json("/admin/status", &got)
		for key, want := range map[string]any{
			"scheduleOn": true, "title": "storage.example.org", "version": "1.2.3", "problems": 1.0, "healthy": false,
			"auth.running": true, "auth.percent": 25.0, "file-storage.running": false, "verify.lastResult": "incomplete",
			"verify.lastError": "what is it: incomplete", "file-storage.lastResult": "succeeded", "file-storage.lastSeconds": 90.0,
			"file-storage.lastDone":    now.Add(-10 * time.Second).Format(time.RFC3339),
			"file-storage.files.total": 1200.0, "file-storage.bytes.new": float64(3 << 20), "diskFree": float64(300 << 30),
		} {
			if got[key] != want {
				t.Errorf("%s is %v, not %v", key, got[key], want)
			}
		}
		for key, value := range got {
			switch value.(type) {
			case string, float64, bool:
			default:
				t.Errorf("%s is %T", key, value)
			}
		}
		if _, ever := got["archive.lastDone"]; ever {
			t.Error("what never was is told")
		}
	})
}

func TestFileStats(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.work <- backUp
		must(t, w.service.Start("file-storage"))
		time.Sleep(100 * time.Second)
		var got map[string]any
		w.json("/admin/filestats", &got)
		if got["files"] != 1200.0 || got["bytes"] != float64(5<<30) || got["newFiles"] != 12.0 ||
			got["backup"] != "file-storage_2026-01-01T01:10:00.000Z" || got["diskTotal"] != float64(1000<<30) {
			t.Error(got)
		}
	})
}

func TestRuns(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		var list []runs.Run
		w.json("/admin/runs", &list)
		if list == nil || len(list) > 0 {
			t.Errorf("%v, not an empty list", list)
		}
		for range 3 {
			w.finish("auth", func(context.Context, *runs.Active) error { return nil })
		}
		w.work <- backUp
		must(t, w.service.Start("file-storage"))
		time.Sleep(100 * time.Second)
		for path, want := range map[string]string{
			"/admin/runs": "file-storage auth auth auth", "/admin/runs?limit=2": "file-storage auth",
			"/admin/runs?job=auth&limit=2": "auth auth", "/admin/runs?job=none": "",
		} {
			w.json(path, &list)
			var jobs []string
			for _, r := range list {
				jobs = append(jobs, r.Job)
			}
			if got := strings.Join(jobs, " "); got != want {
				t.Errorf("%s: %s", path, got)
			}
		}
		for _, limit := range []string{"0", "-1", "x", "1001", "99999999999999999999"} {
			w.want(http.StatusBadRequest, "GET", "/admin/runs?limit="+limit, authorized)
		}
		w.json("/admin/runs", &list)
		var one runs.Run
		w.json("/admin/runs/"+list[0].ID, &one)
		if one.Files["new"] != 12 || one.Result != runs.Succeeded {
			t.Errorf("%+v", one)
		}
		log := w.want(http.StatusOK, "GET", "/admin/runs/"+list[0].ID+"/log", authorized)
		if kind := log.Header().Get("Content-Type"); !strings.Contains(log.Body.String(), "a line of the log") || kind != "text/plain; charset=utf-8" {
			t.Errorf("%s: %s", kind, log.Body)
		}
		w.want(http.StatusNotFound, "GET", "/admin/runs/..%2fschedule.json", authorized)
	})
}

// The monitor needs no token: it sees a code, and why.
func TestMonitoring(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		if body := w.want(http.StatusOK, "GET", "/admin/monitoring/backup").Body.String(); body != "ok\n" {
			t.Errorf("%q", body)
		}
		w.finish("verify", func(_ context.Context, r *runs.Active) error {
			r.Problem("ab/c\x1b[2Jd: damaged\nverify: all is well")
			return errIncomplete
		})
		body := w.want(http.StatusNotFound, "GET", "/admin/monitoring/backup").Body.String()
		if !strings.HasPrefix(body, "verify: ") || !strings.Contains(body, `ab/c\x1b[2Jd`) || strings.Count(body, "\n") != 1 {
			t.Errorf("%q", body)
		}
		if out := w.want(http.StatusOK, "GET", "/metrics", authorized).Body.String(); out != "firn_problems 0\n" {
			t.Error(out)
		}
	})
}

func TestNoMetrics(t *testing.T) {
	bubble(t, func(o *Options) { o.Metrics = nil }, func(t *testing.T, w *world) {
		w.want(http.StatusNotFound, "GET", "/metrics", authorized)
	})
}

// Each request is a line, at the level of those who look for faults.
func TestRequestsAreLogged(t *testing.T) {
	var b bytes.Buffer
	bubble(t, func(o *Options) {
		o.Logger = slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}, func(t *testing.T, w *world) {
		w.ask("GET", "/admin/state?x=1", wrongly)
	})
	for _, want := range []string{
		`level=WARN msg="wrong token" remote=192.0.2.1:1234`,
		"level=DEBUG msg=request method=GET path=/admin/state status=401",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in %s", want, b.String())
		}
	}
}
