package e2e

import (
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/chipster/firn/internal/postgres/postgrestest"
)

// databaseNight is what a night saved, and what the database was.
type databaseNight struct {
	databaseReport
	state databaseState
}

// TestDatabases saves databases that change between two nights, and compares
// what is in the bucket, in the archive and in the mount, and what is restored.
func TestDatabases(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	for _, test := range []struct {
		name, suffix string
		protect      func(*world)
		jobs         int
		args         []string
	}{
		{"plain format for a key", ".sql", withNewKey, 500_000, nil},
		{"plain format with a passphrase", ".sql", withPassphrase, 100, nil},
		{"plain format not encrypted", ".sql", func(*world) {}, 100, []string{"--format", "plain", "--clean"}},
		{"custom format for a key", ".dump", withNewKey, 20_000, []string{"--format", "custom"}},
		{"custom format with a passphrase", ".dump", withPassphrase, 100, []string{"--format=custom"}},
		{"custom format not encrypted", ".dump", func(*world) {}, 100, []string{"--format=custom"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := newDatabases(t, server, test.protect)
			d.names["auth"] = d.create(authDatabase...)
			d.names["session-db"] = d.create(sessionDatabase...)
			d.names["job-history"] = d.create(jobDatabase(test.jobs)...)
			args := append(test.args, "--config", d.configure())
			first := d.night(test.suffix, args)
			for role, changes := range map[string][]string{"auth": authChanges, "session-db": sessionChanges, "job-history": jobChanges} {
				d.asUser(d.names[role], changes...)
			}
			second := d.night(test.suffix, args)
			d.checkNights(slices.Concat(first, second), slices.Contains(args, "--clean"))
		})
	}
}

// configure tells the program of the databases in all the ways that there are,
// and returns the file.
func (d *databases) configure() string {
	d.Helper()
	port := fmt.Sprint(d.server.Port)
	jdbc := "jdbc:postgresql://127.0.0.1:" + port + "/" + d.names["auth"]
	verified := "postgresql://localhost:" + port + "/" + d.names["session-db"] + "?sslmode=verify-full&sslrootcert=" + url.QueryEscape(d.server.CAFile)
	d.set("db_pass_job_history", d.password)
	d.set("db_url_job_history", d.server.URL(d.names["job-history"]))
	quoted := strings.ReplaceAll(d.password, "'", "''")
	return d.file("chipster.yaml", "db-url-auth: "+jdbc+"\ndb-pass-auth: '"+quoted+"'\n"+
		"db-url-session-db: "+verified+"\ndb-pass-session-db-file: "+d.passwordFile+"\n")
}

// night saves all databases, looks into the bucket, and archives.
func (d *databases) night(suffix string, args []string) (nights []databaseNight) {
	d.Helper()
	states := map[string]databaseState{}
	for role, name := range d.names {
		states[role] = d.state(name)
	}
	reports, _ := d.backUp(0, args...)
	var backups []string
	for i, role := range d.roles() {
		n := databaseNight{reports[i], states[role]}
		name, hasSuffix := strings.CutSuffix(n.Path, suffix)
		if n.Role != role || !strings.HasPrefix(n.Backup, role+"-db-backup_") || name != n.Backup || !hasSuffix || n.Error != "" || n.Duration <= 0 {
			d.Errorf("the report of %s is %+v", role, n.databaseReport)
		}
		if want := d.rows(n.state); !reflect.DeepEqual(n.Rows, want) {
			d.Errorf("%s has the rows %v, not %v", role, n.Rows, want)
		}
		d.checkDatabaseBackup(n)
		nights = append(nights, n)
		backups = append(backups, n.Backup)
	}
	if len(reports) != len(nights) {
		d.Errorf("%d reports of %d databases", len(reports), len(nights))
	}
	if got := d.pull(); !slices.Equal(slices.Sorted(slices.Values(got)), backups) {
		d.Errorf("archived %q, not %q", got, backups)
	}
	return nights
}

// checkDatabaseBackup looks at a backup in the bucket: its list, and its package
// with tar, gpg and lz4.
func (d *databases) checkDatabaseBackup(n databaseNight) {
	d.Helper()
	d.checkBackup(n.Backup, 1)
	l, rows := d.recorded(n.Backup, string(d.object(n.Backup+"/backup-info")))
	if l.path != n.Path || l.size != n.Size || l.sealedSize != n.SealedSize || l.backup != n.Backup || !reflect.DeepEqual(rows, n.Rows) {
		d.Errorf("%s lists %+v, reported is %+v", n.Backup, l, n.databaseReport)
	}
	dumped := n.Backup + "/" + n.Backup + ".tar"
	if objects := d.objects(n.Backup+"/", ""); len(objects) != 2 || !slices.Contains(objects, dumped) {
		d.Errorf("%s is made of %q", n.Backup, objects)
	}
	out, stderr, code := d.run(d.object(dumped), "sh", "-c", d.unseal()+`tar -xO | unseal | sha512sum`)
	if hash, _, _ := strings.Cut(out, " "); code != 0 || hash != l.hash {
		d.Errorf("%s by hand: exit code %d, %s\n%s", n.Backup, code, hash, stderr)
	}
}

