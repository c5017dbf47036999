package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shell makes a program that is about to run a shell script.
func shell(t *testing.T, ctx context.Context, log *slog.Logger, text string) *program {
	t.Helper()
	path := filepath.Join(standIn(t, "pg_dump", text), "pg_dump")
	return parse(t, "postgres://user:s3cr3t@host/name").program(ctx, tool{name: "pg_dump", path: path}, log)
}

func TestFailureTells(t *testing.T) {
	for text, want := range map[string]string{
		"exit 0": "",
		"exit 3": "pg_dump: exit status 3",
		"echo 'pg_dump: error: no such table' >&2; exit 1":              "pg_dump: error: no such table",
		"printf 'pg_dump: error: one\\npg_dump: hint: two' >&2; exit 1": "pg_dump: error: one; hint: two",
		"echo 'pg_dump: warning: odd' >&2; exit 1":                      "pg_dump: exit status 1",
		"kill -9 $$":                "pg_dump: killed by signal 9",
		"echo oops >&2; kill -9 $$": "pg_dump: killed by signal 9: oops",
	} {
		p := shell(t, t.Context(), nil, text)
		got := ""
		if err := p.failure(p.Run()); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q; want %q", text, got, want)
		}
	}
}

func TestFailureToStart(t *testing.T) {
	p := (&Database{}).program(t.Context(), tool{name: "pg_dump", path: filepath.Join(t.TempDir(), "pg_dump")}, nil)
	if err := p.failure(p.Run()); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("error %v", err)
	}
}

func TestProgramEndsWithContext(t *testing.T) {
	for text, want := range map[string]string{
		"exec sleep 60": "killed by signal 15",
		"trap 'echo asked to end >&2; exit 1' TERM; while :; do sleep 0.01; done": "asked to end",
	} {
		ctx, cancel := context.WithCancel(t.Context())
		p := shell(t, ctx, nil, text)
		time.AfterFunc(300*time.Millisecond, cancel)
		start := time.Now()
		err := p.failure(p.Run())
		if err == nil || !strings.Contains(err.Error(), want) || time.Since(start) > patience {
			t.Errorf("%s: error %v after %v; want %q", text, err, time.Since(start), want)
		}
		cancel()
	}
}

// A program that says without end what is wrong does not fill the memory.
func TestMessagesAreBounded(t *testing.T) {
	m := &messages{program: "pg_dump"}
	for range 1000 {
		_, _ = m.Write(bytes.Repeat([]byte("x"), 10_000))
		_, _ = m.Write([]byte("\n"))
	}
	if cap(m.partial) > 4*maxLine || len(m.String()) > maxLines*(maxLine+2) {
		t.Errorf("%d and %d bytes are kept", cap(m.partial), len(m.String()))
	}
	for i := range 30 {
		fmt.Fprintln(m, i)
	}
	if got := m.String(); !strings.HasPrefix(got, "10; 11; ") || !strings.HasSuffix(got, "; 28; 29") {
		t.Errorf("kept are %s", got)
	}
}

func TestWarningsAreLoggedAsTheyCome(t *testing.T) {
	var log bytes.Buffer
	m := &messages{program: "pg_dump", log: slog.New(slog.NewTextHandler(&log, nil))}
	for _, part := range []string{"pg_dump: warn", "ing: circular\npg_dump: detail: a, b\n", "pg_dump: hint: beware\npg_dump: err", "or: broken\npg_dump: detail: so\n"} {
		_, _ = m.Write([]byte(part))
	}
	for _, want := range []string{"circular", "a, b", "beware"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%q is not in the log:\n%s", want, log.String())
		}
	}
	if got := m.String(); got != "error: broken; detail: so" || strings.Contains(log.String(), "broken") {
		t.Errorf("messages %q, log\n%s", got, log.String())
	}
}
