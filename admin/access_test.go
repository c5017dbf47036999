package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/runs"
)

// known fills in the patterns of routes what is there.
func (w *world) known() (paths []route) {
	w.Helper()
	run := w.finish("auth", func(context.Context, *runs.Active) error { return nil })
	for _, r := range (&handler{}).routes() {
		path := strings.NewReplacer("{$}", "", "{id}", run.ID, "{job}", "auth", "{name}", "none").Replace(r.pattern)
		paths = append(paths, route{pattern: path, access: r.access})
	}
	return paths
}

// Each path asks for the token, but for those that are open.
func TestAccess(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		cookie := w.login()
		var public []string
		for i, r := range w.known() {
			method, path, _ := strings.Cut(r.pattern, " ")
			nobody := w.ask(method, path)
			guess := w.ask(method, path, wrongly, from("192.0.2."+strconv.Itoa(i)+":99"))
			stale := w.ask(method, path, session(&http.Cookie{Name: cookie.Name, Value: "of yesterday"}))
			if r.access == open {
				public = append(public, path)
				continue
			}
			want := map[access]int{script: http.StatusUnauthorized, person: http.StatusSeeOther}[r.access]
			if nobody.Code != want || stale.Code != want || guess.Code != http.StatusUnauthorized {
				t.Errorf("%s: %d without a token, %d with an old session, %d with a wrong token", r.pattern, nobody.Code, stale.Code, guess.Code)
			}
			if r.access == script && nobody.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("%s does not say how to come in", r.pattern)
			}
			for _, in := range []with{authorized, session(cookie)} {
				if r.pattern == "POST /logout" {
					continue
				}
				if code := w.ask(method, path, in).Code; code >= 400 && code != http.StatusConflict {
					t.Errorf("%s: %d with the token", r.pattern, code)
				}
			}
		}
		if got := strings.Join(public, " "); got != "/admin/alive /admin/monitoring/backup /assets/none / /login" {
			t.Errorf("open are %s", got)
		}
		if strings.Contains(w.log.String(), "some other characters") || strings.Contains(w.log.String(), token) {
			t.Error("tokens are in the log")
		}
	})
}

// An empty token is not the one that nobody configured.
func TestGuardWithoutToken(t *testing.T) {
	if right, _ := newGuard(nil).check("192.0.2.1:1", ""); right {
		t.Error("nothing is a token")
	}
}

// Nobody comes in where there is no token, not even with an empty one.
func TestNoToken(t *testing.T) {
	bubble(t, func(o *Options) { o.Token = []byte(" \n") }, func(t *testing.T, w *world) {
		for _, r := range w.known() {
			method, path, _ := strings.Cut(r.pattern, " ")
			for _, try := range []string{"", "Bearer ", "Bearer", "Bearer x"} {
				if code := w.ask(method, path, header("Authorization", try)).Code; r.access != open && code != http.StatusForbidden {
					t.Errorf("%s with %q: %d", r.pattern, try, code)
				}
			}
		}
		w.want(http.StatusForbidden, "POST", "/login", form("token", ""))
		if page := w.want(http.StatusOK, "GET", "/", asPage); !strings.Contains(page.Body.String(), "needs a token, and none is configured") {
			t.Error("the page does not say what is missing")
		}
	})
}

func TestShortTokensAreRefused(t *testing.T) {
	if _, err := New(Options{Token: []byte("  fifteen letters\n")}); !errors.Is(err, ErrToken) {
		t.Error(err)
	}
}

// Nothing changes by GET.
func TestGetChangesNothing(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		for _, r := range w.known() {
			method, path, _ := strings.Cut(r.pattern, " ")
			if method == "GET" {
				continue
			}
			for _, safe := range []string{"GET", "HEAD", "OPTIONS"} {
				if path == "/admin/backup/auth" && safe == "GET" {
					w.want(http.StatusMethodNotAllowed, safe, path, wrongly)
				}
				answer := w.want(http.StatusMethodNotAllowed, safe, path, authorized)
				if allowed := answer.Header().Get("Allow"); !strings.Contains(allowed, method) {
					t.Errorf("%s %s: %q is allowed", safe, path, allowed)
				}
			}
		}
		if s := w.service.State(); len(s.Queue) > 0 || !s.ScheduleOn {
			t.Errorf("%+v", s)
		}
	})
}

