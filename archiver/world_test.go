package archiver

import (
	"archive/tar"
	"bytes"
	"crypto/sha512"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/objstore"
)

// world is a bucket, an archive, and a clock.
type world struct {
	bucket, root string
	store        objstore.Store
	now          time.Time
	seals        int
}

var start = time.Date(2024, 3, 1, 1, 10, 0, 0, time.UTC)

func newWorld(t testing.TB) *world {
	t.Helper()
	dir := t.TempDir()
	return openWorld(t, filepath.Join(dir, "bucket"), filepath.Join(dir, "root"))
}

func openWorld(t testing.TB, bucket, root string) *world {
	t.Helper()
	for _, d := range []string{bucket, root} {
		must(t, os.MkdirAll(d, 0o755))
	}
	store, err := objstore.OpenDir(bucket)
	must(t, err)
	return &world{bucket: bucket, root: root, store: store, now: start}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) options() Options {
	return Options{Store: w.store, Root: w.root, Now: func() time.Time { return w.now }, Location: time.UTC}
}

func (w *world) run(t testing.TB) *Report {
	t.Helper()
	report, err := Run(t.Context(), w.options())
	if err != nil {
		t.Fatalf("%v\n%+v", err, report)
	}
	return report
}

// nameAt is a backup's name at the clock's time.
func (w *world) nameAt(t testing.TB, storage string) backupname.Name {
	t.Helper()
	n, err := backupname.New(storage, w.now)
	must(t, err)
	return n
}

// sealed is a sealed file in a test: any bytes will do.
type sealed struct {
	entry manifest.Entry
	bytes []byte
}

// seal makes a new sealed file of a plain one. No two are alike.
func (w *world) seal(n backupname.Name, p, plain string) sealed {
	w.seals++
	b := fmt.Appendf(nil, "%06d %s", w.seals, plain)
	return sealed{bytes: b, entry: manifest.Entry{
		Path: p, Size: int64(len(plain)), SHA512: sha512.Sum512([]byte(plain)),
		SealedPath: manifest.SealedPath(p, ".lz4.gpg"), SealedSize: int64(len(b)), SealedSHA512: sha512.Sum512(b),
		Backup: n,
	}}
}

func inPackage(pkg string, files ...sealed) []sealed {
	for i := range files {
		files[i].entry.Package = pkg
	}
	return files
}

func pack(t testing.TB, files ...sealed) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		must(t, w.WriteHeader(&tar.Header{Name: f.entry.SealedPath, Typeflag: tar.TypeReg, Size: int64(len(f.bytes)), Mode: 0o644}))
		_, err := w.Write(f.bytes)
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

func list(t testing.TB, entries ...manifest.Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := manifest.NewWriter(&b)
	for i := range entries {
		must(t, w.Write(&entries[i]))
	}
	must(t, w.Flush())
	return b.Bytes()
}

func (w *world) put(t testing.TB, key string, data []byte) {
	t.Helper()
	must(t, w.store.Put(t.Context(), key, data))
}

// upload makes a backup in the bucket: one package with the new files, and a
// list of them and of what is carried.
func (w *world) upload(t testing.TB, n backupname.Name, files []sealed, carried ...manifest.Entry) {
	t.Helper()
	entries := slices.Clone(carried)
	for _, f := range files {
		entries = append(entries, f.entry)
	}
	if len(files) > 0 {
		w.put(t, n.String()+"/_small_files.tar", pack(t, files...))
	}
	w.put(t, n.String()+"/backup-info", list(t, entries...))
}

func readEntries(t testing.TB, file string) (entries []manifest.Entry) {
	t.Helper()
	b, err := os.ReadFile(file)
	must(t, err)
	for e, err := range manifest.Read(bytes.NewReader(b)) {
		must(t, err)
		entries = append(entries, e)
	}
	return entries
}

// tree lists a folder's files with their contents.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	must(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		b, err := os.ReadFile(p)
		files[rel] = string(b)
		return err
	}))
	return files
}

// versions are the archive's, by storage and oldest first, with their lists.
func (w *world) versions(t testing.TB) map[string][]version {
	t.Helper()
	entries, err := os.ReadDir(w.root)
	must(t, err)
	all := map[string][]version{}
	for _, e := range entries {
		n, err := backupname.Parse(e.Name())
		if err != nil {
			continue
		}
		info := filepath.Join(w.root, e.Name(), "archive-info")
		if _, err := os.Stat(info); err == nil {
			all[n.Storage()] = append(all[n.Storage()], version{n, readEntries(t, info)})
		}
	}
	for _, vs := range all {
		slices.SortFunc(vs, func(a, b version) int { return backupname.Compare(a.name, b.name) })
	}
	return all
}

type version struct {
	name    backupname.Name
	entries []manifest.Entry
}

// checkArchive holds the archive against the rules: each file of each version
// lies, with the right bytes, in the folder of the last version that lists it,
// and nowhere is anything else.
func (w *world) checkArchive(t testing.TB) {
	t.Helper()
	want := map[string]manifest.Hash{}
	for _, vs := range w.versions(t) {
		last := map[string]backupname.Name{}
		for _, v := range slices.Backward(vs) {
			want[v.name.String()+"/archive-info"] = manifest.Hash{}
			for _, e := range v.entries {
				if e.Backup != v.name {
					t.Errorf("%s: a line names %s", v.name, e.Backup)
				}
				id := e.SealedPath + string(e.SealedSHA512[:])
				if _, ok := last[id]; !ok {
					last[id] = v.name
				}
				want[last[id].String()+"/"+e.SealedPath] = e.SealedSHA512
			}
		}
	}
	got := tree(t, w.root)
	delete(got, lockFile)
	for p, content := range got {
		hash, ok := want[p]
		if !ok {
			t.Errorf("%s does not belong into the archive", p)
		} else if path.Base(p) != "archive-info" && hash != sha512.Sum512([]byte(content)) {
			t.Errorf("%s has other bytes than listed", p)
		}
	}
	for p := range want {
		if _, ok := got[p]; !ok {
			t.Errorf("%s is not there", p)
		}
	}
	w.checkNoEmptyFolders(t)
}

func (w *world) checkNoEmptyFolders(t testing.TB) {
	t.Helper()
	must(t, filepath.WalkDir(w.root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		entries, err := os.ReadDir(p)
		if len(entries) == 0 && !strings.HasSuffix(p, downloadDir) {
			t.Errorf("%s is left empty", p)
		}
		return err
	}))
}

// checkFindable holds what a reader of the archive needs at every instant: each
// file of each version lies in its version's folder or a later one's.
func (w *world) checkFindable(t testing.TB) {
	t.Helper()
	folders, err := os.ReadDir(w.root)
	must(t, err)
	for _, vs := range w.versions(t) {
		for _, v := range vs {
			for _, e := range v.entries {
				found := slices.ContainsFunc(folders, func(d fs.DirEntry) bool {
					b, err := os.ReadFile(filepath.Join(w.root, d.Name(), e.SealedPath))
					return err == nil && e.SealedSHA512 == sha512.Sum512(b)
				})
				if !found {
					t.Fatalf("%s of %s is nowhere", e.Path, v.name)
				}
			}
		}
	}
}

func (w *world) folder(n backupname.Name, parts ...string) string {
	return filepath.Join(append([]string{w.root, n.String()}, parts...)...)
}

func exists(p string) bool {
	_, err := os.Lstat(p)
	return err == nil
}

func sorted[M ~map[string]V, V any](m M) []string { return slices.Sorted(maps.Keys(m)) }
