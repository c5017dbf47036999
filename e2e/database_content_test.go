package e2e

import "fmt"

// The databases of Chipster's services, in small, with what dumps have stumbled
// over: text that looks like a part of a dump above all.

// authDatabase has users, text of every kind, and names of every kind.
var authDatabase = []string{
	`CREATE TABLE users (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text NOT NULL UNIQUE, note text, key bytea,
		created timestamptz DEFAULT '2019-05-08 09:26:17.038+00', roles text[] DEFAULT '{}', settings jsonb)`,
	`INSERT INTO users (name, note, key, roles, settings)
		SELECT 'user' || i, repeat('note ' || i, i % 50), sha256(i::text::bytea), ARRAY['client', NULL, '"{'], jsonb_build_object('n', i)
		FROM generate_series(1, 2000) AS i`,
	`CREATE TABLE texts (text text)`,
	`INSERT INTO texts VALUES (NULL), (''), ('NULL'), ('\N'), (' '), ('\.'), (E'\\.\nCOMMIT;\nDROP TABLE users;\n'), ('COMMIT;'), ('BEGIN;'), ('ROLLBACK;'),
		('\unrestrict x'), ('\! touch /tmp/x'), (E'tab\tand\vmore\b\f\r'), (E'\r\n'), ('back\slash\\'), (''''), ('"quotes"'), ('$$'), ('--'), ('/*'), ('äöü €'), ('日本'), (E'a\u0308\u2028'),
		('SELECT pg_catalog.lo_open(''16389'', 131072);'), (repeat('x', 1000000)), (E'\x01\x7f')`,
	`CREATE TABLE bytes (id serial PRIMARY KEY, bytes bytea)`,
	`INSERT INTO bytes (bytes) VALUES (NULL), (''), ('\x00'), ('\xfffe5c2e0a'), (decode(repeat('00ff5c0a', 250000), 'hex'))`,
	`CREATE TABLE "Odd ""table""; -- '\.' ü€` + "\n\tCOMMIT;" + `" ("Select" int, "a column" text DEFAULT E'\n\\.\nCOMMIT;\n', "1" text)`,
	`INSERT INTO "Odd ""table""; -- '\.' ü€` + "\n\tCOMMIT;" + `" VALUES (1, 'one'), (2, DEFAULT)`,
	`CREATE TABLE "TEXTS" (n int)`, // differs in case only
	`CREATE TABLE columnless ()`,
	`INSERT INTO columnless DEFAULT VALUES`,
	`INSERT INTO columnless DEFAULT VALUES`,
}

var authChanges = []string{
	`UPDATE users SET note = note || ' changed' WHERE name LIKE '%7'`,
	`DELETE FROM users WHERE name LIKE '%13'`,
	`INSERT INTO texts VALUES ('the second night')`,
	`DELETE FROM columnless`,
	`DROP TABLE "TEXTS"`,
	`CREATE TABLE tokens (token text)`,
}

