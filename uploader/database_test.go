package uploader

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/postgres"
	"github.com/chipster/firn/internal/postgres/postgrestest"
)

// TestDatabase shares one server among its parts.
func TestDatabase(t *testing.T) {
	server := postgrestest.New(t)
	name := server.CreateDatabase(t)
	server.Exec(t, name,
		"CREATE TABLE jobs AS SELECT i, md5(i::text) || md5((-i)::text) AS text FROM generate_series(1, 15000) i",
		`CREATE TABLE "odd	name" (i int)`,
		"SELECT lo_from_bytea(0, 'orphan')")
	database, err := postgres.ParseURL(server.URL(name))
	if err != nil {
		t.Fatal(err)
	}
	database.SetUser(server.User)
	database.SetPassword(server.Password)
	for _, test := range []struct {
		name string
		run  func(*databaseWorld)
	}{
		{"Formats", testFormats},
		{"BucketFailsAtEveryStep", testBucketFails},
		{"PgDumpFails", testPgDumpFails},
		{"Cancelled", testDumpCancelled},
		{"Clock", testDumpClock},
		{"Signed", testDumpSigned},
		{"OtherInstallation", testDumpOtherInstallation},
		{"OtherDatabase", testDumpOtherDatabase},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(&databaseWorld{newWorld(t), database, server.BinDir, server}) })
	}
}

type databaseWorld struct {
	*world
	database *postgres.Database
	binDir   string
	server   *postgrestest.Server
}

// dump runs the uploader an hour later.
func (w *databaseWorld) dump(change func(*DatabaseOptions)) (*DatabaseReport, error) {
	w.t.Helper()
	w.now = w.now.Add(time.Hour)
	now := w.now
	o := DatabaseOptions{
		Store: w.store, Role: "job-history", Database: w.database, now: func() time.Time { return now }, partSize: 64 << 10,
	}
	if change != nil {
		change(&o)
	}
	return RunDatabase(w.t.Context(), o)
}

// tools are those of the server, with scripts in the place of some.
func (w *databaseWorld) tools(scripts map[string]string) postgres.Tools {
	w.t.Helper()
	dir := w.t.TempDir()
	for _, name := range []string{"pg_dump", "vacuumlo"} {
		real := filepath.Join(w.binDir, name)
		script, ok := scripts[name]
		if !ok {
			script = `exec "$real" "$@"`
		}
		script = fmt.Sprintf("#!/bin/sh\nreal=%q\n[ \"$1\" = --version ] && exec \"$real\" --version\n%s\n", real, script)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			w.t.Fatal(err)
		}
	}
	return postgres.Tools{Dir: dir}
}

// mustLeaveNothing checks that a run that failed left nothing in the bucket.
func (w *databaseWorld) mustLeaveNothing(what string) {
	w.t.Helper()
	if keys := w.keys(); len(keys) != 0 {
		w.t.Errorf("%s, and left %v", what, keys)
	}
	if left, err := filepath.Glob(filepath.Join(w.bucket, ".firn-tmp", "*")); err != nil || len(left) != 0 {
		w.t.Errorf("%s, and left %v, %v", what, left, err)
	}
}

// read opens the dump of a backup from its package, as its list says.
func (w *databaseWorld) read(r *DatabaseReport) (manifest.Entry, []byte) {
	w.t.Helper()
	list := w.list(r.Backup)
	if len(list) != 1 {
		w.t.Fatalf("%d files in the list", len(list))
	}
	e := list[0]
	pkg := w.get(r.Backup + "/" + e.Package)
	members := tar.NewReader(bytes.NewReader(pkg))
	header, err := members.Next()
	if err != nil || header.Name != e.SealedPath || header.Size != e.SealedSize {
		w.t.Fatalf("the package's member is %+v, %v", header, err)
	}
	sealed, err := io.ReadAll(members)
	if err != nil || !bytes.Equal(sealed, pkg[e.Offset:e.Offset+e.SealedSize]) {
		w.t.Fatalf("the member is not at %d: %v", e.Offset, err)
	}
	if _, err := members.Next(); err != io.EOF {
		w.t.Errorf("there is more than one member: %v", err)
	}
	plain, err := opener(w.t, "curve").NewReader(bytes.NewReader(sealed), envelope.IsEncrypted(e.SealedPath))
	if err != nil {
		w.t.Fatal(err)
	}
	dump, err := io.ReadAll(plain)
	if err != nil || int64(len(dump)) != e.Size {
		w.t.Fatalf("%d bytes of %d: %v", len(dump), e.Size, err)
	}
	return e, dump
}

