package drill

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/postgres"
	"github.com/chipster/firn/internal/restore"
)

// address is that of the server, as a user.
func address(t testing.TB, database, user, password string) *postgres.Database {
	t.Helper()
	d, err := postgres.ParseURL(server.URL(database))
	must(t, err)
	d.SetUser(user)
	d.SetPassword(password)
	return d
}

// dumped is a dump of a database with a thousand jobs, or as many more as need be.
func dumped(t testing.TB, format postgres.Format, jobs string) string {
	t.Helper()
	name := server.CreateDatabase(t)
	server.Exec(t, name, `CREATE TABLE jobs (id int, what text)`, `INSERT INTO jobs SELECT n, md5(n::text) FROM generate_series(1, `+jobs+`) n`)
	d := address(t, name, server.User, server.Password)
	conn, err := d.Connect(t.Context())
	must(t, err)
	defer conn.Close()
	var b bytes.Buffer
	must(t, d.Dump(t.Context(), &b, postgres.DumpOptions{Server: conn.Version(), Format: format}))
	return b.String()
}

func jobs(n int64) manifest.Rows { return manifest.Rows{"public": {"jobs": n}} }

// drills are the databases of drills that are there.
func drills(t testing.TB) string {
	t.Helper()
	return server.Query(t, "postgres", `SELECT string_agg(datname, ' ') FROM pg_database WHERE datname LIKE 'firn_drill_2%'`)
}

// Dumps are restored and counted in the server, and no database is left. Not
// parallel, as the other test of this is not: they look at what all leave.
func TestServer(t *testing.T) {
	for _, format := range []postgres.Format{postgres.Plain, postgres.Custom} {
		dump := dumped(t, format, "1000")
		for name, test := range map[string]struct {
			rows     manifest.Rows
			dump     string
			key      string
			problems string // "" none
			want     error
		}{
			"right":            {jobs(1000), dump, "curve", "", nil},
			"no rows recorded": {nil, dump, "curve", "", nil},
			"other rows":       {manifest.Rows{"public": {"jobs": 999, "gone": 1}}, dump, "curve", "public.gone: no table, expected 1 rows; public.jobs: 1000 rows, expected 999 rows", restore.ErrIncomplete},
			"cut short":        {jobs(1000), dump[:len(dump)/2], "curve", ": restore", restore.ErrIncomplete},
			"another key":      {jobs(1000), dump, "chipster", "no key opens", envelope.ErrKey},
		} {
			a := newArchive(t)
			a.add(database, test.key, map[string]string{"dump": test.dump}, test.rows)
			o := a.options()
			o.Server = address(t, "", server.User, server.Password)
			report, err := Run(t.Context(), o)
			if !errors.Is(err, test.want) || report == nil {
				t.Fatalf("%s, %s: %v", name, format, err)
			}
			got := report.Trials[0]
			var problems []string
			for _, p := range got.Problems.First {
				problems = append(problems, p.Path+": "+p.Reason)
			}
			if text := strings.Join(problems, "; "); !strings.Contains(text, test.problems) || (text == "") != (test.problems == "") {
				t.Errorf("%s, %s: %s", name, format, text)
			}
			if !got.Server || (got.Right.Files == 1) != (test.want == nil) {
				t.Errorf("%s, %s: %+v", name, format, got)
			}
			if test.want == nil && (got.Rows == nil || got.Rows.Rows != 1000 || got.RowsCompared != (test.rows != nil) || got.WholeSeconds <= 0) {
				t.Errorf("%s, %s: %+v", name, format, got)
			}
			a.nothingLeft()
			if left := drills(t); left != "" {
				t.Fatalf("%s, %s: left are %s", name, format, left)
			}
		}
	}
}

func TestServerInterrupted(t *testing.T) {
	a := newArchive(t)
	a.add(database, "curve", map[string]string{"dump": dumped(t, postgres.Plain, "100000")}, jobs(100_000))
	o := a.options()
	o.Server = address(t, "postgres", server.User, server.Password)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var done atomic.Int64
	o.Progress = func(_ int, n int64) {
		if done.Add(n) > 1<<20 {
			cancel()
		}
	}
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if left := drills(t); left != "" {
		t.Errorf("left are %s", left)
	}
	a.nothingLeft()
}

