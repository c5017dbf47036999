package postgres

import (
	"context"
	"fmt"
	"strings"
)

// Rows are how many rows each table has: schema, table, rows. Large objects are
// those of the table pg_catalog.pg_largeobject_metadata. What is not UTF-8 in a
// name is replaced by U+FFFD.
type Rows map[string]map[string]int64

// tablesWithRows are the tables whose rows pg_dump writes, with the name as SQL
// needs it. The parents of partitions ('p') have none of their own; temporary
// tables are in a schema pg_temp_…; an extension's come with the extension.
const tablesWithRows = `
SELECT n.nspname, c.relname, pg_catalog.format('%I.%I', n.nspname, c.relname)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
	AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
		WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2`

const largeObjects = "pg_catalog.pg_largeobject_metadata"

// CountRows counts the rows of every table whose rows are in a dump. A table
// that may not be read is an error: the dump would fail as well.
func (c *Conn) CountRows(ctx context.Context) (Rows, error) {
	tables, err := c.query(ctx, tablesWithRows)
	if err != nil {
		return nil, fmt.Errorf("list the tables of %s: %w", c.database, err)
	}
	counts := Rows{}
	for _, t := range tables {
		n, err := c.count(ctx, t[2])
		if err != nil {
			return nil, err
		}
		counts.add(t[0], t[1], n)
	}
	n, err := c.count(ctx, largeObjects)
	if err != nil {
		return nil, err
	}
	if n > 0 {
		schema, name, _ := strings.Cut(largeObjects, ".")
		counts.add(schema, name, n)
	}
	return counts, nil
}

// count counts the rows of a table, without those of tables that inherit it.
func (c *Conn) count(ctx context.Context, quoted string) (int64, error) {
	n, err := c.number(ctx, "SELECT pg_catalog.count(*) FROM ONLY "+quoted)
	if err != nil {
		if isDenied(err) {
			err = fmt.Errorf("%w: %w", ErrDenied, err)
		}
		return 0, fmt.Errorf("count the rows of %s in %s as user %s: %w",
			strings.ToValidUTF8(quoted, "\uFFFD"), c.database, c.user, err)
	}
	return n, nil
}

// Total is what all of the tables have together.
type Total struct {
	Tables       int   `json:"tables"`
	Rows         int64 `json:"rows"`
	LargeObjects int64 `json:"largeObjects"`
}

// Total sums up.
func (r Rows) Total() (t Total) {
	for schema, tables := range r {
		for table, n := range tables {
			if schema+"."+table == largeObjects {
				t.LargeObjects = n
				continue
			}
			t.Tables++
			t.Rows += n
		}
	}
	return t
}

// String is for people: "12 tables, 500000 rows, 3 large objects".
func (t Total) String() string {
	s := fmt.Sprintf("%d tables, %d rows", t.Tables, t.Rows)
	if t.LargeObjects > 0 {
		s += fmt.Sprintf(", %d large objects", t.LargeObjects)
	}
	return s
}

// add sums up the tables whose names became the same.
func (r Rows) add(schema, name string, n int64) {
	schema, name = strings.ToValidUTF8(schema, "\uFFFD"), strings.ToValidUTF8(name, "\uFFFD")
	if r[schema] == nil {
		r[schema] = map[string]int64{}
	}
	r[schema][name] += n
}