// Pages of other sites can do nothing here, whoever is logged in.
func TestOtherSitesAreRefused(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		cookie := w.login()
		foreign := map[string]with{
			"another origin": header("Origin", "https://evil.example"), "no origin": header("Origin", "null"),
			"another site": header("Sec-Fetch-Site", "cross-site"), "another port": header("Sec-Fetch-Site", "same-site"),
		}
		for name, evil := range foreign {
			for _, r := range w.known() {
				method, path, _ := strings.Cut(r.pattern, " ")
				if method == "GET" {
					continue
				}
				for _, in := range []with{authorized, session(cookie), form("token", token)} {
					if code := w.ask(method, path, evil, in).Code; code != http.StatusForbidden {
						t.Errorf("%s from %s: %d", r.pattern, name, code)
					}
				}
			}
		}
		if s := w.service.State(); len(s.Queue) > 0 || !s.ScheduleOn {
			t.Errorf("%+v", s)
		}
		w.want(http.StatusOK, "DELETE", "/admin/backup/schedule", session(cookie), header("Sec-Fetch-Site", "same-origin"))
		w.want(http.StatusOK, "POST", "/admin/backup/schedule", session(cookie), header("Origin", "http://example.com")) // the request's host
	})
}

func TestHeadersOfAllAnswers(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		for _, path := range []string{"/", "/admin/alive", "/admin/state", "/metrics", "/nothing", "/assets/nothing", "/runs/x"} {
			for _, in := range []with{authorized, asPage} {
				h := w.ask("GET", path, in).Header()
				if h.Get("Content-Security-Policy") != policy || h.Get("X-Content-Type-Options") != "nosniff" ||
					h.Get("Referrer-Policy") != "same-origin" || h.Get("Cache-Control") != "no-store" {
					t.Errorf("%s: %v", path, h)
				}
			}
		}
	})
}

// An error is JSON for a script, and a page for a person.
func TestErrors(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		answer := w.want(http.StatusNotFound, "GET", "/admin/runs/none", authorized)
		var e struct{ Error string }
		if err := json.Unmarshal(answer.Body.Bytes(), &e); err != nil || e.Error != "no such run, or no more" {
			t.Errorf("%v, %s", err, answer.Body)
		}
		answer = w.want(http.StatusNotFound, "GET", "/runs/none", authorized, asPage)
		if !strings.Contains(answer.Body.String(), "<h1>Not Found</h1>") {
			t.Error(answer.Body)
		}
		long := form("token", strings.Repeat("x", maxBody))
		w.want(http.StatusRequestEntityTooLarge, "POST", "/login", long)
		w.want(http.StatusRequestEntityTooLarge, "POST", "/login", long, asPage)
	})
}

func TestSessions(t *testing.T) {
	for _, secure := range []bool{false, true} {
		bubble(t, func(o *Options) { o.Secure = secure }, func(t *testing.T, w *world) {
			bad := w.want(http.StatusUnauthorized, "POST", "/login", asPage, form("token", token+"!"))
			if len(bad.Result().Cookies()) > 0 || !strings.Contains(bad.Body.String(), "wrong token") {
				t.Error("a wrong token is let in, or not told of")
			}
			c := w.login()
			if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure != secure || c.Path != "/" || c.Domain != "" ||
				c.MaxAge != 12*3600 || strings.HasPrefix(c.Name, "__Host-") != secure || len(c.Value) < 43 {
				t.Errorf("%+v", c)
			}
			other := w.login()
			w.want(http.StatusOK, "GET", "/admin/state", session(c))
			w.want(http.StatusSeeOther, "POST", "/logout", session(c))
			w.want(http.StatusUnauthorized, "GET", "/admin/state", session(c))
			time.Sleep(sessionLife - time.Minute)
			w.want(http.StatusOK, "GET", "/admin/state", session(other))
			time.Sleep(time.Minute)
			w.want(http.StatusUnauthorized, "GET", "/admin/state", session(other))
		})
	}
}

