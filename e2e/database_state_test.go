package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
)

// databaseState is what is compared of a database: by the server, each table's
// rows and each large object's content; by pg_dump, everything.
type databaseState struct {
	tables string // JSON, of databaseTable
	blobs  string // JSON: a hash by number
	dump   string // file: SQL, see comparable
}

// databaseTable is a table, its rows in no order.
type databaseTable struct {
	Schema, Table, Hash string
	Rows                int64
}

const databaseTables = `
SELECT coalesce(json_agg(json_build_object('schema', nspname, 'table', relname,
	'rows', (xpath('//n/text()', x))[1]::text::bigint, 'hash', (xpath('//h/text()', x))[1]::text) ORDER BY nspname, relname), '[]')
FROM (SELECT nspname, relname, query_to_xml(format(
		'SELECT count(*) AS n, md5(string_agg(firn_row::text, chr(10) ORDER BY firn_row::text COLLATE "C")) AS h FROM ONLY %I.%I AS firn_row',
		nspname, relname), true, true, '') AS x
	FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
	WHERE relkind = 'r' AND nspname !~ '^pg_' AND nspname <> 'information_schema') AS every_table`

const databaseBlobs = `SELECT coalesce(json_object_agg(oid, md5(lo_get(oid)) ORDER BY oid), '{}') FROM pg_largeobject_metadata`

// state describes a database as it is now.
func (d *databases) state(database string) databaseState {
	d.Helper()
	s := databaseState{
		tables: d.server.Query(d, database, databaseTables),
		blobs:  d.server.Query(d, database, databaseBlobs),
		dump:   filepath.Join(d.tempDir(), database+".sql"),
	}
	d.client(`pg_dump --dbname="$1" >"$2.raw"`, d.address(database), s.dump)
	d.comparable(s.dump+".raw", s.dump)
	return s
}

// comparable copies a plain dump without the lines that are new each time, and
// with the rows of each table in order: a server need not keep the one in which
// it gets them.
func (d *databases) comparable(from, to string) {
	d.Helper()
	d.shell(`awk '/^\\(un)?restrict / { next }
		/^\\\.$/ { close("sort"); copying = 0 }
		copying { print | "sort"; next }
		{ print; fflush() }
		/ FROM stdin;$/ { copying = 1 }' "$1" >"$2"`, from, to)
}

// check compares a database with what another one was.
func (d *databases) check(database string, want databaseState) {
	d.Helper()
	got := d.state(database)
	if got.tables != want.tables {
		d.Errorf("tables\n%s\nnot\n%s", got.tables, want.tables)
	}
	if got.blobs != want.blobs {
		d.Errorf("large objects\n%s\nnot\n%s", got.blobs, want.blobs)
	}
	d.sameText(got.dump, want.dump)
}

// sameText compares two dumps.
func (d *databases) sameText(got, want string) {
	d.Helper()
	diff, stderr, code := d.run(nil, "diff", "--text", want, got)
	if code != 0 {
		d.Errorf("the dumps differ:\n%.2000s%s", diff, stderr)
	}
}

// checkEmpty demands that nothing has been made in a database.
func (d *databases) checkEmpty(database string) {
	d.Helper()
	s := d.state(database)
	if s.tables != "[]" || s.blobs != "{ }" && s.blobs != "{}" {
		d.Errorf("tables %s, large objects %s", s.tables, s.blobs)
	}
	if n := d.server.Query(d, database, `SELECT count(*) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'`); n != "0" {
		d.Errorf("%s objects are in the database", n)
	}
}

// tables are the tables whose rows are in a dump.
func (d *databases) tables(s databaseState) (tables []databaseTable) {
	d.Helper()
	must(d, json.Unmarshal([]byte(s.tables), &tables))
	return tables
}

// rows are the numbers that a backup of this state records.
func (d *databases) rows(s databaseState) databaseRows {
	d.Helper()
	rows := databaseRows{}
	for _, table := range d.tables(s) {
		if rows[table.Schema] == nil {
			rows[table.Schema] = map[string]int64{}
		}
		rows[table.Schema][table.Table] = table.Rows
	}
	var blobs map[string]string
	must(d, json.Unmarshal([]byte(s.blobs), &blobs))
	if len(blobs) > 0 {
		rows["pg_catalog"] = map[string]int64{"pg_largeobject_metadata": int64(len(blobs))}
	}
	return rows
}

// recorded are the numbers in a backup's list, of which there is one line.
func (d *databases) recorded(what, list string) (l line, rows databaseRows) {
	d.Helper()
	lines := parseList(d, what, list)
	if len(lines) != 1 {
		d.Fatalf("%s lists %d files", what, len(lines))
	}
	must(d, json.Unmarshal([]byte(lines[0].extra["rows"]), &rows))
	if canonical, err := json.Marshal(rows); err != nil || string(canonical) != lines[0].extra["rows"] {
		d.Errorf("%s: rows=%s is not sorted, %v", what, lines[0].extra["rows"], err)
	}
	return lines[0], rows
}

func (d *databases) tempDir() string {
	d.Helper()
	dir, err := os.MkdirTemp(d.dir, "")
	must(d, err)
	return dir
}

// roles are those of all databases, sorted.
func (d *databases) roles() (roles []string) {
	for role := range d.names {
		roles = append(roles, role)
	}
	slices.Sort(roles)
	return roles
}