func testFormats(w *databaseWorld) {
	for _, test := range []struct {
		format           postgres.Format
		clean, encrypted bool
		begins, suffix   string
	}{
		{"", false, true, "--\n-- PostgreSQL database dump\n", ".sql"},
		{postgres.Plain, true, false, "--\n-- PostgreSQL database dump\n", ".sql"},
		{postgres.Custom, false, true, "PGDMP", ".dump"},
	} {
		var told int64
		r, err := w.dump(func(o *DatabaseOptions) {
			o.Format, o.Clean, o.Progress = test.format, test.clean, func(n int64) { told += n }
			if test.encrypted {
				o.Recipients = recipients(w.t, "curve")
			}
		})
		if err != nil {
			w.t.Fatal(err)
		}
		e, dump := w.read(r)
		if !bytes.HasPrefix(dump, []byte(test.begins)) || !bytes.Contains(dump, []byte("c4ca4238a0b923820dcc509a6f75849b")) {
			w.t.Errorf("%+v: the dump begins with %q", test, dump[:50])
		}
		if clean := bytes.Contains(dump, []byte("DROP TABLE IF EXISTS public.jobs;")); clean != test.clean && test.format != postgres.Custom {
			w.t.Errorf("%+v: it drops: %v", test, clean)
		}
		if !strings.HasPrefix(r.Backup, "job-history-db-backup_") || r.Path != r.Backup+test.suffix || e.Path != r.Path ||
			e.SealedPath != manifest.SealedPath(e.Path, map[bool]string{true: ".lz4.gpg", false: ".lz4"}[test.encrypted]) || e.Package != r.Backup+".tar" {
			w.t.Errorf("%+v: %+v, %+v", test, r, e)
		}
		if e.Mode != 0o600 || !e.HasMode || !e.Modified.Equal(w.now) || test.encrypted != (len(e.Key) == 16) || !test.encrypted && e.Key != "none" {
			w.t.Errorf("%+v: %+v", test, e.Details)
		}
		if r.Size != e.Size || r.Sealed != e.SealedSize || told != e.Size {
			w.t.Errorf("%+v: told of %d: %+v", test, told, r)
		}
		for _, rows := range []postgres.Rows{r.Rows, e.Rows} {
			if rows["public"]["jobs"] != 15000 || rows["pg_catalog"]["pg_largeobject_metadata"] != 1 || len(rows["public"]) != 2 {
				w.t.Errorf("%+v: rows %v", test, rows)
			}
			if n, ok := rows["public"]["odd\tname"]; n != 0 || !ok {
				w.t.Errorf("%+v: rows %v", test, rows)
			}
		}
	}
}

// Wherever the bucket fails, the run ends with its error and leaves nothing;
// and once it does not fail, the backup is there.
func testBucketFails(w *databaseWorld) {
	for n := int64(0); ; n++ {
		r, err := w.dump(func(o *DatabaseOptions) { o.Store = failAt(w.store, n) })
		if err == nil {
			w.read(r)
			if n < 8 {
				w.t.Errorf("only %d writes: the test misses parts", n)
			}
			return
		}
		if !errors.Is(err, errBucket) {
			w.t.Fatalf("write %d: %v", n, err)
		}
		w.mustLeaveNothing(fmt.Sprintf("write %d failed", n))
	}
}

