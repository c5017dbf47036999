package restore

import (
	"context"
	"crypto/sha512"
	"encoding/json"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"testing"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/keys/keystest"
	"github.com/chipster/firn/internal/manifest"
)

const (
	original  = "../../testdata/original"
	oneBackup = "file-storage_2026-01-02T01:10:00.123Z"
)

// plainFile is a file of a version that a test makes.
type plainFile struct {
	path, content string
	details       manifest.Details
}

// archive is a folder with one version, sealed for the curve key if not said otherwise.
type archive struct {
	root    string
	backup  string
	entries map[string]manifest.Entry
}

func makeArchive(t testing.TB, files ...plainFile) archive {
	t.Helper()
	return makeArchiveOf(t, oneBackup, files...)
}

func makeArchiveOf(t testing.TB, backup string, files ...plainFile) archive {
	t.Helper()
	return makeArchiveFor(t, envelope.Recipients{Keys: keystest.Private(t, "curve")}, backup, files...)
}

func makeArchiveFor(t testing.TB, recipients envelope.Recipients, backup string, files ...plainFile) archive {
	t.Helper()
	name, err := backupname.Parse(backup)
	if err != nil {
		t.Fatal(err)
	}
	a := archive{t.TempDir(), backup, map[string]manifest.Entry{}}
	session, err := recipients.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	list := create(t, filepath.Join(a.root, a.backup, manifest.ArchiveInfo))
	lines := manifest.NewWriter(list)
	for _, f := range files {
		e := manifest.Entry{Path: f.path, SealedPath: manifest.SealedPath(f.path, recipients.Suffix()), Backup: name, Details: f.details}
		out := create(t, filepath.Join(a.root, a.backup, e.SealedPath))
		w, err := session.NewWriter(out, int64(len(f.content)))
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.WriteString(w, f.content)
		sums, cerr := w.Close()
		if err != nil || cerr != nil || out.Close() != nil {
			t.Fatal(err, cerr)
		}
		e.Size, e.SHA512, e.SealedSize, e.SealedSHA512 = sums.Size, sums.SHA512, sums.SealedSize, sums.SealedSHA512
		if err := lines.Write(&e); err != nil {
			t.Fatal(err)
		}
		a.entries[f.path] = e
	}
	if err := lines.Flush(); err != nil || list.Close() != nil {
		t.Fatal(err)
	}
	return a
}

func create(t testing.TB, name string) *os.File {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (a archive) sealed(path string) string {
	return filepath.Join(a.root, a.backup, a.entries[path].SealedPath)
}

// damage changes a byte of a sealed file.
func (a archive) damage(t testing.TB, path string) {
	t.Helper()
	b, err := os.ReadFile(a.sealed(path))
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-30] ^= 1
	if err := os.WriteFile(a.sealed(path), b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// options are those of a run from an archive into a new folder.
func options(t testing.TB, root, version string) Options {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	c, err := catalog.Open(t.Context(), root, catalog.Options{Path: filepath.Join(t.TempDir(), "catalog"), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	v, err := c.Find(t.Context(), version)
	if err != nil {
		t.Fatal(err)
	}
	return Options{Catalog: c, Opener: envelope.NewOpener(keystest.Private(t, "curve")), Version: v, To: filepath.Join(t.TempDir(), "new", "to"), Logger: quiet}
}

func (a archive) options(t testing.TB) Options { return options(t, a.root, a.backup) }

func mustRun(t testing.TB, o Options) *Report {
	t.Helper()
	report, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// tree reads all files below a folder, however deep.
func tree(t testing.TB, folder string) map[string]string {
	t.Helper()
	found := map[string]string{}
	root, err := os.OpenRoot(folder)
	if err != nil {
		t.Fatal(err)
	}
	var walk func(dir *os.Root, at string)
	walk = func(dir *os.Root, at string) {
		defer dir.Close()
		entries, err := fs.ReadDir(dir.FS(), ".")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			p := path.Join(at, e.Name())
			if e.IsDir() {
				sub, err := dir.OpenRoot(e.Name())
				if err != nil {
					t.Fatal(err)
				}
				walk(sub, p)
				continue
			}
			b, err := dir.ReadFile(e.Name())
			if err != nil {
				t.Fatal(err)
			}
			found[p] = string(b)
		}
	}
	walk(root, "")
	return found
}

func checkTree(t testing.TB, folder string, want map[string]string) {
	t.Helper()
	got := tree(t, folder)
	for p, content := range want {
		if got[p] != content {
			t.Errorf("%.100q holds %.30q, want %.30q", p, got[p], content)
		}
	}
	for p := range got {
		if _, ok := want[p]; !ok {
			t.Errorf("%.100q should not be there", p)
		}
	}
}

// Every version of every archive of the original system comes back.
func TestRestoreOriginal(t *testing.T) {
	openers := map[string]*envelope.Opener{
		"rsa": envelope.NewOpener(keystest.Private(t, "chipster")), "curve": envelope.NewOpener(keystest.Private(t, "curve")),
		"passphrase": envelope.NewOpener(nil, []byte("wrong"), passphrase(t)), "plain": envelope.NewOpener(nil),
	}
	for kind, opener := range openers {
		data, err := os.ReadFile(filepath.Join(original, kind, "expected.json"))
		var expected map[string]map[string]string
		if err != nil || json.Unmarshal(data, &expected) != nil || len(expected) == 0 {
			t.Fatal(kind, err)
		}
		for version, files := range expected {
			o := options(t, filepath.Join(original, kind, "archive"), version)
			o.Opener = opener
			report := mustRun(t, o)
			got := tree(t, o.To)
			if len(files) == 0 || len(got) != len(files) || report.Restored.Files != int64(len(files)) {
				t.Errorf("%s %s: %d files, want %d", kind, version, len(got), len(files))
			}
			for p, sum := range files {
				if manifest.Hash(sha512.Sum512([]byte(got[p]))).String() != sum {
					t.Errorf("%s %s: %s differs", kind, version, p)
				}
			}
		}
	}
}

func passphrase(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(original, "keys", "passphrase.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for len(b) > 0 && b[len(b)-1] == '\n' {
		b = b[:len(b)-1]
	}
	return b
}

var someTime = time.Date(2020, 2, 29, 12, 34, 56, 789012345, time.UTC)
