package catalog

import (
	"bytes"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// Whatever becomes of the database, the answers stay right.
func TestDatabaseIsOnlyACache(t *testing.T) {
	a, h := fewNights(t, 8)
	database := filepath.Join(t.TempDir(), "new", "c#?%41 d.sqlite")
	must(t, a.open(database).Close())
	pristine, err := os.ReadFile(database)
	must(t, err)
	garbage := make([]byte, len(pristine))
	for i := range garbage {
		garbage[i] = byte(h.Uint32())
	}
	half := pristine[:len(pristine)/2]
	middle := bytes.Clone(pristine)
	copy(middle[100:], garbage[:len(garbage)-200])
	for what, content := range map[string][]byte{
		"garbage": garbage, "text": []byte("not a database\n"), "empty": {}, "half": half, "middle": middle,
		"header only": pristine[:100], "as it was": pristine,
	} {
		must(t, os.WriteFile(database, content, 0o600))
		c := a.open(database)
		a.check(c)
		must(t, os.Truncate(database, 4096)) // while it is in use
		a.archive(night(t, "s", 100+len(a.versions)), h.next())
		if refresh(t, c); !t.Run(what, func(t *testing.T) { a.check(c) }) {
			return
		}
		must(t, c.Close())
	}
	c := a.open(database)
	must(t, os.Remove(database))
	a.check(c)
	refresh(t, c)
	a.check(c)
	a.check(a.open(database))
}

// A row that no list can have made is as bad as a page that is damaged: nothing
// crashes, and the database is made anew.
func TestDamagedRow(t *testing.T) {
	a, h := fewNights(t, 4)
	for _, column := range []string{"size", "sealed_size"} {
		database := filepath.Join(t.TempDir(), "c.sqlite")
		c := a.open(database)
		result, err := c.db.write.ExecContext(t.Context(), "UPDATE nodes SET "+column+" = 'many' WHERE child IS NULL")
		must(t, err)
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			t.Fatalf("%d rows, %v", n, err)
		}
		a.archive(night(t, "s", 100+len(a.versions)), h.next())
		refresh(t, c)
		a.check(c)
	}
}

// A database that vanished while several use it is built anew once, and who
// still had the old one does the new one no harm.
func TestDatabaseVanishes(t *testing.T) {
	a, h := fewNights(t, 3)
	database := filepath.Join(t.TempDir(), "c.sqlite")
	first, second, third := a.open(database), a.open(database), a.open(database)
	must(t, os.Remove(database))
	refresh(t, first)
	a.archive(night(t, "s", 10), h.next())
	refresh(t, first)
	refresh(t, second)
	if !os.SameFile(first.db.file, second.db.file) {
		t.Error("two databases are in use")
	}
	must(t, third.Close())
	if info, err := os.Stat(database + "-wal"); err != nil || info.Size() == 0 {
		t.Errorf("the log of the new database is gone: %v", err)
	}
	a.check(first)
	a.check(second)
	a.check(a.open(database))
}

func TestOtherSchema(t *testing.T) {
	a, _ := fewNights(t, 2)
	database := filepath.Join(t.TempDir(), "c.sqlite")
	must(t, a.open(database).Close())
	execute := func(statement string) {
		t.Helper()
		db, err := sql.Open("sqlite", database)
		must(t, err)
		_, err = db.Exec(statement)
		must(t, errors.Join(err, db.Close()))
	}
	execute(`PRAGMA user_version = 99; DROP TABLE nodes`)
	a.check(a.open(database))

	// What another program keeps there is none of the catalog's to delete.
	must(t, os.Remove(database))
	execute(`CREATE TABLE precious (x)`)
	if _, err := Open(t.Context(), a.root, Options{Path: database, Logger: quiet}); !errors.Is(err, errForeign) {
		t.Error(err)
	}
	execute(`SELECT * FROM precious`)
}

func TestFolderOfDatabaseNotWritable(t *testing.T) {
	a, _ := fewNights(t, 2)
	c := a.open("/proc/none/c.sqlite")
	a.check(c)
	temp := c.temp
	must(t, c.Close())
	if _, err := os.Stat(temp); temp == "" || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%q is left behind: %v", temp, err)
	}
}

func TestDefaultPath(t *testing.T) {
	a, err := DefaultPath("/some/archive")
	must(t, err)
	b, err := DefaultPath("/some/other")
	must(t, err)
	c, err := DefaultPath("/some/./archive/")
	must(t, err)
	if a == b || a != c || os.Getuid() == 0 && filepath.Dir(a) != "/var/cache/firn" {
		t.Errorf("%s, %s, %s", a, b, c)
	}
}
