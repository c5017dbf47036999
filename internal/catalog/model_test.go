package catalog

import (
	"bytes"
	"cmp"
	"crypto/sha512"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
)

func name(t testing.TB, text string) backupname.Name {
	t.Helper()
	n, err := backupname.Parse(text)
	must(t, err)
	return n
}

// night is the name of a storage's backup of a day.
func night(t testing.TB, storage string, day int) backupname.Name {
	t.Helper()
	n, err := backupname.New(storage, time.Date(2024, 1, 1, 1, 10, 0, 0, time.UTC).AddDate(0, 0, day))
	must(t, err)
	return n
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sealed is an entry and the bytes of its sealed file.
type sealed struct {
	manifest.Entry
	bytes []byte
}

// seal makes a file. Sealed files of one path have few different sizes, so that
// they can be confused.
func seal(path string, content string) sealed {
	sum := sha512.Sum512([]byte(content + path))
	b := fmt.Appendf(nil, "sealed %x of %s", sum[:4], path)
	return sealed{bytes: b, Entry: manifest.Entry{
		Path: path, Size: int64(len(content)), SHA512: sha512.Sum512([]byte(content)),
		SealedPath: manifest.SealedPath(path, ".lz4.gpg"), SealedSize: int64(len(b)), SealedSHA512: sha512.Sum512(b),
	}}
}

type listing map[string]sealed

// archive is a small model of an archive and its archiver.
type archive struct {
	t        testing.TB
	root     string
	versions map[backupname.Name]listing
}

func newArchive(t testing.TB) *archive {
	return &archive{t, t.TempDir(), map[backupname.Name]listing{}}
}

func (a *archive) names() []backupname.Name {
	return slices.SortedFunc(maps.Keys(a.versions), backupname.Compare)
}

func (a *archive) file(n backupname.Name, sealedPath string) string {
	return filepath.Join(a.root, n.String(), sealedPath)
}

// move brings the files of a version into its folder: those that the previous
// version's folder holds by renaming them, the others as they come.
func (a *archive) move(n backupname.Name, files listing) {
	a.t.Helper()
	must(a.t, os.MkdirAll(a.file(n, ""), 0o755))
	var previous backupname.Name
	for _, other := range a.names() {
		if other.Storage() == n.Storage() && backupname.Compare(other, n) < 0 {
			previous = other
		}
	}
	for _, p := range slices.Sorted(maps.Keys(files)) {
		to := a.file(n, files[p].SealedPath)
		must(a.t, os.MkdirAll(filepath.Dir(to), 0o755))
		if old, ok := a.versions[previous][p]; ok && old.SealedSHA512 == files[p].SealedSHA512 {
			if os.Rename(a.file(previous, files[p].SealedPath), to) == nil {
				continue
			}
		}
		must(a.t, os.WriteFile(to, files[p].bytes, 0o644))
	}
}

// publish writes the list of a version, in no order.
func (a *archive) publish(n backupname.Name, files listing) {
	a.t.Helper()
	a.versions[n] = files
	must(a.t, os.MkdirAll(a.file(n, ""), 0o755))
	must(a.t, os.WriteFile(a.file(n, "list.tmp"), a.list(n, files), 0o644))
	must(a.t, os.Rename(a.file(n, "list.tmp"), a.file(n, manifest.ArchiveInfo)))
}

func (a *archive) list(n backupname.Name, files listing) []byte {
	a.t.Helper()
	var b bytes.Buffer
	w := manifest.NewWriter(&b)
	for _, f := range files {
		f.Backup = n
		must(a.t, w.Write(&f.Entry))
	}
	must(a.t, w.Flush())
	return b.Bytes()
}

func (a *archive) archive(n backupname.Name, files listing) {
	a.t.Helper()
	a.move(n, files)
	a.publish(n, files)
}

func (a *archive) remove(n backupname.Name) {
	a.t.Helper()
	delete(a.versions, n)
	must(a.t, os.RemoveAll(a.file(n, "")))
}

// holds tells whether any folder of the storage holds a sealed file.
func (a *archive) holds(storage string, s sealed) bool {
	names, err := folderNames(a.root)
	must(a.t, err)
	return slices.ContainsFunc(names, func(n backupname.Name) bool {
		b, err := os.ReadFile(a.file(n, s.SealedPath))
		return err == nil && n.Storage() == storage && bytes.Equal(b, s.bytes)
	})
}

var quiet = slog.New(slog.DiscardHandler)

func (a *archive) open(database string) *Catalog {
	a.t.Helper()
	c, err := Open(a.t.Context(), a.root, Options{Path: database, Logger: quiet})
	must(a.t, err)
	a.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (a *archive) newCatalog() *Catalog {
	a.t.Helper()
	return a.open(filepath.Join(a.t.TempDir(), "c.sqlite"))
}

func refresh(t testing.TB, c *Catalog) bool {
	t.Helper()
	changed, err := c.Refresh(t.Context())
	must(t, err)
	return changed
}

// check compares all answers of a catalog with the model.
func (a *archive) check(c *Catalog) {
	a.t.Helper()
	versions, err := c.Versions(a.t.Context(), "")
	must(a.t, err)
	names := a.names()
	if len(versions) != len(names) {
		a.t.Fatalf("%d versions, want %d", len(versions), len(names))
	}
	for i, v := range versions {
		if v.Name != names[i] || v.Damaged != "" {
			a.t.Fatalf("version %d is %+v, want %s", i, v, names[i])
		}
		a.checkVersion(c, v)
	}
}

func (a *archive) checkVersion(c *Catalog, v Version) {
	a.t.Helper()
	want, ctx := a.versions[v.Name], a.t.Context()
	var size, sealedSize int64
	for e, err := range c.Files(ctx, v, "") {
		must(a.t, err)
		w, ok := want[e.Path]
		if !ok || !e.SameFile(&w.Entry) || e.Backup != v.Name {
			a.t.Fatalf("%s: got %+v, want %+v", v.Name, e, w.Entry)
		}
		n, err := c.Lookup(ctx, v, e.Path)
		if err != nil || n.Dir || !n.Entry.SameFile(&e) || n.Name != path.Base(e.Path) {
			a.t.Fatalf("%s: lookup of %q gives %+v, %v", v.Name, e.Path, n, err)
		}
		a.checkSealed(c, v, w)
		size, sealedSize = size+e.Size, sealedSize+e.SealedSize
	}
	if v.Files != int64(len(want)) || size != v.Size || sealedSize != v.SealedSize {
		a.t.Fatalf("%s: %+v, want %d files of %d and %d bytes", v.Name, v, len(want), size, sealedSize)
	}
	if n := len(walkDirs(a.t, c, v, "")); n != len(want) {
		a.t.Fatalf("%s: %d files by folder, want %d", v.Name, n, len(want))
	}
}

func (a *archive) checkSealed(c *Catalog, v Version, want sealed) {
	a.t.Helper()
	f, _, err := c.OpenSealed(a.t.Context(), v, &want.Entry)
	if err != nil {
		a.t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, want.bytes) {
		a.t.Fatalf("%s of %s: got %q, want %q, %v", want.Path, v.Name, got, want.bytes, err)
	}
}

// walkDirs finds all files by ReadDir, and looks up every folder on the way.
func walkDirs(t testing.TB, c *Catalog, v Version, dir string) (paths []string) {
	t.Helper()
	if n, err := c.Lookup(t.Context(), v, dir); err != nil || !n.Dir {
		t.Fatalf("%q: %+v, %v", dir, n, err)
	}
	last, count := "", 0
	for n, err := range c.ReadDir(t.Context(), v, dir) {
		must(t, err)
		if count++; n.Name <= last {
			t.Fatalf("%q comes after %q", n.Name, last)
		}
		if last = n.Name; n.Dir {
			paths = append(paths, walkDirs(t, c, v, join(dir, n.Name))...)
		} else {
			paths = append(paths, n.Entry.Path)
		}
	}
	if count == 0 && dir != "" {
		t.Fatalf("the folder %q is empty", dir)
	}
	return paths
}

// dump is all rows in a form that does not depend on how the catalog came to
// be: versions by name, folders by path, intervals cut to the versions left.
func dump(t testing.TB, c *Catalog) []string {
	t.Helper()
	rows, err := c.db.read.QueryContext(t.Context(), `SELECT hex(f.path), hex(n.name), (SELECT hex(path) FROM folders WHERE id = n.child),
		(SELECT name FROM versions WHERE storage = s.storage AND damaged = '' AND seq >= n.first ORDER BY seq LIMIT 1),
		(SELECT name FROM versions WHERE storage = s.storage AND damaged = '' AND seq <= n.last ORDER BY seq DESC LIMIT 1),
		n.last = 9223372036854775807, n.size, hex(n.sha512), hex(n.sealed_path), n.sealed_size, hex(n.sealed_sha512), hex(n.extra)
		FROM folders f JOIN (SELECT DISTINCT storage FROM versions) s
			ON f.path = CAST(s.storage AS BLOB) OR f.path > CAST(s.storage || '/' AS BLOB) AND f.path < CAST(s.storage || '0' AS BLOB)
		LEFT JOIN nodes n ON n.folder = f.id`)
	must(t, err)
	defer rows.Close()
	var all []string
	for rows.Next() {
		fields := make([]*string, 12)
		pointers := make([]any, 12)
		for i := range fields {
			pointers[i] = &fields[i]
		}
		must(t, rows.Scan(pointers...))
		var b strings.Builder
		for _, f := range fields {
			b.WriteString(*cmp.Or(f, new("")) + "|")
		}
		all = append(all, b.String())
	}
	must(t, rows.Err())
	versions, err := c.Versions(t.Context(), "")
	must(t, err)
	for _, v := range versions {
		all = append(all, fmt.Sprintf("%+v", v))
	}
	var nodes int
	must(t, c.db.read.QueryRow(`SELECT count(*) FROM nodes`).Scan(&nodes))
	all = append(all, fmt.Sprint(nodes, " nodes"))
	slices.Sort(all)
	return all
}

// history makes random nights.
type history struct {
	*rand.Rand
	now listing
	old []sealed
}

var (
	someDirs = []string{"", "ab/", "ab/cd/", "ab-/", "ab0/", "\xff/", "a/b/c/d/e/", "z\n/"}
	likeDirs = []string{"ab", "ab/cd", "ab-", "a/b/c"} // files where there are folders on other nights
)

func (h *history) next() listing {
	h.now = maps.Clone(h.now)
	if h.now == nil {
		h.now = listing{}
	}
	for range h.IntN(8) {
		switch paths := slices.Sorted(maps.Keys(h.now)); h.IntN(6) {
		case 0, 1:
			h.put(seal(someDirs[h.IntN(len(someDirs))]+fmt.Sprintf("f%02d", h.IntN(40)), fmt.Sprint(h.IntN(3))))
		case 2:
			if len(h.old) > 0 { // the very same sealed file again
				h.put(h.old[h.IntN(len(h.old))])
			}
		case 3:
			if len(paths) > 0 {
				delete(h.now, paths[h.IntN(len(paths))])
			}
		case 4:
			if len(paths) > 0 { // only its details change
				f := h.now[paths[h.IntN(len(paths))]]
				f.Modified = time.Unix(int64(h.IntN(3)), 5).UTC()
				h.put(f)
			}
		case 5:
			if h.IntN(3) == 0 {
				h.put(seal(likeDirs[h.IntN(len(likeDirs))], fmt.Sprint(h.IntN(3))))
			}
		}
	}
	return h.now
}

// put adds a file, in the place of folders of its name and of files of its
// folders' names.
func (h *history) put(s sealed) {
	maps.DeleteFunc(h.now, func(p string, _ sealed) bool {
		return strings.HasPrefix(p, s.Path+"/") || strings.HasPrefix(s.Path, p+"/")
	})
	h.now[s.Path] = s
	h.old = append(h.old, s)
}

func copyTree(t testing.TB, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "archive")
	if _, err := os.Stat(from); err != nil {
		t.Fatal(err)
	}
	must(t, os.CopyFS(to, os.DirFS(from)))
	return to
}
