package admin

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/service"
)

func (w *world) page(path string) string {
	w.Helper()
	answer := w.want(http.StatusOK, "GET", path, authorized, asPage)
	if kind := answer.Header().Get("Content-Type"); kind != "text/html; charset=utf-8" {
		w.Errorf("%s: %s", path, kind)
	}
	return answer.Body.String()
}

// shows demands each of these texts on a page.
func shows(t *testing.T, page string, texts ...string) {
	t.Helper()
	words := strings.Join(strings.Fields(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(page, " ")), " ")
	for _, text := range texts {
		if !strings.Contains(page, text) && !strings.Contains(words, text) {
			t.Errorf("%q is not on the page: %s", text, words)
		}
	}
}

// The page says what is, at each moment of a night.
func TestPage(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		shows(t, w.page("/"), "<title>… firn: storage.example.org</title>", "Nothing has run yet", "never, as far as is recorded here")
		w.work <- backUp
		must(t, w.service.Start("file-storage"))
		time.Sleep(100 * time.Second)
		shows(t, w.page("/"), "<title>✓ firn: storage.example.org</title>", "All is well", "1,200 files, 5.0 GiB", "12 files, 3.0 MiB",
			"1 min 30 s", "just now", "300 GiB free", `data-busy="false"`)
		must(t, w.service.SetSchedule(false))
		shows(t, w.page("/"), "<title>! firn: storage.example.org</title>", "The schedule is off", "Nothing begins by itself.")
		must(t, w.service.SetSchedule(true))

		id, release := w.hold("file-storage", func(r *runs.Active) { r.Plan(40, 1000<<20); time.Sleep(time.Minute); r.Add(10, 250<<20) })
		time.Sleep(2 * time.Minute)
		must(t, w.service.Start("auth"))
		page := w.page("/")
		shows(t, page, "<title>✓ 25 % firn: storage.example.org</title>", "10 of 40 files, 250 MiB of 1000 MiB", "Running: files of file-storage.",
			"for 3 min, about 9 min left", `<progress max="100" value="25.0"`, `data-busy="true"`, "Waiting: database auth",
			`action="/admin/runs/`+id+`/cancel"`, `action="/admin/runs/auth/cancel"`)
		shows(t, w.page("/runs/"+id), "25 %", "Has taken", `action="/admin/runs/`+id+`/cancel"`)
		release()

		run := w.finish("archive", func(_ context.Context, r *runs.Active) error {
			r.Logger(nil).Error("the disk is full")
			return errors.New("no space left on device")
		})
		shows(t, w.page("/"), "<title>! firn: storage.example.org</title>", "The last run failed", "archive: no space left on device")
		shows(t, w.page("/runs/"+run.ID), "no space left on device", "msg=&#34;the disk is full&#34;", "asked for")

		w.work <- func(context.Context, *runs.Active) error { return errors.New("no route to host") }
		time.Sleep(time.Until(w.service.State().Next) + 30*time.Second)
		shows(t, w.page("/"), "database auth: no route to host. Tries again in 5 minutes.", "its time had come")

		must(t, w.service.SetSchedule(false))
		shows(t, w.page("/"), "Switch the schedule on", "when the schedule is on again")
	})
}

// An archive server's page shows what it has, and what the last verification found.
func TestPageOfAnArchive(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		now := time.Now()
		w.holdings.DiskFree, w.holdings.Catalog = 30<<30, 5<<20
		for _, i := range []int{3, 1, 0, 6, 5, 4, 2} {
			w.holdings.Versions = append(w.holdings.Versions, service.Version{
				Storage: "file-storage", Name: "file-storage_" + strings.Repeat("x", i), Time: now.Add(time.Duration(-i) * 24 * time.Hour),
				Files: 12345, Size: 7 << 30, Sealed: 6 << 30, Damaged: map[int]string{2: "the list is cut off"}[i],
			})
		}
		w.finish("verify", func(_ context.Context, r *runs.Active) error {
			r.CountFiles("checked", 400)
			r.CountBytes("checked", 9<<30)
			r.CountBytes("read", 2<<30)
			r.CountFiles("damaged", 11)
			for i := range 11 {
				r.Problem("file " + string(rune('a'+i)) + " is damaged")
			}
			return errIncomplete
		})
		page := w.page("/")
		shows(t, page, "<title>✗ firn: storage.example.org</title>", "One thing needs attention", "7 versions", "Older versions", "the list is cut off",
			"12,345", "30 GiB free", `class="disk bad"`, "The catalog takes 5.0 MiB.", "400 files, 2.0 GiB read", "11 damaged", "file h is damaged", "and 3 more")
		if newest, _, _ := strings.Cut(page, "Older versions"); strings.Contains(newest, "file-storage_xxxxx") || !strings.Contains(newest, "file-storage_xxxx") {
			t.Error("the newest versions are not those that are shown")
		}
		if strings.Contains(page, "file i is damaged") {
			t.Error("all problems are on the first page")
		}
	})
}

