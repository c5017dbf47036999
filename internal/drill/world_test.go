package drill

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/keys/keystest"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/postgres/postgrestest"
)

const (
	older    = "file-storage_2026-01-02T01:10:00.123Z"
	newest   = "file-storage_2026-01-03T01:10:00.123Z"
	database = "session-db-db-backup_2026-01-03T01:10:00.123Z"
)

// server is that of all tests of databases.
var server *postgrestest.Server

func TestMain(m *testing.M) { postgrestest.Main(m, &server) }

// archive is a folder to which versions are added, each sealed for itself.
type archive struct {
	testing.TB
	root, scratch string
}

func newArchive(t testing.TB) archive {
	t.Helper()
	return archive{t, t.TempDir(), t.TempDir()}
}

// add adds a version that is sealed for a key.
func (a archive) add(backup, key string, files map[string]string, rows manifest.Rows) {
	a.Helper()
	name, err := backupname.Parse(backup)
	must(a, err)
	session, err := envelope.Recipients{Keys: keystest.Private(a, key)}.NewSession()
	must(a, err)
	list := a.create(backup, manifest.ArchiveInfo)
	lines := manifest.NewWriter(list)
	for p, content := range files {
		e := manifest.Entry{Path: p, SealedPath: manifest.SealedPath(p, ".lz4.gpg"), Backup: name, Details: manifest.Details{Rows: rows}}
		out := a.create(backup, e.SealedPath)
		w, err := session.NewWriter(out, int64(len(content)))
		must(a, err)
		_, err = io.WriteString(w, content)
		must(a, err)
		sums, err := w.Close()
		must(a, err)
		must(a, out.Close())
		e.Size, e.SHA512, e.SealedSize, e.SealedSHA512 = sums.Size, sums.SHA512, sums.SealedSize, sums.SealedSHA512
		must(a, lines.Write(&e))
	}
	must(a, lines.Flush())
	must(a, list.Close())
}

func (a archive) create(parts ...string) *os.File {
	a.Helper()
	name := filepath.Join(a.root, filepath.Join(parts...))
	must(a, os.MkdirAll(filepath.Dir(name), 0o755))
	f, err := os.Create(name)
	must(a, err)
	return f
}

// sealed are the sealed files of a version.
func (a archive) sealed(backup string) (names []string) {
	a.Helper()
	must(a, filepath.Walk(filepath.Join(a.root, backup), func(name string, info os.FileInfo, err error) error {
		if strings.HasSuffix(name, ".gpg") {
			names = append(names, name)
		}
		return err
	}))
	return names
}

// damage changes a byte of a sealed file.
func damage(t testing.TB, name string) {
	t.Helper()
	b, err := os.ReadFile(name)
	must(t, err)
	b[len(b)-30] ^= 1
	must(t, os.WriteFile(name, b, 0o644))
}

func (a archive) options() Options {
	a.Helper()
	quiet := slog.New(slog.DiscardHandler)
	c, err := catalog.Open(a.Context(), a.root, catalog.Options{Path: filepath.Join(a.TempDir(), "catalog"), Logger: quiet})
	must(a, err)
	a.Cleanup(func() { c.Close() })
	return Options{Catalog: c, Opener: envelope.NewOpener(keystest.Private(a, "curve")), Files: 100, Scratch: a.scratch, Logger: quiet}
}

// nothingLeft demands that the folder for drills is empty.
func (a archive) nothingLeft() {
	a.Helper()
	left, err := os.ReadDir(a.scratch)
	if err != nil || len(left) > 0 {
		a.Errorf("left are %v, %v", left, err)
	}
}

// numbered are files with different sizes: the n-th has n times 1000 bytes.
func numbered(n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("%02d/file-%d", i%10, i)] = strings.Repeat(fmt.Sprintf("%9d\n", i), 100*i)
	}
	return files
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
