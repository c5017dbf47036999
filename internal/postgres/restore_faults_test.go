package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// No dump runs a command, reads a file of this host or leads to another
// database, nor can it end the transaction.
func TestRestoreOfAHostileDump(t *testing.T) {
	dir := t.TempDir()
	pwned := filepath.Join(dir, "pwned")
	for _, line := range []string{
		`\! touch ` + pwned, `\o |touch ` + pwned, `\o ` + pwned, `\copy t to ` + pwned, `SELECT 1 \g |touch ` + pwned,
		`\i /etc/passwd`, `\connect postgres`, `\unrestrict other`, "\\restrict k\n\\unrestrict k\n\\! touch " + pwned, `\q`,
		"\\unrestrict `touch " + pwned + "`", "SELECT 1 \\unrestrict `touch " + pwned + "`", "/* COPY t FROM stdin;\n*/ \\unrestrict `touch " + pwned + "`",
		"\\set ON_ERROR_STOP off\nSELECT 1/0;", "COMMIT;", "BEGIN;\n\nCOMMIT;", "COMMIT AND CHAIN;", "ROLLBACK;",
	} {
		target, _ := newDatabase(t)
		dump := "\\restrict k\nCREATE TABLE t (a int);\n" + line + "\nSELECT 1;\n"
		if err := target.Restore(t.Context(), strings.NewReader(dump), restoreOptions(t, target)); err == nil {
			t.Errorf("%q was restored", line)
		}
		checkEmpty(t, target)
		if _, err := os.Lstat(pwned); err == nil {
			t.Fatalf("%q made a file", line)
		}
	}
}

// standInPsql is a psql that says to be of another version.
func standInPsql(t testing.TB, version, script string) Tools {
	t.Helper()
	return Tools{Dir: standIn(t, "psql", `[ "$1" = --version ] && echo "psql (PostgreSQL) `+version+`" && exit`+"\n"+script)}
}

// A psql that does not know \restrict can restore all the same, which is said.
func TestRestoreWithAnOldPsql(t *testing.T) {
	source, _ := newDatabase(t, richSQL...)
	target, _ := newDatabase(t)
	o := restoreOptions(t, target)
	var log bytes.Buffer
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	o.Tools = standInPsql(t, "15.13", `
tee `+filepath.Join(t.TempDir(), "input")+` | if grep -q '^.\(un\)\?restrict'; then exit 3; fi`)
	if err := target.Restore(t.Context(), bytes.NewReader(dumpOf(t, source, Plain)), o); err == nil || !strings.Contains(err.Error(), "ended") && !strings.Contains(err.Error(), "ends") {
		t.Errorf("psql was given what it does not know: %v", err)
	}
	o.Tools = standInPsql(t, "15.13", "exec "+filepath.Join(server.BinDir, "psql")+` "$@"`)
	if err := target.Restore(t.Context(), bytes.NewReader(dumpOf(t, source, Plain)), o); err != nil {
		t.Fatal(err)
	}
	if contentOf(t, target) != contentOf(t, source) {
		t.Error("the restored database is another one")
	}
	if !strings.Contains(log.String(), "update it") {
		t.Errorf("nobody was told:\n%s", log.String())
	}
}

func TestKnowsRestrict(t *testing.T) {
	for version, want := range map[Version]bool{
		90624: false, 120022: false, 130021: false, 130022: true, 140019: true, 150013: false, 150014: true, 160009: false, 170006: true, 180000: true, 190001: true,
	} {
		if knowsRestrict(version) != want {
			t.Errorf("%v: not %v", version, want)
		}
	}
}

// psql is no more to be trusted than its exit code: a restore is done when the
// transaction is known to be committed.
func TestRestoreWithAPsqlThatEnds(t *testing.T) {
	for _, script := range []string{"exit 0", "cat > /dev/null", "kill -9 $$", "head -c 9 > /dev/null; exit 1", "echo done; cat > /dev/null"} {
		target, _ := newDatabase(t)
		o := restoreOptions(t, target)
		o.Tools = standInPsql(t, "15.18", script)
		dump := "CREATE TABLE t ();\n" + strings.Repeat("SELECT 1;\n", 1<<16)
		if err := target.Restore(t.Context(), strings.NewReader(dump), o); err == nil {
			t.Errorf("%q restores", script)
		}
	}
}

// waitFor waits until a statement of a dump has begun.
func waitFor(t testing.TB, database, statement string) {
	t.Helper()
	for range 500 {
		if server.Query(t, "postgres", "SELECT count(*) FROM pg_stat_activity WHERE datname = '"+database+"' AND query LIKE '"+statement+"%'") != "0" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%q does not begin", statement)
}

// slow is a dump that is longer than the patience of these tests.
func slow() io.Reader {
	return io.MultiReader(strings.NewReader("CREATE TABLE t (a int);\nCREATE TABLE u ();\nSELECT pg_sleep(60);\n"), neverEnding{})
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return copy(p, "SELECT 1;\n"), nil }

func TestRestoreIsInterrupted(t *testing.T) {
	for name, interrupt := range map[string]func(database string, cancel func()){
		"cancelled":   func(_ string, cancel func()) { cancel() },
		"psql killed": func(string, func()) { killChild(t, "psql") },
		"server closed the connection": func(database string, _ func()) {
			server.Exec(t, "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+database+"' AND query LIKE 'SELECT pg_sleep%'")
		},
	} {
		target, database := newDatabase(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		o := restoreOptions(t, target)
		go func() { ended <- target.Restore(ctx, slow(), o) }()
		waitFor(t, database, "SELECT pg_sleep")
		interrupt(database, cancel)
		select {
		case err := <-ended:
			if err == nil || errors.Is(err, context.Canceled) != (name == "cancelled") {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: it does not end", name)
		}
		cancel()
		checkEmpty(t, target)
	}
}

// killChild kills the child process of this one that has a name.
func killChild(t testing.TB, name string) {
	t.Helper()
	processes, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, process := range processes {
		stat, err := os.ReadFile(process)
		if err != nil {
			continue // it has ended
		}
		var pid, parent int
		var state string
		before, after, _ := strings.Cut(string(stat), " ("+name+") ")
		pid, err = strconv.Atoi(before)
		if _, serr := fmt.Sscan(after, &state, &parent); err == nil && serr == nil && parent == os.Getpid() {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("there is no %s", name)
}
