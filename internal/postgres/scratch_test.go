package postgres

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A database can be made and dropped from an address with a name and from one
// without, whatever its name is, and whoever is connected to it.
func TestCreateAndDrop(t *testing.T) {
	t.Parallel()
	other := server.CreateDatabase(t)
	for name, from := range map[string]string{"made_from_none": "", `made "from'`: other} {
		d := address(t, from)
		made, err := d.CreateDatabase(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		conn := connect(t, made)
		if got, err := conn.value(t.Context(), "SELECT current_database()"); got != name || err != nil {
			t.Errorf("made is %s, %v", got, err)
		}
		if names, err := d.DatabaseNames(t.Context()); err != nil || !slices.Contains(names, name) || !slices.Contains(names, "postgres") {
			t.Errorf("there are %q, %v", names, err)
		}
		if _, err := d.CreateDatabase(t.Context(), name); err == nil || !strings.Contains(err.Error(), "already exists") {
			t.Errorf("made again: %v", err)
		}
		// After an interrupt, with a connection that is still at work.
		busy := make(chan error)
		go func() {
			_, err := conn.query(context.Background(), "SELECT pg_sleep(60)")
			busy <- err
		}()
		time.Sleep(50 * time.Millisecond)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := d.DropDatabase(ctx, name); err != nil {
			t.Error(err)
		}
		if err := <-busy; err == nil {
			t.Error("the connection goes on")
		}
		if err := d.DropDatabase(t.Context(), name); err != nil {
			t.Errorf("dropped again: %v", err)
		}
		if names, err := d.DatabaseNames(t.Context()); err != nil || slices.Contains(names, name) {
			t.Errorf("there are %q, %v", names, err)
		}
		if _, err := d.CreateDatabase(ctx, name); !errors.Is(err, context.Canceled) {
			t.Errorf("after an interrupt: %v", err)
		}
	}
}

func TestCreateDenied(t *testing.T) {
	t.Parallel()
	server.Exec(t, "postgres", `CREATE ROLE creates_nothing LOGIN PASSWORD 'secret'`)
	d := address(t, "")
	d.SetUser("creates_nothing")
	d.SetPassword("secret")
	if _, err := d.CreateDatabase(t.Context(), "any"); !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), "any") {
		t.Error(err)
	}
	if err := d.DropDatabase(t.Context(), "any"); err != nil {
		t.Error(err)
	}
}

func TestCheckDump(t *testing.T) {
	t.Parallel()
	source, _ := newDatabase(t, `CREATE TABLE jobs (id int)`)
	for _, format := range []Format{Plain, Custom} {
		var b strings.Builder
		if err := source.Dump(t.Context(), &b, DumpOptions{Server: version, Format: format}); err != nil {
			t.Fatal(err)
		}
		dump := b.String()
		for what, test := range map[string]struct {
			dump string
			good bool
		}{
			"whole":     {dump, true},
			"cut short": {dump[:len(dump)/3], false},
			"longer":    {dump + strings.Repeat(" ", maxTail), format == Custom}, // pg_restore looks at the beginning
		} {
			file := filepath.Join(t.TempDir(), "dump")
			if err := os.WriteFile(file, []byte(test.dump), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := Tools{}.CheckDump(t.Context(), file)
			if got != format || (err == nil) != test.good {
				t.Errorf("%s, %s: %s, %v", format, what, got, err)
			}
			if _, err := (Tools{Dir: t.TempDir()}).CheckDump(t.Context(), file); format == Custom && !errors.Is(err, ErrTool) {
				t.Errorf("without pg_restore: %v", err)
			}
		}
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (Tools{}).CheckDump(t.Context(), empty); err == nil {
		t.Error("an empty dump is whole")
	}
	if _, err := (Tools{}).CheckDump(t.Context(), filepath.Join(t.TempDir(), "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