func TestSessionsAreBounded(t *testing.T) {
	bubble(t, nil, func(t *testing.T, _ *world) {
		s := newSessions()
		first := s.begin()
		time.Sleep(time.Second)
		second := s.begin()
		for range maxSessions - 1 {
			time.Sleep(time.Second)
			s.begin()
		}
		if len(s.ends) != maxSessions || s.valid(first) || !s.valid(second) {
			t.Errorf("%d sessions, the first %v, the second %v", len(s.ends), s.valid(first), s.valid(second))
		}
	})
}

// Who guesses is slowed down, and nobody else is.
func TestGuesses(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		evil, cookie := from("203.0.113.9:4711"), w.login()
		for range guessesAtOnce {
			w.want(http.StatusUnauthorized, "GET", "/admin/state", evil, wrongly)
		}
		answer := w.want(http.StatusTooManyRequests, "GET", "/admin/state", evil, wrongly)
		if wait, err := strconv.Atoi(answer.Header().Get("Retry-After")); err != nil || wait < 5 || wait > 11 {
			t.Errorf("wait %q", answer.Header().Get("Retry-After"))
		}
		w.want(http.StatusTooManyRequests, "POST", "/login", evil, form("token", token)) // it is not looked at
		w.want(http.StatusTooManyRequests, "GET", "/admin/state", evil, authorized)
		w.want(http.StatusOK, "GET", "/admin/state", evil, session(cookie))
		w.want(http.StatusOK, "GET", "/admin/state", from("203.0.113.10:4711"), authorized)
		w.want(http.StatusUnauthorized, "GET", "/admin/state", evil) // no guess

		time.Sleep(guessEvery)
		w.want(http.StatusUnauthorized, "GET", "/admin/state", evil, wrongly)
		w.want(http.StatusTooManyRequests, "GET", "/admin/state", evil, wrongly)
		time.Sleep(guessEvery)
		w.want(http.StatusOK, "GET", "/admin/state", evil, authorized)
	})
}

// However many addresses guess, the memory is bounded, and they wait together.
func TestGuessesOfManyAddresses(t *testing.T) {
	bubble(t, nil, func(t *testing.T, _ *world) {
		g := newGuard([]byte(token))
		waited := 0
		for i := range 3 * maxAddresses {
			remote := "[2001:db8:" + strconv.FormatInt(int64(i), 16) + "::1]:99"
			if right, wait := g.check(remote, "guess"); right {
				t.Fatal("a guess is right")
			} else if wait > 0 {
				waited++
			}
		}
		if len(g.guesses) != maxAddresses || waited != 2*maxAddresses-guessesAtOnce {
			t.Errorf("%d addresses are known, %d waited", len(g.guesses), waited)
		}
		if _, wait := g.check("[2001:db8:0:0:ffff::1]:5", token); wait != 0 {
			t.Error("one guess is too many")
		}
		time.Sleep(guessesAtOnce * guessEvery)
		g.check("192.0.2.1:1", "guess")
		if len(g.guesses) != 1 {
			t.Errorf("%d addresses are kept after all that time", len(g.guesses))
		}
	})
}

func TestNetwork(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.7:80": "192.0.2.7/32", "[::ffff:192.0.2.7]:80": "192.0.2.7/32",
		"[2001:db8:1:2:3::4]:80": "2001:db8:1:2::/64", "[fe80::1%eth0]:80": "fe80::/64", "@": "invalid Prefix",
	} {
		if got := network(remote).String(); got != want {
			t.Errorf("%s: %s", remote, got)
		}
	}
}

// A script that runs wild is stopped; the question whether the program lives is
// answered all the same.
func TestRequestsAreLimited(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		time.Sleep(time.Minute)
		codes := map[int]int{}
		for range 3 * requestsAtOnce {
			w.requests = 0
			codes[w.ask("GET", "/admin/monitoring/backup").Code]++
		}
		if codes[http.StatusOK] != requestsAtOnce || codes[http.StatusTooManyRequests] != 2*requestsAtOnce {
			t.Error(codes)
		}
		w.want(http.StatusOK, "GET", "/admin/alive")
	})
}
