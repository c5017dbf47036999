package verify

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/keys/keystest"
	"github.com/chipster/firn/internal/manifest"
)

const original = "../../testdata/original"

var quiet = slog.New(slog.DiscardHandler)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func opener(t testing.TB) *envelope.Opener { return envelope.NewOpener(keystest.Private(t, "curve")) }

// files are the plain files of a night.
type files map[string][]byte

// archive is made as the archiver makes it: what is still current goes on into
// the newest version's folder.
type archive struct {
	t          testing.TB
	root       string
	recipients envelope.Recipients
	session    *envelope.Session
	plain      map[string]files                     // of the storages' newest versions
	versions   map[string][]backupname.Name         // of the storages, oldest first
	nights     map[string]int                       // that there were, of each storage
	lists      map[backupname.Name][]manifest.Entry // as they were written
}

func newArchive(t testing.TB, key string) *archive {
	t.Helper()
	a := &archive{t: t, root: t.TempDir(), plain: map[string]files{}, versions: map[string][]backupname.Name{}, nights: map[string]int{}, lists: map[backupname.Name][]manifest.Entry{}}
	if key != "" {
		a.recipients.Keys = keystest.Private(t, key)
	}
	a.newPackage()
	return a
}

func (a *archive) newPackage() {
	a.t.Helper()
	session, err := a.recipients.NewSession()
	must(a.t, err)
	a.session = session
}

func (a *archive) file(n backupname.Name, sealedPath string) string {
	return filepath.Join(a.root, n.String(), sealedPath)
}

// night archives a version. between is called before each file is moved, if set.
func (a *archive) night(storage string, plain files, between ...func()) backupname.Name {
	a.t.Helper()
	n, err := backupname.New(storage, time.Date(2026, 1, 1, 1, 10, 0, 0, time.UTC).AddDate(0, 0, a.nights[storage]))
	a.nights[storage]++
	must(a.t, err)
	before := map[string]manifest.Entry{}
	var last backupname.Name
	if all := a.versions[storage]; len(all) > 0 {
		last = all[len(all)-1]
		for _, e := range a.lists[last] {
			before[e.Path] = e
		}
	}
	var list []manifest.Entry
	for _, path := range slices.Sorted(maps.Keys(plain)) {
		for _, f := range between {
			f()
		}
		e, ok := before[path]
		if ok && bytes.Equal(a.plain[storage][path], plain[path]) {
			must(a.t, os.MkdirAll(filepath.Dir(a.file(n, e.SealedPath)), 0o755))
			must(a.t, os.Rename(a.file(last, e.SealedPath), a.file(n, e.SealedPath)))
		} else {
			e = a.seal(n, path, plain[path])
		}
		e.Backup = n
		list = append(list, e)
	}
	a.plain[storage] = plain
	a.publish(n, list)
	return n
}

func (a *archive) seal(n backupname.Name, path string, plain []byte) manifest.Entry {
	a.t.Helper()
	e := manifest.Entry{Path: path, SealedPath: manifest.SealedPath(path, a.recipients.Suffix()), Backup: n}
	must(a.t, os.MkdirAll(filepath.Dir(a.file(n, e.SealedPath)), 0o755))
	out, err := os.Create(a.file(n, e.SealedPath))
	must(a.t, err)
	w, err := a.session.NewWriter(out, int64(len(plain)))
	must(a.t, err)
	_, err = w.Write(plain)
	sums, cerr := w.Close()
	must(a.t, errors.Join(err, cerr, out.Close()))
	e.Size, e.SHA512, e.SealedSize, e.SealedSHA512, e.Blocks = sums.Size, sums.SHA512, sums.SealedSize, sums.SealedSHA512, sums.Blocks
	return e
}

// publish writes the list of a version.
func (a *archive) publish(n backupname.Name, list []manifest.Entry) {
	a.t.Helper()
	must(a.t, os.MkdirAll(a.file(n, ""), 0o755))
	must(a.t, os.MkdirAll(filepath.Join(a.root, ".firn"), 0o755))
	fresh := filepath.Join(a.root, ".firn", manifest.ArchiveInfo)
	f, err := os.Create(fresh)
	must(a.t, err)
	w := manifest.NewWriter(f)
	for _, e := range list {
		must(a.t, w.Write(&e))
	}
	must(a.t, errors.Join(w.Flush(), f.Close()))
	must(a.t, os.Rename(fresh, a.file(n, manifest.ArchiveInfo)))
	a.lists[n] = list
	if all := a.versions[n.Storage()]; !slices.Contains(all, n) {
		a.versions[n.Storage()] = append(all, n)
	}
}

// prune deletes the oldest version, as the archiver does.
func (a *archive) prune(storage string) {
	a.t.Helper()
	all := a.versions[storage]
	trash := filepath.Join(a.root, ".firn", "trash")
	must(a.t, os.MkdirAll(trash, 0o755))
	must(a.t, os.Rename(a.file(all[0], ""), filepath.Join(trash, all[0].String())))
	must(a.t, os.RemoveAll(trash))
	a.versions[storage] = all[1:]
}

// sealed are all sealed files as they lie, each with its newest line.
func (a *archive) sealed() (all []manifest.Entry) {
	a.t.Helper()
	for _, versions := range a.versions {
		for _, n := range versions {
			for _, e := range a.lists[n] {
				if _, err := os.Lstat(a.file(n, e.SealedPath)); err == nil {
					all = append(all, e)
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b manifest.Entry) int {
		return bytes.Compare([]byte(a.Backup.String()+"/"+a.Path), []byte(b.Backup.String()+"/"+b.Path))
	})
	return all
}

func (a *archive) catalog() *catalog.Catalog { return openCatalog(a.t, a.root) }

func openCatalog(t testing.TB, root string) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Open(t.Context(), root, catalog.Options{Path: filepath.Join(t.TempDir(), "catalog"), Logger: quiet})
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (a *archive) options() Options {
	a.t.Helper()
	return Options{Catalog: a.catalog(), Root: a.root, Logger: quiet}
}

// mustBeFine runs on an archive that nothing is wrong with.
func mustBeFine(t testing.TB, o Options) *Report {
	t.Helper()
	report, err := Run(t.Context(), o)
	if err != nil || report.Count != 0 || len(report.Problems) != 0 || len(report.Lists) != 0 || report.Extra != 0 {
		t.Fatalf("%v: %+v", err, report)
	}
	return report
}

// random makes plain files of which some have several blocks.
func (f files) random(random *rand.Rand, prefix string, small, large int) files {
	f = maps.Clone(f)
	if f == nil {
		f = files{}
	}
	for i := range small + large {
		size := random.IntN(6000)
		if i >= small {
			size = 1<<20 + random.IntN(2<<20)
		}
		f[fmt.Sprintf("%02x/%s-%d", random.IntN(256), prefix, i)] = randomBytes(random, size)
	}
	return f
}

func randomBytes(random *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

// threeNights are an archive with files in each of three versions' folders, of
// two storages.
func threeNights(t testing.TB, random *rand.Rand, key string) *archive {
	t.Helper()
	a := newArchive(t, key)
	for _, storage := range []string{"file-storage", "session-db-backup"} {
		plain := files{}
		for night := range 3 {
			for path := range plain {
				switch random.IntN(6) {
				case 0:
					delete(plain, path)
				case 1:
					plain[path] = append(bytes.Clone(plain[path]), "more"...)
				}
			}
			plain = plain.random(random, fmt.Sprint(night), 12, 1)
			a.newPackage()
			a.night(storage, plain)
		}
	}
	return a
}