// sessionDatabase has large objects, schemas, and what belongs together.
var sessionDatabase = []string{
	`CREATE SCHEMA files`,
	`CREATE SCHEMA "Odd schema"`,
	`CREATE TYPE files.state AS ENUM ('open', 'done, or "so"')`,
	`CREATE SEQUENCE files.numbers START 1000 INCREMENT 7`,
	`CREATE TABLE sessions (id bigserial PRIMARY KEY, name text, state files.state NOT NULL DEFAULT 'open')`,
	`CREATE TABLE datasets (id int PRIMARY KEY DEFAULT nextval('files.numbers'), session bigint REFERENCES sessions ON DELETE CASCADE,
		parent int REFERENCES datasets DEFERRABLE INITIALLY DEFERRED, content oid, twice text GENERATED ALWAYS AS (id::text || id::text) STORED)`,
	`CREATE INDEX ON datasets (session)`,
	`INSERT INTO sessions (name) SELECT 'session ' || i FROM generate_series(1, 500) AS i`,
	`INSERT INTO datasets (session, content) SELECT id, lo_from_bytea(0, sha512(id::text::bytea)) FROM sessions WHERE id % 50 = 0`,
	`INSERT INTO datasets (session, content) VALUES (1, lo_from_bytea(0, '')), (2, lo_create(0))`,
	// 3 MiB, and one with a hole
	`INSERT INTO datasets (session, content) SELECT 3, lo_from_bytea(0, string_agg(decode(md5(i::text), 'hex'), '')) FROM generate_series(1, 196608) AS i`,
	`INSERT INTO datasets (session, content) VALUES (4, lo_from_bytea(0, 'beginning'))`,
	`SELECT lo_put(content, 100000, E'\nCOMMIT;\n'::bytea) FROM datasets WHERE session = 4`,
	`UPDATE datasets SET parent = (SELECT max(id) FROM datasets)`,
	`CREATE TABLE "Odd schema".sessions (id int)`,
	`INSERT INTO "Odd schema".sessions SELECT generate_series(1, 17)`,
	`CREATE TABLE files.events (day date, what text) PARTITION BY RANGE (day)`,
	`CREATE TABLE files.events_2025 PARTITION OF files.events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')`,
	`CREATE TABLE files.events_2026 PARTITION OF files.events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')`,
	`INSERT INTO files.events SELECT '2025-12-20'::date + i, 'event ' || i FROM generate_series(1, 100) AS i`,
	`CREATE TABLE files.parent (n int)`,
	`CREATE TABLE files.child (more text) INHERITS (files.parent)`,
	`INSERT INTO files.parent VALUES (1), (2)`,
	`INSERT INTO files.child VALUES (3, 'three')`,
	`CREATE UNLOGGED TABLE files.cache AS SELECT 1 AS n`,
	// Lines as they begin and end the large objects in a dump.
	`CREATE FUNCTION files.script() RETURNS text LANGUAGE sql AS $$ SELECT '
BEGIN;

SELECT pg_catalog.lo_open(''16389'', 131072);
COMMIT;
\.
'::text $$`,
	`CREATE VIEW open_sessions AS SELECT s.*, E'\nCOMMIT;\n' AS commit FROM sessions s WHERE state = 'open'`,
	`CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM datasets`,
	`COMMENT ON TABLE sessions IS E'of the service\nCOMMIT;\n-- and so on'`,
	`CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'fired'; END $$`,
	`CREATE TRIGGER noted BEFORE INSERT ON sessions FOR EACH ROW EXECUTE FUNCTION noted()`, // a restore must not fire it
}

var sessionChanges = []string{
	`SELECT lo_unlink(content) FROM datasets WHERE session = 50`,
	`DELETE FROM sessions WHERE id = 50`,
	`SELECT lo_put(content, 10, 'changed') FROM datasets WHERE session = 100`,
	`INSERT INTO datasets (session, content) VALUES (5, lo_from_bytea(0, 'new'))`,
	`UPDATE sessions SET state = 'done, or "so"' WHERE id % 3 = 0`,
	`TRUNCATE files.events`,
	`SELECT setval('files.numbers', 5000)`,
}

// jobDatabase has many rows.
func jobDatabase(rows int) []string {
	return []string{
		`CREATE TABLE jobs (id int PRIMARY KEY, tool text, hash text, started timestamptz, seconds double precision)`,
		fmt.Sprintf(`INSERT INTO jobs SELECT i, 'tool-' || i %% 97, md5(i::text), '2020-01-01'::timestamptz + i * interval '1 minute', sqrt(i)
			FROM generate_series(1, %d) AS i`, rows),
	}
}

var jobChanges = []string{
	`DELETE FROM jobs WHERE id % 10 = 0`,
	`UPDATE jobs SET seconds = -seconds WHERE id % 1000 = 1`,
	`CREATE TABLE parameters (job int REFERENCES jobs, value text)`,
	`INSERT INTO parameters SELECT id, 'value' FROM jobs WHERE id < 100`,
}

// largeDatabase has about as many MiB, in a dump and sealed.
func largeDatabase(mib int) []string {
	return []string{
		`CREATE TABLE large (id int, a text, b text)`,
		// 131 bytes a line
		fmt.Sprintf(`INSERT INTO large SELECT i, encode(sha256(i::text::bytea), 'hex'), md5(i::text) || md5((-i)::text) FROM generate_series(1, %d) AS i`, mib*1024*8),
	}
}