// A user who may not create databases is a problem; one whom the server does not
// let in ends it before anything is done.
func TestServerRefuses(t *testing.T) {
	server.Exec(t, "postgres", `CREATE ROLE nobody LOGIN PASSWORD 'secret of nobody'`)
	a := newArchive(t)
	a.add(newest, "curve", numbered(3), nil)
	a.add(database, "curve", map[string]string{"dump": plainDump}, nil)
	o := a.options()
	o.Server = address(t, "", "nobody", "secret of nobody")
	report, err := Run(t.Context(), o)
	if !errors.Is(err, restore.ErrIncomplete) || report.Problems != 1 || report.Right.Files != 3 ||
		!strings.Contains(report.Trials[1].Problems.First[0].Reason, "permission denied to create database") {
		t.Errorf("%v, %+v", err, report)
	}
	o.Server = address(t, "", "nobody", "another")
	o.Progress = func(int, int64) { t.Error("something was restored") }
	if report, err := Run(t.Context(), o); !errors.Is(err, postgres.ErrDenied) || report != nil || strings.Contains(err.Error(), "another") {
		t.Error(err)
	}
	a.nothingLeft()
}

func TestServerKeepsAndNames(t *testing.T) {
	old := databasePrefix + stamp(time.Now().Add(-25*time.Hour)) + "_left"
	server.Exec(t, "postgres", `CREATE DATABASE `+old, `CREATE DATABASE firn_drill_mine`)
	defer server.Exec(t, "postgres", `DROP DATABASE `+old, `DROP DATABASE firn_drill_mine`)
	a := newArchive(t)
	a.add(database, "curve", map[string]string{"dump": dumped(t, postgres.Plain, "1000")}, jobs(1000))
	o := a.options()
	o.Server = address(t, "", server.User, server.Password)
	o.Keep = true
	report, err := Run(t.Context(), o)
	must(t, err)
	if len(report.Leftovers) != 1 || report.Leftovers[0] != "database "+old {
		t.Errorf("left are %q", report.Leftovers)
	}
	if len(report.Kept) != 2 || !strings.HasPrefix(report.Kept[1], "database firn_drill_") {
		t.Fatalf("kept are %q", report.Kept)
	}
	kept := strings.TrimPrefix(report.Kept[1], "database ")
	if n := server.Query(t, kept, `SELECT count(*) FROM jobs`); n != "1000" {
		t.Errorf("kept are %s jobs", n)
	}
	must(t, o.Server.DropDatabase(t.Context(), kept))
}

// Who drills may make databases, and is a member of the roles that own what is in
// the dump: more is not needed, though these roles own nothing in a new database.
func TestServerAsMember(t *testing.T) {
	server.Exec(t, "postgres", `CREATE ROLE owns_tables`, `CREATE ROLE drills LOGIN CREATEDB PASSWORD 'secret' IN ROLE owns_tables`)
	name := server.CreateDatabase(t)
	server.Exec(t, name, `CREATE TABLE jobs (id int)`, `INSERT INTO jobs VALUES (1), (2)`, `ALTER TABLE jobs OWNER TO owns_tables`,
		`CREATE SCHEMA more AUTHORIZATION owns_tables`)
	d := address(t, name, server.User, server.Password)
	conn, err := d.Connect(t.Context())
	must(t, err)
	defer conn.Close()
	var dump bytes.Buffer
	must(t, d.Dump(t.Context(), &dump, postgres.DumpOptions{Server: conn.Version(), Format: postgres.Plain}))
	a := newArchive(t)
	a.add(database, "curve", map[string]string{"dump": dump.String()}, jobs(2))
	o := a.options()
	o.Server = address(t, "", "drills", "secret")
	report, err := Run(t.Context(), o)
	if err != nil || !report.Trials[0].RowsCompared {
		t.Errorf("%v: %+v", err, report.Trials[0])
	}
	if left := drills(t); left != "" {
		t.Errorf("left: %s", left)
	}
}
