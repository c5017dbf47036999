package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chipster/firn/internal/postgres/postgrestest"
)

// Whatever goes wrong with a restore, the database is as it was.
func TestDatabaseRestore(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	for _, format := range []string{"plain", "custom"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			d := newDatabases(t, server, withNewKey)
			d.add("session-db", sessionDatabase...)
			d.add("jobs", jobDatabase(100_000)...)
			d.backUp(0, "--format", format)
			d.pull()
			t.Run("not empty", d.testNotEmpty)
			t.Run("arguments", d.testRestoreArguments)
			t.Run("another list", d.testOtherList)
			t.Run("killed", d.testKilled)
			t.Run("damaged", d.testDamaged)
		})
	}
}

// in makes the same databases known to a subtest.
func (d *databases) in(t *testing.T) *databases {
	sub, w := *d, *d.world
	w.TB = t
	sub.world = &w
	return &sub
}

func (d *databases) testNotEmpty(t *testing.T) {
	d = d.in(t)
	want := d.state(d.names["session-db"])
	target := d.create(authDatabase...)
	before := d.state(target)
	_, stderr := d.restoreDatabase(1, "session-db-db-backup/latest", target)
	if !strings.Contains(stderr, "users") || !strings.Contains(stderr, "--clean") {
		t.Errorf("it says neither what is in the way nor what to do:\n%s", stderr)
	}
	d.check(target, before)
	if report, _ := d.restoreDatabase(0, "session-db-db-backup/latest", target, "--clean"); !report.Checked {
		t.Errorf("%+v", report)
	}
	d.check(target, want)
	// Over the same once more.
	d.restoreDatabase(0, "session-db-db-backup/latest", target, "--clean")
	d.check(target, want)

	// What is not in a table is in the way too.
	for _, sql := range []string{`CREATE SCHEMA other`, `CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'`, `SELECT lo_create(77)`, `CREATE TYPE t AS ENUM ()`, `CREATE SEQUENCE s`} {
		d.restoreDatabase(1, "session-db-db-backup/latest", d.create(sql))
	}
}

func (d *databases) testRestoreArguments(t *testing.T) {
	d = d.in(t)
	target := d.create()
	with := func(address string, more ...string) []string {
		return slices.Concat([]string{"restore", "db", d.archive, "jobs-db-backup/latest", "--to", address, d.catalog()}, d.open, more)
	}
	var none any
	address := d.address(target)
	for _, bad := range []string{
		strings.Replace(address, "@", ":"+d.secret+"@", 1), address + "?password=" + d.secret,
		"jdbc:postgresql" + strings.TrimPrefix(d.server.URL(target), "postgres") + "?user=" + d.user + "&password=" + d.secret,
	} {
		if stderr := d.inNowhere(2, &none, with(bad)...); !strings.Contains(stderr, "--password-file") {
			t.Errorf("it does not say where the password belongs:\n%s", stderr)
		}
	}
	d.inNowhere(2, &none, with("mysql://somewhere/db")...)
	d.restoreDatabase(4, "jobs-db-backup_2001-01-01T00:00:00Z", target)
	d.inNowhere(5, &none, with(address, "--password-file", d.file("wrong", "wrong\n"))...)
	d.inNowhere(4, &none, with(address, "--password-file", d.path("missing"))...)
	d.checkEmpty(target)

	// The password can come from where libpq takes it.
	d.file("pgpass", "*:*:*:*:"+strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(d.password)+"\n")
	for _, variable := range []string{"PGPASSWORD=" + d.password, "PGPASSFILE=" + d.path("pgpass")} {
		command := append([]string{variable, firn}, with(d.address(d.create()))...)
		d.must("env", command...)
	}

	// A version of files is none of a database.
	must(t, os.WriteFile(filepath.Join(d.storage, "file"), []byte("content"), 0o644))
	d.upload()
	d.pull()
	_, stderr := d.restoreDatabase(2, "file-storage/latest", target)
	if !strings.Contains(stderr, "file-storage") {
		t.Errorf("it does not name the version:\n%s", stderr)
	}
	d.restoreDatabase(0, "jobs-db-backup/latest", target)
}

