package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/postgres/postgrestest"
)

// A run that is interrupted takes back what it sent, and goes on with no other
// database.
func TestDatabaseInterrupted(t *testing.T) {
	t.Parallel()
	d := newDatabases(t, postgrestest.New(t), withNewKey)
	d.add("large", largeDatabase(64)...)
	d.add("zeta", `CREATE TABLE zeta (n int)`)
	for _, signal := range []string{"INT", "TERM"} {
		pid := d.path("pid")
		d.backUp(130, "--pg-bin", d.standIn("pg_dump", `echo $$ >'`+pid+`'; `+fmt.Sprintf(half, `kill -`+signal+` $PPID; sleep 1; cat`)))
		d.awaitEnd(pid)
		d.checkSaved()
	}
}

// A run that is killed leaves no backup, and is in nobody's way.
func TestDatabaseKilled(t *testing.T) {
	t.Parallel()
	d := newDatabases(t, postgrestest.New(t), withNewKey)
	d.add("large", largeDatabase(64)...)
	pid := d.path("pid")
	d.backUp(-1, "--pg-bin", d.standIn("pg_dump", `echo $$ >'`+pid+`'; `+fmt.Sprintf(half, `kill -9 $PPID; cat`)))
	if lists := d.objects("", "backup-info"); len(lists) > 0 {
		t.Errorf("the bucket has %q", lists)
	}
	d.awaitEnd(pid)
	reports, _ := d.backUp(0)
	if got := d.pull(); !slices.Equal(got, []string{reports[0].Backup}) {
		t.Errorf("archived %q", got)
	}
	target := d.create()
	d.restoreDatabase(0, reports[0].Backup, target)
	d.check(target, d.state(d.names["large"]))
}

// awaitEnd waits for the process that a file names to end.
func (d *databases) awaitEnd(file string) {
	d.Helper()
	data, err := os.ReadFile(file)
	must(d, err)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join("/proc", strings.TrimSpace(string(data)))); err != nil {
			return
		}
		if time.Now().After(deadline) {
			d.Fatal("pg_dump goes on without firn")
		}
	}
}
