package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const sample = `
CREATE TABLE jobs(id serial PRIMARY KEY, state text, made timestamptz DEFAULT '2026-01-02 03:04:05+00', data bytea);
INSERT INTO jobs(state, data) SELECT repeat(E'l\\i\tn\ne', i % 50), decode(md5(i::text), 'hex') FROM generate_series(1, 3000) i;
CREATE TABLE attached(job int REFERENCES jobs, object oid);
INSERT INTO attached SELECT i, lo_from_bytea(0, decode(repeat(md5(i::text), 100), 'hex')) FROM generate_series(1, 20) i;
CREATE SCHEMA "else";
CREATE VIEW "else".done AS SELECT * FROM jobs WHERE state = 'done'`

// content is everything in a database that a dump must bring back.
func content(t *testing.T, name string) string {
	t.Helper()
	return server.Query(t, name, `SELECT concat(
		(SELECT md5(string_agg(j::text, ';' ORDER BY id)) FROM jobs j), ' ',
		(SELECT md5(string_agg(a::text || lo_get(object)::text, ';' ORDER BY job)) FROM attached a), ' ',
		(SELECT pg_get_viewdef('"else".done')), ' ', (SELECT last_value FROM jobs_id_seq))`)
}

// dump returns a dump.
func dump(t *testing.T, d *Database, o DumpOptions) string {
	t.Helper()
	var b strings.Builder
	if err := d.Dump(t.Context(), &b, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// byHand gives a dump to one of PostgreSQL's programs, as its documentation says.
func byHand(t *testing.T, text, name, program string, arguments ...string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(server.BinDir, program),
		append(arguments, "--dbname="+address(t, name).conninfo())...)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+server.Password)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
}

func TestDumpCanBeRestoredByHand(t *testing.T) {
	d, name := newDatabase(t, sample)
	plain := server.CreateDatabase(t)
	byHand(t, dump(t, d, DumpOptions{Server: version}), plain, "psql", "--set=ON_ERROR_STOP=1", "--no-psqlrc")
	custom := server.CreateDatabase(t)
	byHand(t, dump(t, d, DumpOptions{Server: version, Format: Custom}), custom, "pg_restore", "--exit-on-error")
	cleaned := server.CreateDatabase(t)
	server.Exec(t, cleaned, strings.ReplaceAll(sample, "3000", "30"))
	byHand(t, dump(t, d, DumpOptions{Server: version, Clean: true}), cleaned, "psql", "--set=ON_ERROR_STOP=1", "--no-psqlrc")
	want := content(t, name)
	for _, restored := range []string{plain, custom, cleaned} {
		if got := content(t, restored); got != want {
			t.Errorf("restored is\n%s\nwant\n%s", got, want)
		}
	}
}

// Sealing compresses; what is compressed already would be the bigger.
func TestCustomDumpIsNotCompressed(t *testing.T) {
	d, _ := newDatabase(t, "CREATE TABLE t AS SELECT repeat('legible ', 1000) FROM generate_series(1, 10)")
	if n := strings.Count(dump(t, d, DumpOptions{Format: Custom, Server: version}), "legible"); n != 10_000 {
		t.Errorf("the text is there %d times", n)
	}
}

func TestDumpRefusesUnknownFormat(t *testing.T) {
	err := address(t, "postgres").Dump(t.Context(), io.Discard, DumpOptions{Format: "tar"})
	if err == nil || !strings.Contains(err.Error(), `no format "tar"`) {
		t.Errorf("error %v", err)
	}
}

// big is larger than every buffer on the way.
const big = "CREATE TABLE big AS SELECT i, repeat(md5(i::text), 30) FROM generate_series(1, 20000) i"

// A dump that ends early is never taken for a whole one.
func TestDumpKilledHalfway(t *testing.T) {
	d, _ := newDatabase(t, big)
	real := filepath.Join(server.BinDir, "pg_dump")
	for end, want := range map[string]string{
		"kill -9 $$":                         "killed by signal 9",
		"echo pg_dump: error: x >&2; exit 1": "pg_dump: error: x",
	} {
		dir := standIn(t, "pg_dump", `[ "$1" = --version ] && exec `+real+` --version
			`+real+` "$@" | head -c 1000000; `+end)
		var got bytes.Buffer
		err := d.Dump(t.Context(), &got, DumpOptions{Tools: Tools{dir}, Server: version})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), d.String()) {
			t.Errorf("%s: error %v", end, err)
		}
		if got.Len() != 1_000_000 {
			t.Errorf("%s: %d bytes", end, got.Len())
		}
	}
}

// fullDisk fails after some bytes.
type fullDisk struct{ left int }

var errFull = errors.New("disk full")

func (f *fullDisk) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestDumpIntoFailingWriter(t *testing.T) {
	d, _ := newDatabase(t, big)
	for _, left := range []int{0, 1_000_000} {
		if err := d.Dump(t.Context(), &fullDisk{left}, DumpOptions{Server: version}); err != errFull {
			t.Errorf("error %v; want that of the writer", err)
		}
	}
	expectNoChild(t)
}