// unseal makes a shell script know how sealed files are opened.
func (d *databases) unseal() string {
	if len(d.seal) == 0 {
		return "unseal() { lz4 -d -c; }\n"
	}
	return "unseal() { gpg --batch --quiet --decrypt | lz4 -d -c; }\n"
}

// checkNights looks at everything that is archived.
func (d *databases) checkNights(nights []databaseNight, clean bool) {
	d.Helper()
	var backups []string
	for _, n := range nights {
		backups = append(backups, n.Backup)
	}
	versions := slices.Sorted(slices.Values(d.versions()))
	if want := slices.Sorted(slices.Values(backups)); !slices.Equal(versions, want) {
		d.Errorf("versions %q, not %q", versions, want)
	}
	mount := d.mount()
	for _, n := range nights {
		shown := filepath.Join(inMount(mount, n.Backup), n.Path)
		if files := tree(d, filepath.Dir(shown)); len(files) != 1 || files[n.Path].size != n.Size {
			d.Errorf("%s is shown as %v", n.Backup, files)
		}
		d.shell(d.unseal()+`unseal <"$1" | cmp - "$2"`, d.sealedDump(n.Backup), shown)
		if filepath.Ext(n.Path) == ".sql" && !clean {
			dump := filepath.Join(d.tempDir(), "dump.sql")
			d.comparable(shown, dump)
			d.sameText(dump, n.state.dump)
		}
		d.checkRestored(n, shown)
	}
	latest, _ := d.restoreDatabase(0, nights[len(nights)-1].Role+"-db-backup/latest", d.create())
	if latest.Version != backups[len(backups)-1] {
		d.Errorf("the latest of %q is %s", backups, latest.Version)
	}
}

// checkRestored restores a version with firn and, from the mount, by hand.
func (d *databases) checkRestored(n databaseNight, shown string) {
	d.Helper()
	database := d.create()
	report, _ := d.restoreDatabase(0, n.Backup, database)
	var tables, rows int64
	for schema, counts := range n.Rows {
		if schema == "pg_catalog" {
			continue // large objects
		}
		tables += int64(len(counts))
		for r := range maps.Values(counts) {
			rows += r
		}
	}
	to := fmt.Sprintf("%s:%d/%s", d.server.Host, d.server.Port, database)
	if report.Version != n.Backup || report.To != to || report.Bytes != n.Size || report.Tables != tables || report.Rows != rows || report.LargeObjects != n.Rows["pg_catalog"]["pg_largeobject_metadata"] ||
		!report.Checked || len(report.Differences) > 0 || report.Duration <= 0 {
		d.Errorf("the report of restoring %s, of %d rows in %d tables, to %s is %+v", n.Path, rows, tables, to, report)
	}
	d.check(database, n.state)

	database = d.create()
	if filepath.Ext(n.Path) == ".sql" {
		d.client(`psql --quiet --no-psqlrc -v ON_ERROR_STOP=1 --dbname="$1" <"$2" >/dev/null`, d.address(database), shown)
	} else {
		list := d.client(d.unseal()+`unseal <"$1" | pg_restore --list`, d.sealedDump(n.Backup))
		if got := strings.Count(list, " TABLE DATA "); got != len(d.tables(n.state)) {
			d.Errorf("pg_restore lists the rows of %d tables:\n%s", got, list)
		}
		d.client(`pg_restore --exit-on-error --dbname="$1" "$2"`, d.address(database), shown)
	}
	d.check(database, n.state)
}

// The address may bear the password too.
func TestDatabaseAddress(t *testing.T) {
	t.Parallel()
	d := newDatabases(t, postgrestest.New(t), withNewKey)
	name := d.create(jobDatabase(3)...)
	host := fmt.Sprintf("%s:%d", d.server.Host, d.server.Port)
	libpq := url.URL{Scheme: "postgres", User: url.UserPassword(d.user, d.password), Host: host, Path: "/" + name}
	jdbc := url.Values{"user": {d.user}, "password": {d.password}}
	for _, address := range []string{libpq.String(), "jdbc:postgresql://" + host + "/" + name + "?" + jdbc.Encode()} {
		d.set("db_url_jobs", address)
		if reports, _ := d.backUp(0, "jobs"); len(reports) != 1 || reports[0].Rows["public"]["jobs"] != 3 {
			t.Errorf("%s: %+v", address, reports)
		}
	}
}
