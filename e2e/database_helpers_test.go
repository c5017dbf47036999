package e2e

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/objstore/objstoretest"
	"github.com/chipster/firn/internal/postgres/postgrestest"
)

// databases is a world beside a PostgreSQL server, where a user who is none of
// its superusers owns databases.
type databases struct {
	*world
	server         *postgrestest.Server
	bucket         objstore.S3Options
	user, password string
	secret         string // the part of the password that no quoting changes
	passwordFile   string
	names          map[string]string // on the server, by role
	nowhere        string            // an empty folder, see inNowhere
}

// newDatabases makes the user and no database yet. Backups are sealed as
// protect says.
func newDatabases(t testing.TB, server *postgrestest.Server, protect func(*world)) *databases {
	t.Helper()
	id := strings.ToLower(rand.Text())
	d := &databases{world: newWorld(t), server: server, user: "chipster_" + id[:8], secret: id[8:], names: map[string]string{}}
	d.bucket = objstoretest.VersityGW(t)
	d.env = append(d.env, bucketSettings(d.bucket)...)
	var err error
	d.store, err = objstore.OpenS3(t.Context(), d.bucket)
	must(t, err)

	d.password = `p'\:@/%41 "$x` + d.secret
	d.passwordFile = d.file("password", d.password+"\n")
	d.createUser()
	d.set("db_user", d.user)

	d.nowhere = d.path("nowhere")
	must(t, os.Mkdir(d.nowhere, 0o755))
	protect(d.world)
	for i, arg := range d.seal { // in the folder nowhere too
		if _, err := os.Stat(d.path(arg)); err == nil && !filepath.IsAbs(arg) {
			d.seal[i] = d.path(arg)
		}
	}
	return d
}

// createUser makes the user on the server.
func (d *databases) createUser() {
	d.Helper()
	d.server.Exec(d, "postgres", fmt.Sprintf(`CREATE ROLE %s LOGIN PASSWORD '%s'`, d.user, strings.ReplaceAll(d.password, "'", "''")))
}

// file writes a file that others may not read, and returns its path.
func (d *databases) file(name, content string) string {
	d.Helper()
	must(d, os.WriteFile(d.path(name), []byte(content), 0o600))
	return d.path(name)
}

// set sets a variable of the configuration.
func (d *databases) set(name, value string) { d.env = append(d.env, name+"="+value) }

// variable is how the environment spells a key of the configuration.
func variable(key string) string { return strings.ReplaceAll(key, "-", "_") }

// create makes a database of the user's.
func (d *databases) create(sql ...string) string {
	d.Helper()
	name := d.server.CreateDatabase(d)
	d.server.Exec(d, "postgres", fmt.Sprintf("ALTER DATABASE %q OWNER TO %s", name, d.user))
	d.asUser(name, sql...)
	return name
}

// add makes a database that is backed up.
func (d *databases) add(role string, sql ...string) {
	d.Helper()
	d.names[role] = d.create(sql...)
	d.set(variable("db-url-"+role), d.server.URL(d.names[role]))
	d.set(variable("db-pass-"+role), d.password)
}

// asUser runs commands as the user, in one transaction.
func (d *databases) asUser(database string, sql ...string) {
	d.Helper()
	d.server.Exec(d, database, strings.Join(append([]string{"SET SESSION AUTHORIZATION " + d.user}, sql...), ";\n"))
}

// address is that of a database for `firn restore db` and psql.
func (d *databases) address(database string) string {
	d.Helper()
	u, err := url.Parse(d.server.URL(database))
	must(d, err)
	u.User = url.User(d.user)
	return u.String()
}

// client runs a shell script that calls PostgreSQL's programs as the user.
func (d *databases) client(script string, args ...string) string {
	d.Helper()
	command := []string{"PATH=" + d.server.BinDir + ":" + os.Getenv("PATH"), "PGPASSWORD=" + d.password, "PGUSER=" + d.user, "sh", "-e", "-c", script, "sh"}
	return d.must("env", append(command, args...)...)
}

