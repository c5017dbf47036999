package postgres

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chipster/firn/internal/postgres/postgrestest"
)

// server is that of all tests of this package; each has databases of its own.
var (
	server  *postgrestest.Server
	version Version // the server's
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	// What the person who runs the tests has set is not for them.
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "PG") {
			os.Unsetenv(name)
		}
	}
	var err error
	if server, err = postgrestest.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer server.Stop()
	out, err := exec.Command(filepath.Join(server.BinDir, "pg_dump"), "--version").Output()
	if version, _ = parseVersion(string(out)); err != nil || version == 0 {
		fmt.Fprintf(os.Stderr, "pg_dump --version: %s, error %v\n", out, err)
		return 1
	}
	return m.Run()
}

// newDatabase makes a database and fills it.
func newDatabase(t testing.TB, sql ...string) (*Database, string) {
	t.Helper()
	name := server.CreateDatabase(t)
	server.Exec(t, name, sql...)
	return address(t, name), name
}

// address is how the superuser reaches a database.
func address(t testing.TB, name string) *Database {
	t.Helper()
	d := parse(t, server.URL(name))
	d.SetUser(server.User)
	d.SetPassword(server.Password)
	return d
}

func parse(t testing.TB, url string) *Database {
	t.Helper()
	d, err := ParseURL(url)
	if err != nil {
		t.Fatalf("ParseURL(%q): %v", url, err)
	}
	return d
}

func connect(t testing.TB, d *Database) *Conn {
	t.Helper()
	c, err := d.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// standIn writes a program that takes the place of one of PostgreSQL's, and
// returns its folder.
func standIn(t testing.TB, name, script string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
