package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/postgres/postgrestest"
)

// half lets the beginning of a dump pass, more than two parts of an upload, and
// then does something.
const half = `"$real" "$@" | { head -c 40000000; %s; }; exit ${PIPESTATUS[0]}`

// databaseFaults are what can go wrong with the database "large".
var databaseFaults = []struct {
	name  string
	mib   int // of the database: more than two parts of an upload, where that matters
	fault func(d *databases) (args []string)
	says  string
	alone int // exit code where no other database is saved
}{
	{"pg_dump is killed", 64, func(d *databases) []string {
		return []string{"--pg-bin", d.standIn("pg_dump", d.onlyLarge(fmt.Sprintf(half, "kill -9 $$")))}
	}, "killed", 1},
	{"pg_dump fails when all is written", 1, func(d *databases) []string {
		return []string{"--pg-bin", d.standIn("pg_dump", d.onlyLarge(`"$real" "$@"; echo "out of luck" >&2; exit 1`))}
	}, "out of luck", 1},
	{"pg_dump ends early and hides it", 64, func(d *databases) []string {
		return []string{"--pg-bin", d.standIn("pg_dump", d.onlyLarge(`"$real" "$@" | head -c 40000000`))}
	}, "no end", 1},
	{"the server crashes", 1, (*databases).crash, "pg_dump", 1},
	{"the server is down", 1, func(d *databases) []string {
		d.set("db_url_large", "postgres://127.0.0.1:1/nowhere")
		return nil
	}, "127.0.0.1:1/nowhere", 1},
	{"the password is wrong", 1, func(d *databases) []string {
		d.set("db_pass_large", "not-"+d.secret)
		return nil
	}, "chipster_", 5},
	{"the password is missing", 1, func(d *databases) []string {
		d.set("db_pass_large", "")
		return nil
	}, "password", 5},
	{"there is no such database", 1, func(d *databases) []string {
		d.set("db_url_large", d.server.URL("no-such-database"))
		return nil
	}, "no-such-database", 1},
	{"the address is none", 1, func(d *databases) []string {
		d.set("db_url_large", "jdbc:mysql://127.0.0.1/large?password="+d.secret)
		return nil
	}, "db-url-large", 1},
	{"a table may not be read", 1, func(d *databases) []string {
		d.server.Exec(d, d.names["large"], `CREATE TABLE not_for_you (n int)`)
		return nil
	}, "not_for_you", 5},
	{"a large object may not be read", 1, func(d *databases) []string {
		d.server.Exec(d, d.names["large"], `SELECT lo_from_bytea(77, 'not for you')`)
		return nil
	}, "77", 1},
	{"the bucket refuses", 64, func(d *databases) []string {
		d.refuseParts("large-db-backup_")
		return nil
	}, "denied", 5},
}

// A database that cannot be saved leaves nothing behind and stops no other.
func TestDatabaseFaults(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	for _, test := range databaseFaults {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := newDatabases(t, server, withNewKey)
			d.add("auth", `CREATE TABLE users (n int)`)
			d.add("large", largeDatabase(test.mib)...)
			d.add("zeta", `CREATE TABLE zeta (n int)`)
			args := test.fault(d)
			reports, stderr := d.backUp(3, args...)
			d.checkFailed(reports, "large", test.says)
			if !strings.Contains(stderr, "large") || !strings.Contains(stderr, test.says) {
				t.Errorf("it does not say %q:\n%s", test.says, stderr)
			}
			d.checkSaved("auth", "zeta")
			reports, _ = d.backUp(test.alone, append(args, "large")...)
			d.checkFailed(reports, "large", "")
			d.checkSaved("auth", "zeta")
		})
	}
}

// checkFailed demands that one database failed and the others did not.
func (d *databases) checkFailed(reports []databaseReport, role, says string) {
	d.Helper()
	if !slices.ContainsFunc(reports, func(r databaseReport) bool { return r.Role == role }) {
		d.Errorf("%s is not in the report %+v", role, reports)
	}
	for _, r := range reports {
		switch failed := r.Error != ""; {
		case failed != (r.Role == role), failed == (r.Backup != ""):
			d.Errorf("the report of %s is %+v", r.Role, r)
		case failed && !strings.Contains(r.Error, says):
			d.Errorf("the error of %s does not say %q: %s", role, says, r.Error)
		}
	}
}

// onlyLarge is a script for the database "large" alone.
func (d *databases) onlyLarge(script string) string {
	return `case "$*" in *` + d.names["large"] + `*) ` + script + ` ;; *) exec "$real" "$@" ;; esac`
}

// crash moves the database "large" to a server that crashes while it is saved.
func (d *databases) crash() (args []string) {
	d.Helper()
	other := *d
	other.server = postgrestest.New(d)
	other.createUser()
	other.add("large", largeDatabase(64)...)
	reached, crashed := d.path("reached"), d.path("crashed")
	go func() {
		for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
			if _, err := os.Stat(reached); err == nil || time.Now().After(deadline) {
				break
			}
		}
		other.server.Stop()
		if err := os.WriteFile(crashed, nil, 0o600); err != nil {
			d.Error(err)
		}
	}()
	script := fmt.Sprintf(half, `: >'`+reached+`'; until [ -e '`+crashed+`' ]; do sleep 0.05; done; cat`)
	return []string{"--pg-bin", d.standIn("pg_dump", d.onlyLarge(script))}
}

// A server that is newer than every client is not dumped by an older one.
func TestDatabaseNewerServer(t *testing.T) {
	t.Parallel()
	d := newDatabases(t, postgrestest.New(t), withNewKey)
	d.add("auth", `CREATE TABLE users (n int)`)
	version := d.server.Query(t, d.names["auth"], `SELECT split_part(current_setting('server_version'), ' ', 1)`)
	major, _, _ := strings.Cut(version, ".")
	reports, stderr := d.backUp(1, "--pg-bin", d.impostor("pg_dump", `[ "$*" != --version ] && [ "$*" != -V ] || echo "pg_dump (PostgreSQL) 9.6.24"`))
	for _, says := range []string{"9.6.24", version, "postgresql-client-" + major} {
		d.checkFailed(reports, "auth", says)
		if !strings.Contains(stderr, says) {
			t.Errorf("it does not say %q:\n%s", says, stderr)
		}
	}
	d.checkSaved()
	empty := d.path("no-programs")
	must(t, os.Mkdir(empty, 0o755))
	reports, _ = d.backUp(1, "--pg-bin", empty)
	d.checkFailed(reports, "auth", "postgresql-client-"+major)
	d.checkSaved()
}
