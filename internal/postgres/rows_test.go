package postgres

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func count(t *testing.T, d *Database) Rows {
	t.Helper()
	rows, err := connect(t, d).CountRows(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func expectRows(t *testing.T, got, want Rows) {
	t.Helper()
	if !maps.EqualFunc(got, want, maps.Equal[map[string]int64, map[string]int64]) {
		t.Errorf("rows are %v; want %v", got, want)
	}
}

func TestCountRows(t *testing.T) {
	d, _ := newDatabase(t, `
		CREATE TABLE empty();
		CREATE TABLE plain AS SELECT generate_series(1, 1000);
		CREATE UNLOGGED TABLE unlogged AS SELECT generate_series(1, 5);
		CREATE SCHEMA "we""ird. schema";
		CREATE TABLE "we""ird. schema"."Ta'ble.\ with	tab
and newline ä €" AS SELECT generate_series(1, 3);

		CREATE TABLE parts(i int) PARTITION BY RANGE (i);
		CREATE TABLE low PARTITION OF parts FOR VALUES FROM (0) TO (10);
		CREATE TABLE high PARTITION OF parts FOR VALUES FROM (10) TO (100) PARTITION BY RANGE (i);
		CREATE TABLE higher PARTITION OF high DEFAULT;
		INSERT INTO parts SELECT generate_series(5, 24);

		CREATE TABLE parent(i int);
		CREATE TABLE child() INHERITS (parent);
		INSERT INTO parent VALUES (1), (2);
		INSERT INTO child VALUES (1), (2), (3);

		CREATE VIEW view AS SELECT 1;
		CREATE MATERIALIZED VIEW materialized AS SELECT 1;
		SELECT lo_create(0), lo_create(0)`)
	expectRows(t, count(t, d), Rows{
		"public": {
			"empty": 0, "plain": 1000, "unlogged": 5, "low": 5, "higher": 15, "parent": 2, "child": 3,
		},
		`we"ird. schema`: {"Ta'ble.\\ with\ttab\nand newline ä €": 3},
		"pg_catalog":     {"pg_largeobject_metadata": 2},
	})
}

func TestCountRowsOfEmptyDatabase(t *testing.T) {
	d, _ := newDatabase(t)
	expectRows(t, count(t, d), Rows{})
}

// What is of the session alone, or comes with an extension, is not in a dump.
func TestCountRowsLeavesOut(t *testing.T) {
	d, _ := newDatabase(t, `
		CREATE EXTENSION pg_trgm;
		CREATE TABLE extended(i int);
		INSERT INTO extended VALUES (1);
		ALTER EXTENSION pg_trgm ADD TABLE extended`)
	c := connect(t, d)
	if _, err := c.query(t.Context(), "CREATE TEMP TABLE temporary AS SELECT 1"); err != nil {
		t.Fatal(err)
	}
	rows, err := c.CountRows(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	expectRows(t, rows, Rows{})
}

func TestCountRowsOfOldEncodings(t *testing.T) {
	for encoding, want := range map[string]string{"LATIN1": "tä", "SQL_ASCII": "t\uFFFD"} {
		name := strings.ToLower("old_" + encoding)
		server.Exec(t, "postgres", "CREATE DATABASE "+name+" TEMPLATE template0 LOCALE 'C' ENCODING '"+encoding+"'")
		server.Exec(t, name, "SET client_encoding = '"+encoding+"'; CREATE TABLE \"t\xe4\" AS SELECT generate_series(1, 2)")
		expectRows(t, count(t, address(t, name)), Rows{"public": {want: 2}})
		objects, err := connect(t, address(t, name)).Objects(t.Context())
		if err != nil || len(objects) != 1 || objects[0] != `table public."`+want+`"` && objects[0] != "table public."+want {
			t.Errorf("%s: objects %q, error %v", encoding, objects, err)
		}
	}
}

func TestCountRowsOfForbiddenTable(t *testing.T) {
	_, name := newDatabase(t, "CREATE TABLE allowed(); CREATE TABLE secret(); GRANT SELECT ON allowed TO "+reader(t))
	d := address(t, name)
	d.SetUser("reader")
	d.SetPassword("r3ader")
	_, err := connect(t, d).CountRows(t.Context())
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pg.Code != "42501" || !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), "public.secret in "+d.String()+" as user reader: ") {
		t.Errorf("error %v", err)
	}
}

// A policy would hide rows from the counts.
func TestCountRowsHidesNone(t *testing.T) {
	_, name := newDatabase(t, `CREATE TABLE mine AS SELECT generate_series(1, 3) i;
		ALTER TABLE mine ENABLE ROW LEVEL SECURITY;
		CREATE POLICY one ON mine USING (i = 1);
		GRANT SELECT ON mine TO `+reader(t))
	d := address(t, name)
	d.SetUser("reader")
	d.SetPassword("r3ader")
	if rows, err := connect(t, d).CountRows(t.Context()); err == nil || !strings.Contains(err.Error(), "row-level security") {
		t.Errorf("rows %v, error %v", rows, err)
	}
}

// reader is a user without rights.
func reader(t *testing.T) string {
	t.Helper()
	server.Exec(t, "postgres", `DO $$ BEGIN CREATE ROLE reader LOGIN PASSWORD 'r3ader'; EXCEPTION WHEN duplicate_object THEN END $$`)
	return "reader"
}

func TestSnapshotSeesOneMoment(t *testing.T) {
	d, name := newDatabase(t, "CREATE TABLE t AS SELECT 1 AS before")
	c := connect(t, d)
	snapshot, err := c.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	server.Exec(t, name, "INSERT INTO t VALUES (222222)", "CREATE TABLE later AS SELECT 333333 AS after", "SELECT lo_create(0)")
	rows, err := c.CountRows(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	expectRows(t, rows, Rows{"public": {"t": 1}})
	text := dump(t, d, DumpOptions{Server: version, Snapshot: snapshot})
	if !strings.Contains(text, "COPY public.t (before)") || strings.Contains(text, "222222") || strings.Contains(text, "later") {
		t.Errorf("the dump is of another moment:\n%s", text)
	}
}
