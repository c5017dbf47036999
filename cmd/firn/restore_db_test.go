package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/chipster/firn/internal/postgres"
	"github.com/chipster/firn/internal/restore"
)

// A password in an address is refused, and not repeated.
func TestRestoreDatabaseArguments(t *testing.T) {
	for want, args := range map[string][]string{
		"--password-file": {"--to", "postgres://user:hunter2@host/db", "archive", "v"},
		"~/.pgpass":       {"--to", "postgres://user@host/db?password=hunter2", "archive", "v"},
		"--to: ":          {"--to", "mysql://hunter2@host/db", "archive", "v"},
		"--to is missing": {"archive", "v"},
		"VERSION":         {"--to", "postgres://host/db", "archive"},
		"one argument":    {"--to", "postgres://host/db", "archive", "v", "w"},
	} {
		_, err := runCommand(t, restoreDatabaseCommand(), args...)
		if exitCode(err) != exitUsage || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", args, err)
		}
	}
}

// An archive in a folder called db can still be restored from.
func TestRestoreFromAFolderCalledDB(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "db"), os.DirFS(someArchive)); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	mustRunCommand(t, restoreCommand(), "--to", "to", "./db", "file-storage/latest")
	if _, err := os.Stat("to"); err != nil {
		t.Error(err)
	}
}

func TestPrintRestoredDatabase(t *testing.T) {
	five, six := int64(5), int64(6)
	r := restore.DatabaseReport{Version: "a-db-backup_1", To: "host:5432/a", Bytes: 1 << 30, Total: postgres.Total{Tables: 12, Rows: 500_000, LargeObjects: 3}}
	for _, test := range []struct {
		checked     bool
		differences []restore.Difference
		want        string
	}{
		{false, nil, "not compared, as none are recorded\n"},
		{true, nil, "as recorded\n"},
		{true, []restore.Difference{{Schema: "s", Table: "a\x1bb", Expected: &five, Found: &six}, {Schema: "s", Table: "c", Found: &five}, {Schema: "s", Table: "d", Expected: &six}},
			"not as recorded\n  \"s.a\\x1bb\": 6 rows, expected 5 rows\n  s.c: 5 rows, expected no table\n  s.d: no table, expected 6 rows\n"},
	} {
		r.Checked, r.Differences = test.checked, test.differences
		var out bytes.Buffer
		c := cli.NewContext(&cli.App{Writer: &out}, nil, nil)
		want := "a-db-backup_1: 1.0 GiB restored to host:5432/a: 12 tables, 500000 rows, 3 large objects, " + test.want
		if err := printRestoredDatabase(c, &r); err != nil || out.String() != want {
			t.Errorf("%v: printed\n%snot\n%s", err, out.String(), want)
		}
	}
}
