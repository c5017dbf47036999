package main

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chipster/firn/internal/config"
	"github.com/chipster/firn/internal/runs"
)

// A watcher hears of what was done and of what was not, once each, at the URL of
// the job's role; of what somebody ended it hears nothing.
func TestPing(t *testing.T) {
	var mu sync.Mutex
	var heard []string
	failures := 0
	watcher := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if failures > 0 {
			failures--
			http.Error(w, "", http.StatusBadGateway)
			return
		}
		heard = append(heard, r.URL.Path)
	}))
	defer watcher.Close()
	var log bytes.Buffer
	cfg := pingConfig(t, "backup_ping_success="+watcher.URL+"/good", "backup_ping_failure="+watcher.URL+"/bad", "backup_ping_success_auth="+watcher.URL+"/auth")
	p := newPinger(cfg, slog.New(slog.NewTextHandler(&log, nil)))
	for _, test := range []struct {
		role     string
		result   runs.Result
		failures int // of the watcher
		want     []string
	}{
		{"file-storage", runs.Succeeded, 0, []string{"/good"}},
		{"auth", runs.Succeeded, 0, []string{"/auth"}},
		{"auth", runs.Incomplete, 0, []string{"/bad"}},
		{"file-storage", runs.Failed, 1, []string{"/bad"}},
		{"file-storage", runs.Cancelled, 0, nil},
		{"file-storage", runs.Interrupted, 0, nil},
	} {
		heard, failures = nil, test.failures
		p.ping(test.role, &runs.Run{Job: "j", Result: test.result})
		p.wait()
		if !slices.Equal(heard, test.want) {
			t.Errorf("%s %s: heard %q, not %q", test.role, test.result, heard, test.want)
		}
	}
	if log.Len() > 0 {
		t.Errorf("logged: %s", log.String())
	}
}

// The URL is a secret; that nobody hears is told without it.
func TestPingKeepsItsSecret(t *testing.T) {
	for _, address := range []string{"http://127.0.0.1:1/secret", "http://[secret", "secret"} {
		var log bytes.Buffer
		p := newPinger(pingConfig(t, "backup_ping_success="+address), slog.New(slog.NewTextHandler(&log, nil)))
		p.ping("auth", &runs.Run{Job: "j", Result: runs.Succeeded})
		p.wait()
		if text := log.String(); strings.Count(text, "nobody could be told") != 1 || strings.Contains(text, "secret") {
			t.Errorf("%s: logged %q", address, text)
		}
	}
}

func pingConfig(t *testing.T, env ...string) *config.Config {
	t.Helper()
	t.Chdir(t.TempDir())
	cfg, err := config.Load("", env)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}
