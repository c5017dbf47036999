package restore

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/keys/keystest"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/postgres"
	"github.com/chipster/firn/internal/postgres/postgrestest"
)

const databaseBackup = "session-db-db-backup_2026-01-02T01:10:00.123Z"

// server is that of all tests of databases; each has databases of its own.
var server *postgrestest.Server

func TestMain(m *testing.M) { postgrestest.Main(m, &server) }

// newDatabase makes a database, and returns its address and its name.
func newDatabase(t testing.TB, sql ...string) (*postgres.Database, string) {
	t.Helper()
	name := server.CreateDatabase(t)
	server.Exec(t, name, sql...)
	d, err := postgres.ParseURL(server.URL(name))
	if err != nil {
		t.Fatal(err)
	}
	d.SetUser(server.User)
	d.SetPassword(server.Password)
	return d, name
}

// dumped makes a plain dump and counts the rows.
func dumped(t testing.TB, d *postgres.Database, format postgres.Format) (string, manifest.Rows) {
	t.Helper()
	conn, err := d.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	rows, err := conn.CountRows(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := d.Dump(t.Context(), &b, postgres.DumpOptions{Server: conn.Version(), Format: format}); err != nil {
		t.Fatal(err)
	}
	return b.String(), manifest.Rows(rows)
}

func databaseArchive(t testing.TB, dump string, rows manifest.Rows) archive {
	t.Helper()
	return makeArchiveOf(t, databaseBackup, plainFile{databaseBackup + ".sql", dump, manifest.Details{Rows: rows}})
}

func (a archive) databaseOptions(t testing.TB, to *postgres.Database) DatabaseOptions {
	t.Helper()
	o := a.options(t)
	return DatabaseOptions{Catalog: o.Catalog, Opener: o.Opener, Version: o.Version, To: to, Logger: o.Logger}
}

// relist replaces the list by one of one file.
func (a archive) relist(t testing.TB, e manifest.Entry) {
	t.Helper()
	list := create(t, filepath.Join(a.root, a.backup, manifest.ArchiveInfo))
	w := manifest.NewWriter(list)
	if err := w.Write(&e); err != nil || w.Flush() != nil || list.Close() != nil {
		t.Fatal(err)
	}
}

func isEmpty(t testing.TB, d *postgres.Database) bool {
	t.Helper()
	conn, err := d.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	objects, err := conn.Objects(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return len(objects) == 0
}

var jobs = []string{
	`CREATE SCHEMA other`, `CREATE TABLE public.jobs (id int); CREATE TABLE other.none (id int)`,
	`INSERT INTO public.jobs SELECT generate_series(1, 5000)`, `SELECT lo_from_bytea(0, 'large')`,
}

func TestDatabase(t *testing.T) {
	source, _ := newDatabase(t, jobs...)
	for _, format := range []postgres.Format{postgres.Plain, postgres.Custom} {
		dump, rows := dumped(t, source, format)
		target, name := newDatabase(t)
		o := databaseArchive(t, dump, rows).databaseOptions(t, target)
		var progress int64
		o.Progress = func(_ int, n int64) { progress += n }
		report, err := Database(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		want := DatabaseReport{
			Version: databaseBackup, File: databaseBackup + ".sql", To: target.String(), Bytes: int64(len(dump)),
			Total: postgres.Total{Tables: 2, Rows: 5000, LargeObjects: 1}, Checked: true, Differences: []Difference{}, Duration: report.Duration,
		}
		if got, want := asJSON(t, report), asJSON(t, want); got != want || report.Duration <= 0 {
			t.Errorf("%s: the report is\n%s, not\n%s", format, got, want)
		}
		if progress != int64(len(dump)) {
			t.Errorf("%s: told of %d bytes of %d", format, progress, len(dump))
		}
		if n := server.Query(t, name, `SELECT sum(id) FROM public.jobs`); n != "12502500" {
			t.Errorf("%s: the jobs are others: %s", format, n)
		}
	}
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What the list says otherwise is reported, and stays restored.
func TestDatabaseDifferences(t *testing.T) {
	source, _ := newDatabase(t, jobs...)
	dump, _ := dumped(t, source, postgres.Plain)
	rows := manifest.Rows{"public": {"jobs": 5001, "gone": 0}, "lost": {"a": 7}, "pg_catalog": {"pg_largeobject_metadata": 1}}
	target, name := newDatabase(t)
	report, err := Database(t.Context(), databaseArchive(t, dump, rows).databaseOptions(t, target))
	if !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), "lost.a, other.none, public.gone, public.jobs") || report == nil {
		t.Fatalf("%v with a report %v", err, report)
	}
	const want = `[{"schema":"lost","table":"a","expected":7,"found":null},{"schema":"other","table":"none","expected":null,"found":0},` +
		`{"schema":"public","table":"gone","expected":0,"found":null},{"schema":"public","table":"jobs","expected":5001,"found":5000}]`
	if got := asJSON(t, report.Differences); got != want || !report.Checked {
		t.Errorf("the differences are\n%s, not\n%s", got, want)
	}
	if n := server.Query(t, name, `SELECT count(*) FROM public.jobs`); n != "5000" {
		t.Errorf("%s jobs are left", n)
	}
}

// A database that is not empty is left alone; with Clean all in it is replaced.
func TestDatabaseNotEmpty(t *testing.T) {
	source, _ := newDatabase(t, jobs...)
	dump, rows := dumped(t, source, postgres.Plain)
	var tables []string
	for i := range 12 {
		tables = append(tables, fmt.Sprintf("CREATE TABLE old%02d AS SELECT 1 AS a", i))
	}
	target, name := newDatabase(t, tables...)
	a := databaseArchive(t, dump, rows)
	o := a.databaseOptions(t, target)
	_, err := Database(t.Context(), o)
	if !errors.Is(err, ErrNotEmpty) || !strings.Contains(err.Error(), "public.old09 and 2 more; ") || strings.Contains(err.Error(), "old10") || !strings.Contains(err.Error(), "--clean") {
		t.Errorf("not empty: %v", err)
	}
	o.Clean = true
	a.damage(t, databaseBackup+".sql")
	if _, err := Database(t.Context(), o); !errors.Is(err, envelope.ErrDamaged) {
		t.Errorf("damaged: %v", err)
	}
	if server.Query(t, name, `SELECT count(*) FROM pg_tables WHERE tablename LIKE 'old%'`) != "12" {
		t.Error("a damaged dump replaced what was there")
	}
	a.damage(t, databaseBackup+".sql") // back
	if report, err := Database(t.Context(), o); err != nil || len(report.Differences) > 0 {
		t.Errorf("clean: %v", err)
	}
}

// Whatever is wrong with the sealed file, nothing of it is restored.
func TestDatabaseDamaged(t *testing.T) {
	source, _ := newDatabase(t, jobs...)
	for _, format := range []postgres.Format{postgres.Plain, postgres.Custom} {
		good, rows := dumped(t, source, format)
		for name, dump := range map[string]string{
			"one byte else": strings.Replace(good, "4321", "4322", 1), "cut": good[:len(good)-9], "longer": good + "-- x\n",
			"longer by one": good + "\n", "empty": "",
		} {
			target, _ := newDatabase(t)
			a := databaseArchive(t, dump, rows)
			listed := a.entries[databaseBackup+".sql"]
			listed.Size, listed.SHA512 = int64(len(good)), sha512.Sum512([]byte(good))
			a.relist(t, listed)
			_, err := Database(t.Context(), a.databaseOptions(t, target))
			if !errors.Is(err, envelope.ErrDamaged) {
				t.Errorf("%s, %s: %v", format, name, err)
			}
			if !isEmpty(t, target) {
				t.Errorf("%s, %s: something was restored", format, name)
			}
		}
	}
}

func TestDatabaseRefuses(t *testing.T) {
	target, _ := newDatabase(t)
	files := makeArchive(t, plainFile{path: "a", content: "SELECT 1;"})
	two := makeArchiveOf(t, databaseBackup, plainFile{path: "a.sql", content: "SELECT 1;"}, plainFile{path: "b.sql", content: "SELECT 1;"})
	none := makeArchiveOf(t, databaseBackup)
	for _, a := range []archive{files, two, none} {
		if _, err := Database(t.Context(), a.databaseOptions(t, target)); !errors.Is(err, ErrNotDatabase) {
			t.Errorf("%d files of %s: %v", len(a.entries), a.backup, err)
		}
	}
	a := databaseArchive(t, "SELECT 1;", nil)
	o := a.databaseOptions(t, target)
	o.Opener = envelope.NewOpener(nil)
	if _, err := Database(t.Context(), o); !errors.Is(err, envelope.ErrKey) {
		t.Errorf("without a key: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Database(ctx, a.databaseOptions(t, target)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := os.Remove(a.sealed(databaseBackup + ".sql")); err != nil {
		t.Fatal(err)
	}
	if _, err := Database(t.Context(), a.databaseOptions(t, target)); !errors.Is(err, catalog.ErrMissing) {
		t.Errorf("without the sealed file: %v", err)
	}
}

// A dump that the original system made comes back; its list has no numbers of
// rows.
func TestDatabaseOfTheOriginal(t *testing.T) {
	const backup = "session-db-db-backup_2021-03-05T01:10:03.250Z"
	bucket := filepath.Join(original, "rsa", "bucket", backup)
	root := t.TempDir()
	list, err := os.ReadFile(filepath.Join(bucket, manifest.BackupInfo))
	if err != nil {
		t.Fatal(err)
	}
	out := create(t, filepath.Join(root, backup, manifest.ArchiveInfo))
	if _, err := out.Write(list); err != nil || out.Close() != nil {
		t.Fatal(err)
	}
	packages, err := filepath.Glob(filepath.Join(bucket, "db-backups", "*", "*.tar"))
	if err != nil || len(packages) != 1 {
		t.Fatal(packages, err)
	}
	in, err := os.Open(packages[0])
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	sealed := tar.NewReader(in)
	header, err := sealed.Next()
	if err != nil {
		t.Fatal(err)
	}
	out = create(t, filepath.Join(root, backup, header.Name))
	if _, err := io.Copy(out, sealed); err != nil || out.Close() != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	target, _ := newDatabase(t)
	o := options(t, root, backup)
	report, err := Database(t.Context(), DatabaseOptions{
		Catalog: o.Catalog, Opener: envelope.NewOpener(keystest.Private(t, "chipster")), Version: o.Version, To: target,
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil || report.Checked || report.Differences == nil || !strings.Contains(log.String(), "no numbers of rows") {
		t.Errorf("%v, %+v\n%s", err, report, log.String())
	}
}