// inNowhere runs the program where nothing can be put on a disk unseen: its
// folder, its home too, is empty afterwards, and there is none for temporary
// files. It has to end with an exit code, and prints no password.
func (d *databases) inNowhere(want int, report any, args ...string) (stderr string) {
	d.Helper()
	command := []string{
		"--chdir=" + d.nowhere, "HOME=" + d.nowhere, "XDG_CACHE_HOME=" + d.nowhere, "TMPDIR=/nonexistent/folder",
		firn, "--verbose",
	}
	stdout, stderr, code := d.run(nil, "env", slices.Concat(command, args, []string{"--json"})...)
	if code != want {
		d.Fatalf("%q: exit code %d, not %d\n%s%s", args, code, want, stdout, stderr)
	}
	if strings.Contains(stdout+stderr, d.secret) {
		d.Errorf("%q prints the password:\n%s%s", args, stdout, stderr)
	}
	if left, err := os.ReadDir(d.nowhere); err != nil || len(left) > 0 {
		d.Errorf("%q leaves files: %v, %v", args, left, err)
	}
	if err := json.Unmarshal([]byte(stdout), report); err != nil && stdout != "" {
		d.Fatalf("%q: %v\n%s", args, err, stdout)
	}
	return stderr
}

// databaseReport is what `firn upload db` says of a database.
type databaseReport struct {
	Role, Backup, Path string
	Size, SealedSize   int64
	Rows               databaseRows
	Duration           time.Duration
	Error              string
}

// databaseRows are numbers of rows by schema and table.
type databaseRows map[string]map[string]int64

// backUp runs `firn upload db`, which has to end with an exit code.
func (d *databases) backUp(want int, args ...string) (reports []databaseReport, stderr string) {
	d.Helper()
	var report struct{ Databases []databaseReport }
	stderr = d.inNowhere(want, &report, slices.Concat([]string{"upload", "db"}, d.seal, args)...)
	return report.Databases, stderr
}

// restoredDatabase is what `firn restore db` says.
type restoredDatabase struct {
	Version, To  string
	Bytes        int64
	Tables, Rows int64
	LargeObjects int64
	Checked      bool
	Differences  []struct {
		Schema, Table   string
		Expected, Found *int64 // nil: there is no such table
	}
	Duration time.Duration
}

// restoreDatabase runs `firn restore db`, which has to end with an exit code.
func (d *databases) restoreDatabase(want int, version, database string, args ...string) (report restoredDatabase, stderr string) {
	d.Helper()
	stderr = d.inNowhere(want, &report, slices.Concat([]string{
		"restore", "db", d.archive, version, "--to", d.address(database), "--password-file", d.passwordFile, d.catalog(),
	}, d.open, args)...)
	return report, stderr
}

// sealedDump is the file of a version in the archive.
func (d *databases) sealedDump(version string) string {
	d.Helper()
	files, err := filepath.Glob(filepath.Join(d.archive, version, version+".*.lz4*"))
	if err != nil || len(files) != 1 {
		d.Fatalf("%s has the files %q, %v", version, files, err)
	}
	return files[0]
}

// checkSaved demands that these roles, and no others, have backups in the
// bucket, and that of the others nothing is left there.
func (d *databases) checkSaved(roles ...string) {
	d.Helper()
	var saved []string
	for _, key := range d.objects("", "") {
		backup, object, _ := strings.Cut(key, "/")
		role, _, _ := strings.Cut(backup, "-db-backup_")
		if object == "backup-info" {
			saved = append(saved, role)
		} else if !slices.Contains(roles, role) {
			d.Errorf("%s is left in the bucket", key)
		}
	}
	if slices.Sort(roles); !slices.Equal(saved, roles) {
		d.Errorf("the bucket has backups of %q, not of %q", saved, roles)
	}
	if uploads := objstoretest.Uploads(d, d.bucket); len(uploads) > 0 {
		d.Errorf("unfinished uploads: %q", uploads)
	}
}
