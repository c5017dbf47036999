package postgres

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
)

func TestRemoveOrphans(t *testing.T) {
	d, name := newDatabase(t, `CREATE TABLE t(o oid); INSERT INTO t SELECT lo_create(0);
		SELECT lo_create(0) FROM generate_series(1, 2500)`)
	for _, want := range []string{"removed=2500", "removed=0"} {
		var log bytes.Buffer
		if err := d.RemoveOrphans(t.Context(), Tools{}, version, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(log.String(), want) || strings.Contains(log.String(), server.Password) {
			t.Errorf("log %s; want one with %s", log.String(), want)
		}
		expectRows(t, count(t, d), Rows{"public": {"t": 1}, "pg_catalog": {"pg_largeobject_metadata": 1}})
	}
	if got := server.Query(t, name, "SELECT count(*) FROM t JOIN pg_largeobject_metadata m ON m.oid = o"); got != "1" {
		t.Error("the object that is referred to is gone")
	}
}

func TestRemoveOrphansFails(t *testing.T) {
	d := address(t, "postgres")
	d.SetPassword("s3cr3t-w0rd")
	err := d.RemoveOrphans(t.Context(), Tools{}, version, nil)
	if err == nil || !strings.Contains(err.Error(), "password authentication failed") || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("error %v", err)
	}
	if err := d.RemoveOrphans(t.Context(), Tools{filepath.Join(t.TempDir(), "no")}, version, nil); !errors.Is(err, ErrTool) {
		t.Errorf("error %v; want ErrTool", err)
	}
}
