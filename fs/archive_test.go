package fs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
)

const (
	first  = "2026-01-02T01:10:00Z"
	second = "2026-01-02T01:10:00.500Z"
	third  = "2026-01-03T01:10:00.123456Z"
)

// archive is an archive that a test makes, of files that are not encrypted
// unless recipients are set.
type archive struct {
	testing.TB
	root       string
	recipients envelope.Recipients
}

func newArchive(t testing.TB) *archive { return &archive{TB: t, root: t.TempDir()} }

func (a *archive) folder(at string) string { return filepath.Join(a.root, "file-storage_"+at) }

// add adds a version. Files of the version before go on being where they are.
func (a *archive) add(at string, files map[string]string, details ...manifest.Details) {
	a.Helper()
	name, err := backupname.Parse("file-storage_" + at)
	if err != nil {
		a.Fatal(err)
	}
	a.mkdir(a.folder(at))
	list, err := os.Create(filepath.Join(a.folder(at), "list"))
	if err != nil {
		a.Fatal(err)
	}
	w := manifest.NewWriter(list)
	for path, content := range files {
		sealed, e := seal(a, a.recipients, []byte(content))
		e.Path, e.SealedPath, e.Backup = path, manifest.SealedPath(path, a.recipients.Suffix()), name
		for _, d := range details {
			e.Details = d
		}
		file := filepath.Join(a.folder(at), e.SealedPath)
		a.mkdir(filepath.Dir(file))
		if err := os.WriteFile(file, sealed, 0o644); err != nil {
			a.Fatal(err)
		}
		if err := w.Write(e); err != nil {
			a.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil || list.Close() != nil || os.Rename(list.Name(), filepath.Join(a.folder(at), manifest.ArchiveInfo)) != nil {
		a.Fatal(err)
	}
}

func (a *archive) mkdir(dir string) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		a.Fatal(err)
	}
}

func (a *archive) sealed(at, path string) string {
	return filepath.Join(a.folder(at), manifest.SealedPath(path, a.recipients.Suffix()))
}

func (a *archive) damage(at, path string) {
	a.Helper()
	b, err := os.ReadFile(a.sealed(at, path))
	if err != nil {
		a.Fatal(err)
	}
	b[len(b)-6] ^= 1
	if err := os.WriteFile(a.sealed(at, path), b, 0o644); err != nil {
		a.Fatal(err)
	}
}

func (a *archive) mount(o childOptions) *mounted {
	a.Helper()
	o.Archive = a.root
	return mount(a, o)
}

func (m *mounted) path(parts ...string) string {
	return filepath.Join(append([]string{m.dir, "file-storage"}, parts...)...)
}

func checkFile(t testing.TB, file, want string) {
	t.Helper()
	if got, err := os.ReadFile(file); err != nil || string(got) != want {
		t.Errorf("%s: %d bytes, %v, want %d", file, len(got), err, len(want))
	}
}
