package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/chipster/firn/internal/postgres/postgrestest"
)

// The environment of a process is its owner's, the arguments are everybody's.
func TestDatabasePasswordInNoArgument(t *testing.T) {
	t.Parallel()
	d := newDatabases(t, postgrestest.New(t), withNewKey)
	d.add("auth", authDatabase...)
	seen := d.path("seen")
	script := `{ printf '%s\n' "$0" "$@"; cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n'; } >>'` + seen + `'; exec "$real" "$@"`
	args := func(program string) []string { return []string{"--pg-bin", d.standIn(program, script)} }
	d.backUp(0, args("pg_dump")...)
	d.backUp(0, append(args("vacuumlo"), "--vacuumlo")...)
	d.pull()
	d.restoreDatabase(0, "auth-db-backup/latest", d.create(), args("psql")...)
	data, err := os.ReadFile(seen)
	must(t, err)
	for _, program := range []string{"/pg_dump\n", "/vacuumlo\n", "/psql\n", firn + "\n"} {
		if !strings.Contains(string(data), program) {
			t.Errorf("%q was not seen", program)
		}
	}
	for text := range strings.Lines(string(data)) {
		if strings.Contains(text, d.secret) {
			t.Errorf("an argument is %q", text)
		}
	}
}

// Orphans are deleted on demand; where that fails, all is saved all the same.
func TestDatabaseVacuumlo(t *testing.T) {
	t.Parallel()
	d := newDatabases(t, postgrestest.New(t), withNewKey)
	d.add("session-db", `CREATE TABLE datasets (content oid)`, `INSERT INTO datasets VALUES (lo_from_bytea(0, 'kept'))`, `SELECT lo_from_bytea(0, 'orphan')`)
	blobs := func(want int64, args ...string) (stderr string) {
		t.Helper()
		reports, stderr := d.backUp(0, args...)
		if got := reports[0].Rows["pg_catalog"]["pg_largeobject_metadata"]; got != want {
			t.Errorf("with %q there are %d large objects, not %d", args, got, want)
		}
		return stderr
	}
	blobs(2)
	if stderr := blobs(2, "--vacuumlo", "--pg-bin", d.standIn("vacuumlo", `echo "no luck" >&2; exit 1`)); !strings.Contains(stderr, "vacuumlo") || !strings.Contains(stderr, "no luck") {
		t.Errorf("it does not say what failed:\n%s", stderr)
	}
	blobs(1, "--vacuumlo")
	if got := d.server.Query(t, d.names["session-db"], `SELECT convert_from(lo_get(content), 'utf8') FROM datasets`); got != "kept" {
		t.Errorf("the other large object is %q", got)
	}
}

// Whoever writes between the counting and the dump is in neither.
func TestDatabaseIsOfOneMoment(t *testing.T) {
	t.Parallel()
	d := newDatabases(t, postgrestest.New(t), withNewKey)
	d.add("jobs", jobDatabase(100)...)
	state := d.state(d.names["jobs"])
	write := `"$(dirname "$real")/psql" -q -d '` + d.address(d.names["jobs"]) + `' -c "DELETE FROM jobs WHERE id < 50" -c "INSERT INTO jobs (id) SELECT generate_series(1000, 5000)"`
	for _, format := range []string{"plain", "custom"} {
		reports, _ := d.backUp(0, "--format", format, "--pg-bin", d.standIn("pg_dump", write+` && exec "$real" "$@"`))
		if reports[0].Rows["public"]["jobs"] != 100 {
			t.Errorf("%+v", reports)
		}
		d.pull()
		target := d.create()
		d.restoreDatabase(0, reports[0].Backup, target)
		d.check(target, state)
		d.asUser(d.names["jobs"], "DROP TABLE jobs")
		d.asUser(d.names["jobs"], jobDatabase(100)...)
	}
}
