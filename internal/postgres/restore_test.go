package postgres

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sync/errgroup"
)

// richSQL is a database that has some of everything, and texts that look like
// what a script leaves out.
var richSQL = []string{
	`CREATE EXTENSION hstore`,
	`CREATE SCHEMA "a ""b"; CREATE SCHEMA empty`,
	`CREATE TYPE public.mood AS ENUM ('good', 'it''s')`,
	`CREATE TABLE public.lines (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, line text, mood public.mood DEFAULT 'it''s', h public.hstore)`,
	`INSERT INTO public.lines (line) SELECT unnest(ARRAY['BEGIN;', '', 'SELECT pg_catalog.lo_open(''1'', 131072);', 'COMMIT;', '\.', '$$ ''', NULL])`,
	`CREATE TABLE public.only_lines (line text)`,
	`INSERT INTO public.only_lines SELECT line FROM public.lines`,
	`INSERT INTO public.only_lines SELECT repeat(md5(i::text), 10) FROM generate_series(1, 300) i`,
	`CREATE TABLE "a ""b"."C;d" ("x' y" int REFERENCES public.lines (id) DEFERRABLE INITIALLY DEFERRED, p text) PARTITION BY LIST (p)`,
	`CREATE TABLE "a ""b".p1 PARTITION OF "a ""b"."C;d" FOR VALUES IN ('1')`,
	`INSERT INTO "a ""b"."C;d" SELECT 1, '1' FROM generate_series(1, 20)`,
	`CREATE VIEW public.seen AS SELECT line, 'BEGIN;' AS b FROM public.lines WHERE line <> 'it''s'`,
	`CREATE MATERIALIZED VIEW public.kept AS SELECT count(*) AS n FROM public.lines`,
	"CREATE FUNCTION public.f(int) RETURNS text LANGUAGE sql AS $f$ SELECT '\nCOPY public.lines FROM stdin;\nBEGIN;\n\nSELECT pg_catalog.lo_open(''1'', 1);\nCOMMIT;\n\\.\n$$' $f$",
	"COMMENT ON TABLE public.lines IS 'it''s\nCOPY public.lines FROM stdin;\nBEGIN;\n\nSELECT pg_catalog.lo_open(1);\nCOMMIT;\n'",
	`SELECT lo_from_bytea(16001, 'first'), lo_from_bytea(16002, decode(repeat('00ff', 20000), 'hex'))`,
	`CREATE TABLE public.objects (id oid); INSERT INTO public.objects VALUES (16001), (16002)`,
	`ALTER DEFAULT PRIVILEGES IN SCHEMA empty GRANT SELECT ON TABLES TO PUBLIC`,
}