func testPgDumpFails(w *databaseWorld) {
	for what, test := range map[string]struct{ script, says string }{
		"killed half way":  {`"$real" "$@" | head -c 500000; kill -9 $$`, "signal 9"},
		"fails at the end": {`"$real" "$@"; echo "pg_dump: error: no more" >&2; exit 1`, "no more"},
		"fails at once":    {"exit 7", "7"},
		"writes nothing":   {"exit 0", "no end"},
		"hides its end":    {`"$real" "$@" | head -c 500000; exit 0`, "no end"},
	} {
		_, err := w.dump(func(o *DatabaseOptions) { o.Tools = w.tools(map[string]string{"pg_dump": test.script}) })
		if err == nil || !strings.Contains(err.Error(), test.says) {
			w.t.Errorf("%s: %v", what, err)
		}
		w.mustLeaveNothing("pg_dump " + what)
	}
}

func testDumpCancelled(w *databaseWorld) {
	ctx, cancel := context.WithCancel(w.t.Context())
	_, err := RunDatabase(ctx, DatabaseOptions{
		Store: w.store, Role: "auth", Database: w.database, partSize: 64 << 10, Progress: func(int64) { cancel() },
	})
	if !errors.Is(err, context.Canceled) {
		w.t.Error(err)
	}
	w.mustLeaveNothing("cancelled")
}

func testDumpClock(w *databaseWorld) {
	if _, err := w.dump(nil); err != nil {
		w.t.Fatal(err)
	}
	w.now = w.now.Add(-25 * time.Hour)
	if _, err := w.dump(nil); !errors.Is(err, ErrClock) {
		w.t.Error(err)
	}
}

func testDumpSigned(w *databaseWorld) {
	r, err := w.dump(func(o *DatabaseOptions) { o.Signer = signerOf(w.t, "curve") })
	if err != nil {
		w.t.Fatal(err)
	}
	w.verifyWithGPG(r.Backup + "/backup-info")
	w.checkBucket(r.Backup)
}

func testDumpOtherInstallation(w *databaseWorld) {
	first, err := w.dump(func(o *DatabaseOptions) { o.Installation = "one" })
	if err != nil {
		w.t.Fatal(err)
	}
	before := w.keys()
	_, err = w.dump(func(o *DatabaseOptions) { o.Installation = "two" })
	if !errors.Is(err, ErrOtherInstallation) || !strings.Contains(err.Error(), "job-history-db-backup by the installation one, and this is two:") {
		w.t.Error(err)
	}
	if keys := w.keys(); !slices.Equal(keys, before) {
		w.t.Errorf("%q became %q", before, keys)
	}
	second, err := w.dump(func(o *DatabaseOptions) { o.Installation = "one" })
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range []*DatabaseReport{first, second} {
		if e, _ := w.read(r); e.Installation != "one" {
			w.t.Errorf("%s is of %q", r.Backup, e.Installation)
		}
	}
}

// Another database of the same role is another installation, also for a user who
// may do nothing but connect. Where nobody may ask, none is named.
func testDumpOtherDatabase(w *databaseWorld) {
	if _, err := w.dump(nil); err != nil {
		w.t.Fatal(err)
	}
	other := w.server.CreateDatabase(w.t)
	database, err := postgres.ParseURL(w.server.URL(other))
	if err != nil {
		w.t.Fatal(err)
	}
	w.server.Exec(w.t, "postgres", "CREATE ROLE nobody LOGIN PASSWORD 'x'")
	database.SetUser("nobody")
	database.SetPassword("x")
	if _, err := w.dump(func(o *DatabaseOptions) { o.Database = database }); !errors.Is(err, ErrOtherInstallation) {
		w.t.Error(err)
	}
	w.server.Exec(w.t, other, "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_control_system() FROM PUBLIC")
	r, err := w.dump(func(o *DatabaseOptions) { o.Database = database })
	if err != nil {
		w.t.Fatal(err)
	}
	if e, _ := w.read(r); e.Installation != "" {
		w.t.Errorf("%q", e.Installation)
	}
}

// A storage of files must not be taken for a database, whose old versions are
// deleted by another rule.
func TestFilesAreNoDatabase(t *testing.T) {
	w := newWorld(t)
	w.write("a", random(10))
	_, err := w.backup(func(o *Options) { o.Name = "auth-db-backup" })
	if err == nil || !strings.Contains(err.Error(), "auth-db-backup") || len(w.keys()) != 0 {
		t.Errorf("%v, %v", err, w.keys())
	}
}