// testOtherList changes what the list records of rows, and of the content.
func (d *databases) testOtherList(t *testing.T) {
	d = d.in(t)
	want := d.state(d.names["jobs"])
	lists, err := filepath.Glob(filepath.Join(d.archive, "jobs-*", "archive-info"))
	if err != nil || len(lists) != 1 {
		t.Fatalf("%q, %v", lists, err)
	}
	good, err := os.ReadFile(lists[0])
	must(t, err)
	defer func() { must(t, os.WriteFile(lists[0], good, 0o600)) }()
	list := func(old, new string) (version string) {
		t.Helper()
		if !strings.Contains(string(good), old) {
			t.Fatalf("the list has no %q: %s", old, good)
		}
		must(t, os.WriteFile(lists[0], []byte(strings.Replace(string(good), old, new, 1)), 0o600))
		must(t, os.RemoveAll(d.path("catalog.sqlite"))) // it knows the version
		return filepath.Base(filepath.Dir(lists[0]))
	}

	version := list(`"jobs":100000`, `"gone":5,"jobs":100001`)
	target := d.create()
	report, _ := d.restoreDatabase(3, version, target)
	got, err := json.Marshal(report.Differences)
	must(t, err)
	if want := `[{"Schema":"public","Table":"gone","Expected":5,"Found":null},{"Schema":"public","Table":"jobs","Expected":100001,"Found":100000}]`; string(got) != want {
		t.Errorf("differences %s, not %s", got, want)
	}
	d.check(target, want)
	args := append([]string{"PGPASSWORD=" + d.password, firn, "restore", "db", d.archive, version, "--to", d.address(d.create()), d.catalog()}, d.open...)
	if stdout, _, code := d.run(nil, "env", args...); code != 3 || !strings.Contains(stdout, "public.gone") || !strings.Contains(stdout, "public.jobs") {
		t.Errorf("exit code %d, and this does not name the tables:\n%s", code, stdout)
	}

	// The sealed file is whole, and yet of another dump.
	hash := parseList(t, version, string(good))[0].hash
	version = list(hash, strings.Repeat("0", len(hash)))
	target = d.create()
	if _, stderr := d.restoreDatabase(1, version, target); !strings.Contains(stderr, "SHA-512") {
		t.Errorf("it does not say what is wrong:\n%s", stderr)
	}
	d.checkEmpty(target)

	// The original records no rows.
	rows := string(good[bytes.LastIndex(good, []byte("\trows=")):])
	version = list(strings.TrimSuffix(rows, "\n"), "")
	target = d.create()
	if report, _ := d.restoreDatabase(0, version, target); report.Checked || len(report.Differences) > 0 {
		t.Errorf("%+v", report)
	}
	d.check(target, want)
}

// testKilled kills firn when it has restored a part.
func (d *databases) testKilled(t *testing.T) {
	d = d.in(t)
	target, pid := d.create(authDatabase...), d.path("pid")
	before := d.state(target)
	d.restoreDatabase(-1, "jobs-db-backup/latest", target, "--clean", "--pg-bin",
		d.standIn("psql", `echo $$ >'`+pid+`'; { head -c 4000000; kill -9 $PPID; } | "$real" "$@"`))
	d.awaitEnd(pid)
	d.check(target, before)
}

// testDamaged damages the sealed file in all parts. It stays damaged.
func (d *databases) testDamaged(t *testing.T) {
	d = d.in(t)
	good, err := filepath.Glob(filepath.Join(d.archive, "jobs-*", "*.gpg"))
	if err != nil || len(good) != 1 {
		t.Fatalf("%q, %v", good, err)
	}
	data, err := os.ReadFile(good[0])
	must(t, err)
	empty, full := d.create(), d.create(authDatabase...)
	before := d.state(full)
	for name, damaged := range map[string][]byte{
		"a bit in the middle":    flipped(data, len(data)/2),
		"a bit at the end":       flipped(data, len(data)-5),
		"shorter by the half":    data[:len(data)/2],
		"shorter by one byte":    data[:len(data)-1],
		"longer by one byte":     append(data[:len(data):len(data)], 0),
		"nothing":                nil,
		"a bit at the beginning": flipped(data, 5000),
	} {
		must(t, os.WriteFile(good[0], damaged, 0o600))
		for _, args := range [][]string{nil, {"--clean"}} {
			target := map[bool]string{true: empty, false: full}[args == nil]
			var report any
			command := append([]string{"restore", "db", d.archive, "jobs-db-backup/latest", "--to", d.address(target), "--password-file", d.passwordFile, d.catalog()}, d.open...)
			if stderr := d.inNowhere(1, &report, append(command, args...)...); !strings.Contains(stderr, "jobs-db-backup") {
				t.Errorf("%s: it does not name the backup:\n%s", name, stderr)
			}
		}
		d.checkEmpty(empty)
	}
	d.check(full, before)
}

// flipped returns a copy in which a bit differs.
func flipped(data []byte, at int) []byte {
	data = append([]byte(nil), data...)
	data[at] ^= 4
	return data
}
