package postgres

import (
	"slices"
	"strings"
	"testing"
)

// furnished has an object of every kind.
const furnished = `
CREATE SCHEMA "other Schema";
CREATE TABLE "other Schema".t(i int);
CREATE TABLE jobs(id serial PRIMARY KEY, other int GENERATED ALWAYS AS IDENTITY, name text UNIQUE);
CREATE TABLE parts(i int) PARTITION BY RANGE (i);
CREATE TABLE part PARTITION OF parts DEFAULT;
CREATE TABLE child() INHERITS (jobs);
CREATE INDEX indexed ON jobs(name);
CREATE STATISTICS stats ON id, other FROM jobs;
CREATE SEQUENCE alone;
CREATE VIEW jobs_view AS SELECT * FROM jobs;
CREATE MATERIALIZED VIEW jobs_seen AS SELECT * FROM jobs;
CREATE TYPE pair AS (a int, b int);
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TYPE span AS RANGE (subtype = int);
CREATE TYPE shell;
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE FUNCTION f(pair, text DEFAULT ')') RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION event() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE TRIGGER touch BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION trigger();
CREATE PROCEDURE p(int) LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION nothing(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE AGGREGATE lonely(*) (SFUNC = nothing, STYPE = int);
CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int);
CREATE OPERATOR ### (FUNCTION = int4pl, LEFTARG = int, RIGHTARG = int);
CREATE OPERATOR ### (FUNCTION = nothing, RIGHTARG = int);
CREATE OPERATOR CLASS ops FOR TYPE int USING btree AS OPERATOR 1 <, FUNCTION 1 btint4cmp(int, int);
CREATE COLLATION coll FROM "C";
CREATE CONVERSION conv FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE TEXT SEARCH CONFIGURATION search (COPY = simple);
CREATE TEXT SEARCH DICTIONARY dict (TEMPLATE = simple);
CREATE FOREIGN DATA WRAPPER wrapper;
CREATE SERVER far FOREIGN DATA WRAPPER wrapper;
CREATE FOREIGN TABLE distant(i int) SERVER far;
CREATE PUBLICATION news FOR TABLE jobs;
CREATE EVENT TRIGGER noticed ON ddl_command_end EXECUTE FUNCTION event();
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO public;
SELECT lo_create(0), lo_create(0)`

func objects(t *testing.T, d *Database) []string {
	t.Helper()
	names, err := connect(t, d).Objects(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestObjects(t *testing.T) {
	d, _ := newDatabase(t, furnished)
	got := objects(t, d)
	for _, want := range []string{
		`schema "other Schema"`, "table public.jobs", "table public.parts", "table public.child", "sequence public.alone",
		"view public.jobs_view", "materialized view public.jobs_seen", "foreign table public.distant",
		"type public.pair", "type public.mood", "type public.span", "type public.shell", "type public.positive",
		"function public.f(public.pair,pg_catalog.text)", "procedure public.p(integer)",
		"aggregate public.total(integer)", "operator public.###(integer,integer)", "operator class public.ops USING btree",
		"collation public.coll", "conversion public.conv", "text search configuration public.search",
		"text search dictionary public.dict", "statistics object public.stats",
		"foreign-data wrapper wrapper", "server far", "publication news", "event trigger noticed", "2 large objects",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is missing", want)
		}
	}
	for _, name := range got {
		for _, not := range []string{"indexed", "jobs_id_seq", "public.part", "touch", "pg_toast", "plpgsql", `Schema".t`} {
			if strings.HasSuffix(name, not) {
				t.Errorf("%s goes with another object", name)
			}
		}
	}
}

func TestObjectsOfEmptyDatabase(t *testing.T) {
	fresh, _ := newDatabase(t)
	without, _ := newDatabase(t, "DROP SCHEMA public")
	extended, _ := newDatabase(t, "CREATE EXTENSION pg_trgm; CREATE EXTENSION postgres_fdw")
	// Until PostgreSQL 14 the schema belonged to the user who made the cluster.
	older, _ := newDatabase(t, "ALTER SCHEMA public OWNER TO "+server.User+"; GRANT CREATE ON SCHEMA public TO public")
	template := address(t, "template1")
	for _, d := range []*Database{fresh, without, extended, older, template} {
		if got := objects(t, d); len(got) != 0 {
			t.Errorf("objects %q", got)
		}
	}
}

// What a user made of an extension is the user's; an extension goes with the
// schema that was made for it.
func TestObjectsBesideExtensions(t *testing.T) {
	d, _ := newDatabase(t, `CREATE SCHEMA mine; CREATE EXTENSION pg_trgm SCHEMA mine;
		CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw`)
	if got := objects(t, d); !slices.Equal(got, []string{"schema mine", "server far"}) {
		t.Errorf("objects %q", got)
	}
}

func TestDropStatements(t *testing.T) {
	d, name := newDatabase(t, furnished, "CREATE EXTENSION pg_trgm")
	c := connect(t, d)
	rows, err := c.query(t.Context(), userObjects)
	if err != nil {
		t.Fatal(err)
	}
	var statements []string
	for _, row := range rows {
		statements = append(statements, row[2])
	}
	// In one transaction, and in both orders: what went along with another is no error.
	for _, order := range []func(){func() {}, func() { slices.Reverse(statements) }} {
		order()
		server.Exec(t, name, "BEGIN;"+strings.Join(statements, ";\n")+"; ROLLBACK")
	}
	server.Exec(t, name, strings.Join(statements, ";\n"))
	left := server.Query(t, name, `
		SELECT string_agg(pg_describe_object(d.classid, d.objid, 0), ', ') FROM pg_depend d
		WHERE refclassid = 'pg_namespace'::regclass AND refobjid = 'public'::regnamespace
			AND classid NOT IN ('pg_extension'::regclass, 'pg_default_acl'::regclass) AND NOT EXISTS (
				SELECT FROM pg_depend e WHERE e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e')`)
	if got := objects(t, d); len(got) != 0 || left != "" {
		t.Errorf("left: %q, %s", got, left)
	}
	if got := server.Query(t, name, "SELECT count(*) FROM pg_extension WHERE extname = 'pg_trgm'"); got != "1" {
		t.Error("the extension is gone")
	}
	if got := server.Query(t, name, "SELECT count(*) FROM pg_namespace WHERE nspname = 'public'"); got != "1" {
		t.Error("the schema public is gone")
	}
}