// A pg_dump that waits for a lock notices no pipe that closes.
func TestDumpIsCancelledWhileItWaits(t *testing.T) {
	d, name := newDatabase(t, big)
	holder := connect(t, d)
	if _, err := holder.query(t.Context(), "BEGIN; LOCK TABLE big"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for server.Query(t, "postgres", "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = '"+name+"'") == "0" {
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
	}()
	start := time.Now()
	err := d.Dump(ctx, io.Discard, DumpOptions{Server: version})
	if !errors.Is(err, context.Canceled) || time.Since(start) > patience {
		t.Errorf("error %v after %v; want context.Canceled", err, time.Since(start))
	}
	expectNoChild(t)
}

// observer calls a function once there is something to write.
type observer struct {
	once func()
	done bool
}

func (s *observer) Write(p []byte) (int, error) {
	if !s.done {
		s.done = true
		s.once()
	}
	return len(p), nil
}

func TestDumpIsCancelledWhileItWrites(t *testing.T) {
	d, _ := newDatabase(t, big)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("no longer wanted")
	err := d.Dump(ctx, &observer{once: func() { cancel(why) }}, DumpOptions{Server: version})
	if !errors.Is(err, why) {
		t.Errorf("error %v", err)
	}
	expectNoChild(t)
}

// children are the command lines of this process's children.
func children(t *testing.T) (list []string) {
	t.Helper()
	for _, line := range processes(t) {
		if line.parent == fmt.Sprint(os.Getpid()) && !strings.Contains(line.command, server.Dir) {
			list = append(list, line.command)
		}
	}
	return list
}

func expectNoChild(t *testing.T) {
	t.Helper()
	if list := children(t); len(list) != 0 {
		t.Errorf("still running: %q", list)
	}
}

type process struct{ parent, command string }

// processes are all on this host.
func processes(t *testing.T) (list []process) {
	t.Helper()
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		command, err := os.ReadFile(filepath.Join(folder, "cmdline"))
		stat, err2 := os.ReadFile(filepath.Join(folder, "stat"))
		_, after, ok := strings.Cut(string(stat), ") ") // state, parent …
		if err != nil || err2 != nil || !ok {
			continue // it has ended
		}
		list = append(list, process{strings.Fields(after)[1], string(command)})
	}
	return list
}

func TestPasswordIsInNoArgument(t *testing.T) {
	d, _ := newDatabase(t, big)
	seen := 0
	err := d.Dump(t.Context(), &observer{once: func() {
		for _, p := range processes(t) {
			if strings.Contains(p.command, server.Password) && !strings.Contains(p.command, "initdb") {
				t.Errorf("the password is in %q", p.command)
			}
		}
		for _, command := range children(t) {
			if strings.Contains(command, "pg_dump") {
				seen++
			}
		}
	}}, DumpOptions{Server: version})
	if err != nil || seen != 1 {
		t.Errorf("error %v, %d pg_dump seen", err, seen)
	}
}

func TestDumpErrorsAreClear(t *testing.T) {
	_, name := newDatabase(t, "CREATE TABLE secret()")
	wrong := address(t, name)
	wrong.SetPassword("s3cr3t-w0rd")
	user := address(t, name)
	user.SetUser(reader(t))
	user.SetPassword("r3ader")
	for _, c := range []struct {
		d    *Database
		want string
	}{
		{wrong, `password authentication failed for user "tester"`},
		{user, "permission denied for table secret"},
	} {
		err := c.d.Dump(t.Context(), io.Discard, DumpOptions{Server: version})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "dump of "+c.d.String()+": pg_dump: error: ") {
			t.Errorf("error %v; want one with %q", err, c.want)
		}
		if err != nil && (strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "s3cr3t")) {
			t.Errorf("error %q", err)
		}
	}
}

func TestDumpLogsWarnings(t *testing.T) {
	d, _ := newDatabase(t, sample)
	dir := standIn(t, "pg_dump", "[ $1 = --version ] || echo 'pg_dump: warning: that is odd' >&2\nexec "+
		filepath.Join(server.BinDir, "pg_dump")+` "$@"`)
	var log bytes.Buffer
	_ = dump(t, d, DumpOptions{Tools: Tools{dir}, Server: version, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "that is odd") {
		t.Errorf("log %q", log.String())
	}
	_ = dump(t, d, DumpOptions{Tools: Tools{dir}, Server: version}) // without a log
}

func TestDumpOverTLS(t *testing.T) {
	d, _ := newDatabase(t, sample)
	d.parameters["sslmode"], d.parameters["sslrootcert"] = "verify-full", server.CAFile
	if !strings.Contains(dump(t, d, DumpOptions{Server: version}), "CREATE TABLE") {
		t.Error("the dump is empty")
	}
	d.parameters["sslrootcert"] = "/missing/ca.crt"
	if err := d.Dump(t.Context(), io.Discard, DumpOptions{Server: version}); err == nil || !strings.Contains(err.Error(), "/missing/ca.crt") {
		t.Errorf("error %v", err)
	}
}

// The mark of a dump's end is found however it is cut into pieces, in memory that
// does not grow with the dump.
func TestOutputKeepsTheEnd(t *testing.T) {
	const last = "COPY …\n\\.\n--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n\n"
	for size := 1; size < 100; size++ {
		o := &output{w: io.Discard}
		text := strings.Repeat("row\n", 1000) + last
		for len(text) > 0 {
			n := min(size, len(text))
			_, _ = o.Write([]byte(text[:n]))
			text = text[n:]
		}
		if !o.complete(Plain) || len(o.tail) > maxTail {
			t.Errorf("in pieces of %d: %q", size, o.tail)
		}
		_, _ = o.Write([]byte(strings.Repeat("row\n", maxTail)))
		if o.complete(Plain) {
			t.Errorf("in pieces of %d: a mark in the middle is taken for the end", size)
		}
	}
	if (&output{}).complete(Custom) {
		t.Error("nothing is taken for a dump")
	}
}