// Whatever a name, an error or a log holds is text.
func TestHostileText(t *testing.T) {
	const evil = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>\x1b[31m\u202egpj\x00\xff{{.Host}}"
	bubble(t, func(o *Options) { o.Title = evil; o.Version = evil }, func(t *testing.T, w *world) {
		w.holdings.Folder = evil
		w.holdings.Versions = []service.Version{{Storage: evil, Name: evil, Time: time.Now(), Damaged: evil}}
		run := w.finish("verify", func(_ context.Context, r *runs.Active) error {
			r.Made(evil)
			r.Problem(evil)
			r.CountFiles(evil, 3)
			r.Logger(nil).Warn(evil, "name", evil)
			return errors.Join(errIncomplete, errors.New(evil))
		})
		for _, path := range []string{"/", "/runs/" + run.ID} {
			page := w.page(path)
			for _, bad := range []string{"<script>alert", "<img src=x", "\x1b", "\u202e", "\x00", "\xff", `"'>`} {
				if strings.Contains(page, bad) {
					t.Errorf("%s has %q", path, bad)
				}
			}
			shows(t, page, `\x1b[31m\u202egpj\x00\xff{{.Host}}`)
		}
		for _, path := range []string{"/login", "/runs/none"} {
			if page := w.ask("GET", path, authorized, asPage).Body.String(); strings.Contains(page, "<script>alert") {
				t.Errorf("%s: %s", path, page)
			}
		}
		if page := w.page("/?notice=<b>call+this+number</b>"); strings.Contains(page, "call") {
			t.Error("a link has the page say what it likes")
		}
	})
}

// What the pages load is there, may be kept for ever, and comes from nowhere else.
func TestAssets(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		page := w.page("/")
		var loaded []string
		for _, m := range regexp.MustCompile(`(?:src|href|action)="([^"]*)"`).FindAllStringSubmatch(page, -1) {
			if !strings.HasPrefix(m[1], "/") && !strings.HasPrefix(m[1], "#") || strings.HasPrefix(m[1], "//") {
				t.Errorf("the page refers to %s", m[1])
			}
			if strings.HasPrefix(m[1], "/assets/") && !slices.Contains(loaded, m[1]) {
				loaded = append(loaded, m[1])
			}
		}
		if len(loaded) != 3 {
			t.Errorf("loaded are %q", loaded)
		}
		for _, path := range loaded {
			answer := w.want(http.StatusOK, "GET", path)
			if !strings.Contains(answer.Header().Get("Cache-Control"), "immutable") || answer.Body.Len() == 0 {
				t.Errorf("%s: %v", path, answer.Header())
			}
		}
		if strings.Contains(page, " style=") || strings.Contains(page, " onclick=") {
			t.Error("the page's own policy forbids what is in it")
		}
		w.want(http.StatusNotFound, "GET", "/assets/overview.html")
	})
}

// A long log is shown from a line's beginning, and it is said where the whole is.
func TestLongLog(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		run := w.finish("auth", func(_ context.Context, r *runs.Active) error {
			for range 3000 {
				r.Logger(nil).Info("a line that says little", "of", strings.Repeat("x", 40))
			}
			r.Logger(nil).Info("the last one")
			return nil
		})
		page := w.page("/runs/" + run.ID)
		shows(t, page, "the last one", `href="/admin/runs/`+run.ID+`/log"`)
		_, log, _ := strings.Cut(page, `tabindex="0">time=`)
		if len(page) > logShown+20000 || log == "" {
			t.Errorf("%d bytes", len(page))
		}
	})
}

// A run of another process is shown, and cannot be cancelled from here.
func TestRunOfACommand(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		a, err := w.runs.Begin("file-storage", runs.Command, 1)
		must(t, err)
		time.Sleep(2 * time.Hour)
		page := w.page("/runs/" + a.ID())
		shows(t, page, "a command", "running")
		if strings.Contains(page, "/cancel") {
			t.Error("there is a button that does nothing")
		}
		_, err = a.End(runs.Succeeded, nil)
		must(t, err)
	})
}