// dumpOf is a dump of a database.
func dumpOf(t testing.TB, d *Database, format Format) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := d.Dump(t.Context(), &b, DumpOptions{Tools: Tools{Dir: server.BinDir}, Server: connect(t, d).Version(), Format: format}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var keyOfDump = regexp.MustCompile(`(?m)^\\(un)?restrict \w+$`)

// contentOf is what tells two databases apart: all that a dump of it has.
func contentOf(t testing.TB, d *Database) string {
	t.Helper()
	return keyOfDump.ReplaceAllString(string(dumpOf(t, d, Plain)), "")
}

func restoreOptions(t testing.TB, d *Database) RestoreOptions {
	t.Helper()
	return RestoreOptions{Tools: Tools{Dir: server.BinDir}, Server: connect(t, d).Version(), Logger: slog.New(slog.DiscardHandler)}
}

func objectsOf(t testing.TB, d *Database) []string {
	t.Helper()
	c, err := d.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	names, err := c.Objects(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func checkEmpty(t testing.TB, d *Database) {
	t.Helper()
	if names := objectsOf(t, d); len(names) > 0 {
		t.Errorf("it left %q", names)
	}
}

func TestRestoreGivesTheSame(t *testing.T) {
	source, _ := newDatabase(t, richSQL...)
	want := contentOf(t, source)
	for _, format := range []Format{Plain, Custom} {
		dump := dumpOf(t, source, format)
		for name, reader := range map[string]io.Reader{"": bytes.NewReader(dump), " in small parts": iotest.HalfReader(bytes.NewReader(dump))} {
			target, _ := newDatabase(t)
			if err := target.Restore(t.Context(), reader, restoreOptions(t, target)); err != nil {
				t.Fatalf("%s%s: %v", format, name, err)
			}
			if got := contentOf(t, target); got != want {
				t.Errorf("%s%s: the restored database is another one:\n%s", format, name, got)
			}
		}
	}
}

// What is in the database goes, whatever it is; extensions stay.
func TestRestoreClean(t *testing.T) {
	source, _ := newDatabase(t, `CREATE TABLE public.lines (other text); INSERT INTO public.lines VALUES ('new')`)
	want := contentOf(t, source)
	for _, format := range []Format{Plain, Custom} {
		target, name := newDatabase(t, richSQL...)
		o := restoreOptions(t, target)
		if err := target.Restore(t.Context(), bytes.NewReader(dumpOf(t, source, format)), o); err == nil {
			t.Errorf("%s: a dump was restored over what is there", format)
		}
		o.Clean = true
		if err := target.Restore(t.Context(), bytes.NewReader(dumpOf(t, source, format)), o); err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		if server.Query(t, name, `SELECT 'a=>1'::hstore -> 'a'`) != "1" {
			t.Errorf("%s: the extension is gone", format)
		}
		server.Exec(t, name, `DROP EXTENSION hstore`)
		if got := contentOf(t, target); got != want {
			t.Errorf("%s: something else is in the database:\n%s", format, got)
		}
	}
}

// cuts are places in a dump to end it at: some at the same distance, and those
// where it would be worst.
func cuts(dump []byte, distance int) []int {
	places := []int{0, 1, len(archiveMagic), len(dump) - 1, len(dump)}
	for _, text := range []string{"\nCOPY ", "\n\\.", "\nBEGIN;\n\nSELECT pg_catalog.lo_open", "\nCOMMIT;\n\n", "\nCOMMIT", "COMMENT ON TABLE public.lines IS 'it'"} {
		if at := bytes.LastIndex(dump, []byte(text)); at >= 0 {
			places = append(places, at, at+len(text)-1, at+len(text))
		}
	}
	for at := distance; at < len(dump); at += distance {
		places = append(places, at)
	}
	return places
}

// A dump that cannot be read to its end is not restored at all, also when all of
// it was read and only then found to be wrong.
func TestRestoreOfADumpThatBreaks(t *testing.T) {
	source, _ := newDatabase(t, richSQL...)
	broken := errors.New("broken")
	for _, format := range []Format{Plain, Custom} {
		dump := dumpOf(t, source, format)
		empty, _ := newDatabase(t)
		full, _ := newDatabase(t, `CREATE TABLE public.old (a int); INSERT INTO public.old VALUES (1)`, `SELECT lo_from_bytea(1, 'old')`)
		want, o := contentOf(t, full), restoreOptions(t, full)
		for _, cut := range cuts(dump, len(dump)/15) {
			for _, target := range []*Database{empty, full} {
				o.Clean = target == full
				err := target.Restore(t.Context(), io.MultiReader(bytes.NewReader(dump[:cut]), iotest.ErrReader(broken)), o)
				if !errors.Is(err, broken) {
					t.Errorf("%s, cut after %d bytes: %v", format, cut, err)
				}
			}
			if names := objectsOf(t, empty); len(names) > 0 {
				t.Fatalf("%s, cut after %d bytes: it left %q", format, cut, names)
			}
		}
		if got := contentOf(t, full); got != want {
			t.Errorf("%s: what was there is no more, but:\n%s", format, got)
		}
	}
}

// A reader may not know that a dump was cut: when that is in the middle of
// something, nothing is restored either.
func TestRestoreOfADumpThatWasCut(t *testing.T) {
	const table = "CREATE TABLE t (a text);\n"
	for _, dump := range []string{
		"", table + "COPY t FROM stdin;\n", table + "COPY t FROM stdin;\nrow", table + "COPY t FROM stdin;\nrow\n", table + "COPY t FROM stdin;\nrow\n\\",
		table + "INSERT INTO t VALUES ('", table + "CREATE TABLE u (", table + "SELECT $$", table + "CREATE TABLE u ()",
		table + "BEGIN;\n\nSELECT pg_catalog.lo_open(lo_create(1), 131072);\nCOMMIT;", table + "BEGIN;\n\nSELECT pg_catalog.lo_open(lo_create(1), 131072);\nCOMMIT",
	} {
		target, _ := newDatabase(t)
		if err := target.Restore(t.Context(), strings.NewReader(dump), restoreOptions(t, target)); err == nil {
			t.Errorf("%q was restored", dump)
		}
		checkEmpty(t, target)
	}
	target, _ := newDatabase(t)
	err := target.Restore(t.Context(), strings.NewReader(table+"COPY t FROM stdin;\nrow\n"), restoreOptions(t, target))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("in the middle of a table: %v", err)
	}
}

// pg_restore does not read to the end, but the end is what tells of damage.
func TestRestoreReadsAnArchiveToItsEnd(t *testing.T) {
	source, _ := newDatabase(t, richSQL...)
	dump, more := dumpOf(t, source, Custom), make([]byte, 1<<20)
	broken := errors.New("broken")
	target, _ := newDatabase(t)
	o := restoreOptions(t, target)
	err := target.Restore(t.Context(), io.MultiReader(bytes.NewReader(dump), bytes.NewReader(more), iotest.ErrReader(broken)), o)
	if !errors.Is(err, broken) {
		t.Errorf("broken behind the last table: %v", err)
	}
	checkEmpty(t, target)
	if err := target.Restore(t.Context(), io.MultiReader(bytes.NewReader(dump), bytes.NewReader(more)), o); err != nil {
		t.Errorf("with something behind the last table: %v", err)
	}
}

// psql may take its time to read what pg_restore has written before it ended,
// as much of it as there is space for on the way.
func TestRestoreOfASlowArchive(t *testing.T) {
	var group errgroup.Group
	for size := 256; size < 512; size += 16 { // KiB
		target, _ := newDatabase(t)
		o := restoreOptions(t, target)
		sql := fmt.Sprintf("SELECT pg_sleep(%g);\n", (patience+2*time.Second).Seconds()) + strings.Repeat("-- "+strings.Repeat("x", 1020)+"\n", size)
		dir := standIn(t, "pg_restore", `[ "$1" = --version ] && echo "pg_restore (PostgreSQL) 15.18" && exit; exec cat "$0.sql"`)
		if err := os.WriteFile(filepath.Join(dir, "pg_restore.sql"), []byte(sql), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(server.BinDir, "psql"), filepath.Join(dir, "psql")); err != nil {
			t.Fatal(err)
		}
		o.Tools = Tools{Dir: dir}
		group.Go(func() error {
			if err := target.Restore(t.Context(), strings.NewReader(archiveMagic), o); err != nil {
				return fmt.Errorf("%d KiB: %w", size, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

// The last line of a dump need not end.
func TestRestoreWithoutALineEnd(t *testing.T) {
	for _, dump := range []string{"CREATE TABLE t ();", "CREATE TABLE t ();\n-- end", "CREATE TABLE t (a int);\nCOPY t FROM stdin;\n1\n\\."} {
		target, name := newDatabase(t)
		if err := target.Restore(t.Context(), strings.NewReader(dump), restoreOptions(t, target)); err != nil {
			t.Errorf("%q: %v", dump, err)
		}
		if server.Query(t, name, "SELECT count(*) FROM pg_class WHERE relname = 't'") != "1" {
			t.Errorf("%q was not committed", dump)
		}
	}
}

// Errors say what is wrong, and what to do where it is not the dump.
func TestRestoreErrors(t *testing.T) {
	empty, _ := newDatabase(t)
	unsupported := dumpOf(t, empty, Custom)
	unsupported[len(archiveMagic)+1] = 99
	for want, dump := range map[string]string{
		`role "nobody here" does not exist`: "CREATE TABLE t ();\nALTER TABLE t OWNER TO \"nobody here\";\n",
		"create the role first":             "CREATE TABLE t ();\nALTER TABLE t OWNER TO \"nobody here\";\n",
		"division by zero":                  "SELECT 1/0;\n" + strings.Repeat("SELECT 1;\n", 1<<16),
		"unsupported version":               string(unsupported),
		"the dump is empty":                 "",
		"violates foreign key constraint": "CREATE TABLE t (a int PRIMARY KEY, b int REFERENCES t DEFERRABLE INITIALLY DEFERRED);\n" +
			"INSERT INTO t VALUES (1, 2);\n",
	} {
		target, _ := newDatabase(t)
		err := target.Restore(t.Context(), strings.NewReader(dump), restoreOptions(t, target))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), target.String()) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q is missing in: %v", want, err)
		}
		checkEmpty(t, target)
	}
	d, name := newDatabase(t)
	server.Exec(t, name, "CREATE ROLE nobody_much LOGIN PASSWORD 'secret'", "GRANT ALL ON SCHEMA public TO nobody_much")
	d.SetUser("nobody_much")
	d.SetPassword("secret")
	owned := "CREATE TABLE t ();\nALTER TABLE t OWNER TO " + server.User + ";\n"
	if err := d.Restore(t.Context(), strings.NewReader(owned), restoreOptions(t, d)); err == nil || !strings.Contains(err.Error(), "restore as that role") {
		t.Errorf("as one who may not give tables away: %v", err)
	}
	o := restoreOptions(t, empty)
	o.Tools = Tools{Dir: t.TempDir()}
	for _, dump := range [][]byte{[]byte("SELECT 1;"), dumpOf(t, empty, Custom)} {
		if err := empty.Restore(t.Context(), bytes.NewReader(dump), o); !errors.Is(err, ErrTool) {
			t.Errorf("without programs: %v", err)
		}
	}
	empty.SetPassword("wrong")
	if err := empty.Restore(t.Context(), slow(), o); err == nil || strings.Contains(err.Error(), "wrong") {
		t.Errorf("with a wrong password: %v", err)
	}
}

// A transaction locks each large object. Where that are more than the server has
// room for, nothing is restored with one, and everything without.
func TestRestoreOfManyLargeObjects(t *testing.T) {
	source, name := newDatabase(t, "SELECT lo_create(0) FROM generate_series(1, 3500)")
	dump := dumpOf(t, source, Plain)
	target, restored := newDatabase(t)
	o := restoreOptions(t, target)
	err := target.Restore(t.Context(), bytes.NewReader(dump), o)
	if err == nil || !strings.Contains(err.Error(), "without a transaction") {
		t.Errorf("in a transaction: %v", err)
	}
	checkEmpty(t, target)
	o.NoTransaction = true
	if err := target.Restore(t.Context(), bytes.NewReader(dump), o); err != nil {
		t.Error(err)
	}
	const objects = "SELECT md5(string_agg(oid::text, ' ' ORDER BY oid)) FROM pg_largeobject_metadata"
	if server.Query(t, restored, objects) != server.Query(t, name, objects) {
		t.Error("the restored large objects differ")
	}
}

func TestRestoreWithoutATransaction(t *testing.T) {
	source, _ := newDatabase(t, richSQL...)
	for _, format := range []Format{Plain, Custom} {
		target, _ := newDatabase(t)
		o := restoreOptions(t, target)
		o.NoTransaction = true
		if err := target.Restore(t.Context(), bytes.NewReader(dumpOf(t, source, format)), o); err != nil {
			t.Errorf("%s: %v", format, err)
		}
		if contentOf(t, target) != contentOf(t, source) {
			t.Errorf("%s: the restored database differs", format)
		}
	}
	// What is left behind is said.
	target, _ := newDatabase(t)
	o := restoreOptions(t, target)
	o.NoTransaction = true
	err := target.Restore(t.Context(), strings.NewReader("CREATE TABLE t ();\nSELECT 1/0;\n"), o)
	if err == nil || !strings.Contains(err.Error(), "division by zero") || !strings.Contains(err.Error(), "drop it") {
		t.Error(err)
	}
	if got := objectsOf(t, target); !slices.Equal(got, []string{"table public.t"}) {
		t.Errorf("there is %q", got)
	}
	o.Clean = true
	if err := target.Restore(t.Context(), strings.NewReader("SELECT 1;"), o); err == nil || len(objectsOf(t, target)) != 1 {
		t.Errorf("cleaned without a transaction: %v", err)
	}
}
