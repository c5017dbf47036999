package postgres

import (
	"context"
	"fmt"
	"strings"
)

// userObjects is SQL for what users have made in a database: its kind, its name
// as SQL writes it, and the statement that drops it. An extension's members, the
// schema public itself, and what goes with its table, type or schema are not
// listed. The statements may run in any order, as none misses what went along
// with something else.
const userObjects = `
WITH own AS (
	SELECT 'pg_catalog.pg_namespace'::regclass::oid AS classid, oid AS objid FROM pg_catalog.pg_namespace
	WHERE nspname NOT IN ('public', 'information_schema') AND nspname !~ '^pg_'
	UNION ALL
	SELECT DISTINCT d.classid, d.objid
	FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_namespace n ON n.oid = d.refobjid
	WHERE d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.deptype = 'n' AND n.nspname = 'public'
		AND d.classid <> 'pg_catalog.pg_extension'::regclass
	UNION ALL
	SELECT 'pg_catalog.pg_event_trigger'::regclass, oid FROM pg_catalog.pg_event_trigger
	UNION ALL
	SELECT 'pg_catalog.pg_publication'::regclass, oid FROM pg_catalog.pg_publication
	UNION ALL
	SELECT 'pg_catalog.pg_foreign_data_wrapper'::regclass, oid FROM pg_catalog.pg_foreign_data_wrapper
	UNION ALL
	SELECT 'pg_catalog.pg_foreign_server'::regclass, oid FROM pg_catalog.pg_foreign_server
), named AS (
	SELECT i.type, i.identity
	FROM own, pg_catalog.pg_identify_object(own.classid, own.objid, 0) i
	WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend p
		WHERE p.classid = own.classid AND p.objid = own.objid
			AND (p.deptype IN ('e', 'i') OR p.deptype = 'a' AND p.classid = 'pg_catalog.pg_class'::regclass)
			-- A table in partitions depends on the columns that divide it.
			AND (p.refclassid, p.refobjid) <> (p.classid, p.objid))
)
SELECT type AS kind, identity, pg_catalog.format('DROP %s IF EXISTS %s CASCADE',
	CASE type
		WHEN 'aggregate' THEN 'ROUTINE' -- DROP AGGREGATE does not take f()
		WHEN 'statistics object' THEN 'STATISTICS'
		WHEN 'foreign-data wrapper' THEN 'FOREIGN DATA WRAPPER'
		ELSE pg_catalog.upper(type)
	END, identity) AS statement
FROM named
UNION ALL
SELECT 'large objects', pg_catalog.count(*)::text,
	'SELECT pg_catalog.count(pg_catalog.lo_unlink(oid)) FROM pg_catalog.pg_largeobject_metadata'
FROM pg_catalog.pg_largeobject_metadata HAVING pg_catalog.count(*) > 0
ORDER BY 1, 2`

// Objects names what users have made in the database: "table public.jobs",
// "12 large objects". Empty: a dump can be restored into it.
func (c *Conn) Objects(ctx context.Context) ([]string, error) {
	rows, err := c.query(ctx, userObjects)
	if err != nil {
		return nil, fmt.Errorf("list what is in %s: %w", c.database, err)
	}
	var names []string
	for _, row := range rows {
		kind, identity := row[0], row[1]
		name := kind + " " + identity
		if kind == "large objects" {
			name = identity + " " + kind
		}
		names = append(names, strings.ToValidUTF8(name, "\uFFFD"))
	}
	return names, nil
}
