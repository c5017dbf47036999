package archiver

import (
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/faultfs"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/memorytest"
)

// shuffler is an uploader that makes large backups: their lines are in no order,
// their files in many packages, of which some lines say nothing.
type shuffler struct {
	*world
	r     *rand.Rand
	plain map[string]string
	lines map[string]sealed // what was uploaded last, archived or not
}

func newShuffler(t *testing.T, seed uint64) *shuffler {
	return &shuffler{newWorld(t), rand.New(rand.NewPCG(seed, 7)), map[string]string{}, map[string]sealed{}}
}

// add makes files in folders of which some are in one another.
func (s *shuffler) add(n int) {
	for range n {
		p := ""
		for range s.r.IntN(5) {
			p += fmt.Sprintf("%c%d/", 'a'+s.r.IntN(3), s.r.IntN(3))
		}
		s.plain[fmt.Sprintf("%sf%d", p, s.r.IntN(1000))] = fmt.Sprint("content ", s.r.IntN(1000))
	}
}

func (s *shuffler) drop(n int) {
	for _, p := range sorted(s.plain)[:n] {
		delete(s.plain, p)
	}
}

// backup builds on the backup before, as if that was archived: with two before one
// archiving, files are not where the second one's list says.
func (s *shuffler) backup(t *testing.T) backupname.Name {
	t.Helper()
	name := s.nameAt(t, "fs")
	var entries []manifest.Entry
	packages := map[string][]sealed{}
	for _, p := range sorted(s.plain) {
		f, known := s.lines[p]
		if !known || f.entry.SHA512 != sha512.Sum512([]byte(s.plain[p])) {
			f = s.seal(name, p, s.plain[p])
			pkg := fmt.Sprintf("p%d.tar", s.r.IntN(20))
			packages[pkg] = append(packages[pkg], f)
			if s.r.IntN(50) > 0 {
				f.entry.Package = pkg
			}
			s.lines[p] = f
		}
		entries = append(entries, f.entry)
	}
	s.r.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
	for pkg, files := range packages {
		s.r.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
		s.put(t, name.String()+"/"+pkg, pack(t, files...))
	}
	s.put(t, name.String()+"/backup-info", list(t, entries...))
	return name
}

// checkNewest holds the newest version against the files of the last backup: all
// but lost ones, in the order of the backup's list.
func (s *shuffler) checkNewest(t *testing.T, name backupname.Name, lost map[string]bool) {
	t.Helper()
	versions := s.versions(t)["fs"]
	newest := versions[len(versions)-1]
	var want, got []string
	for _, e := range readEntries(t, filepath.Join(s.bucket, name.String(), "backup-info")) {
		if !lost[e.Path] {
			want = append(want, e.Path)
		}
	}
	for _, e := range newest.entries {
		got = append(got, e.Path)
		if f := s.lines[e.Path]; e.SealedSHA512 != f.entry.SealedSHA512 {
			t.Errorf("%s is another file", e.Path)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s lists %d files, not %d, or in another order", newest.name, len(got), len(want))
	}
}

// Whatever the order of lines and members, files are where they belong: also of
// two backups before one archiving, with many folders, and where some lie in
// folders that no list names, or nowhere.
func TestManyFiles(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			s := newShuffler(t, seed)
			o := s.options()
			o.Workers = []int{-1, 1, 3}[seed]
			archive := func() {
				t.Helper()
				if _, err := Run(t.Context(), o); err != nil {
					t.Fatal(err)
				}
				s.checkArchive(t)
			}
			s.add(1000)
			first := s.backup(t)
			archive()
			s.checkNewest(t, first, nil)
			var name backupname.Name
			for range 3 { // three nights before one archiving
				s.now = s.now.Add(time.Hour)
				s.add(200)
				s.drop(100)
				name = s.backup(t)
			}
			archive()
			s.checkNewest(t, name, nil)

			// Somebody moved files to an older version's folder, and deleted others.
			lost := map[string]bool{}
			for i, p := range sorted(s.plain)[:150] {
				from := s.folder(name, s.lines[p].entry.SealedPath)
				if i%3 == 0 {
					lost[p] = true
					must(t, os.Remove(from))
					continue
				}
				to := s.folder(first, s.lines[p].entry.SealedPath)
				must(t, os.MkdirAll(filepath.Dir(to), 0o755))
				must(t, os.Rename(from, to))
			}
			s.now = s.now.Add(time.Hour)
			name = s.backup(t)
			report, err := Run(t.Context(), o)
			if b := report.Backups[0]; !errors.Is(err, ErrIncomplete) || b.Missing.Count != len(lost) || b.Damaged.Count+b.Unexpected.Count > 0 {
				t.Fatalf("%v: %+v", err, b)
			}
			s.checkNewest(t, name, lost)
		})
	}
}

// newFastWorld is a world in memory, for what would take minutes on a disk.
func newFastWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	faultfs.Tmpfs(t, dir, "")
	return openWorld(t, filepath.Join(dir, "bucket"), filepath.Join(dir, "root"))
}

// An archiver is killed after it had moved some batches to the version's folder,
// or some of the carried files: what was brought is not fetched again, and the next
// run ends where an undisturbed one does.
func TestKillBetweenBatches(t *testing.T) {
	prepare := func(w *world) {
		w.now = start.AddDate(0, 0, -1)
		u := &nightly{w, "fs", map[string]string{}}
		for i := range 500 {
			u.plain[fmt.Sprintf("c%d/f%d", i%80, i)] = "carried"
		}
		u.backup(t)
		w.run(t)
		w.now = start
		for i := range batchFiles + 1000 {
			u.plain[fmt.Sprintf("n%d/f%d", i%100, i)] = "new"
		}
		u.backup(t)
	}
	calm := newFastWorld(t)
	prepare(calm)
	var steps []string
	o := killOptions(calm)
	o.step = func(what string) { steps = append(steps, what) }
	_, err := Run(t.Context(), o)
	must(t, err)
	calm.checkArchive(t)
	want := calm.archiveTree(t)
	firstSync := slices.Index(steps, "sync")
	list := slices.IndexFunc(steps, func(s string) bool { return strings.HasSuffix(s, "/archive-info") && strings.HasPrefix(s, "rename ") })
	if n := len(slices.DeleteFunc(slices.Clone(steps), func(s string) bool { return s != "sync" })); n != 3 {
		t.Errorf("%d syncs, not one for each batch and one for the list", n)
	}
	for _, at := range []int{firstSync + 2000, firstSync + batchFiles + 500, list - 100} {
		w := newFastWorld(t)
		prepare(w)
		w.killedRun(t, strconv.Itoa(at))
		w.checkFindable(t)
		count := 0
		o := killOptions(w)
		o.step = func(what string) {
			if strings.HasPrefix(what, "create "+downloadDir) {
				count++
			}
		}
		_, err := Run(t.Context(), o)
		must(t, err)
		if got := w.archiveTree(t); len(got) != len(want) {
			t.Errorf("killed before step %d: %d files, not %d", at, len(got), len(want))
		}
		w.checkArchive(t)
		if count > 1000 {
			t.Errorf("killed before step %d: %d files were fetched again", at, count)
		}
	}
}

// Memory does not grow with the number of files.
func TestMemory(t *testing.T) {
	peak := func(n int) uint64 {
		w := newFastWorld(t)
		name := w.manyLines(t, n, 500)
		most := memorytest.Peak(func() { w.run(t) })
		w.now = w.now.Add(time.Hour)
		w.put(t, w.nameAt(t, "fs").String()+"/backup-info", must1(os.ReadFile(w.folder(name, "archive-info"))))
		return max(most, memorytest.Peak(func() {
			if b := w.run(t).Backups[0]; b.Carried != n {
				t.Errorf("%+v", b)
			}
		}))
	}
	// Of the few there are already more than sorting holds in memory.
	few, many := peak(60_000), peak(200_000)
	t.Logf("%d KiB with 60,000 files, %d KiB with 200,000", few>>10, many>>10)
	if many > 64<<20 || many > few+(12<<20) {
		t.Errorf("%d MiB with 60,000 files, %d MiB with 200,000", few>>20, many>>20)
	}
}

func must1(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// manyLines is a backup of empty files, some in each package.
func (w *world) manyLines(t *testing.T, n, perPackage int) backupname.Name {
	t.Helper()
	name := w.nameAt(t, "fs")
	empty := manifest.Hash(sha512.Sum512(nil))
	r, out := io.Pipe()
	go func() {
		lines := manifest.NewWriter(out)
		for i := range n {
			p := fmt.Sprintf("d%03d/e%03d/f%07d", i/10_000, i/100%100, i)
			err := lines.Write(&manifest.Entry{Path: p, SHA512: empty, SealedPath: p + ".lz4", SealedSHA512: empty, Backup: name,
				Details: manifest.Details{Package: fmt.Sprintf("p%04d.tar", i/perPackage)}})
			if err != nil {
				out.CloseWithError(err)
				return
			}
		}
		out.CloseWithError(lines.Flush())
	}()
	list, err := io.ReadAll(r)
	must(t, err)
	w.put(t, name.String()+"/backup-info", list)
	for first := 0; first < n; first += perPackage {
		var files []sealed
		for i := first; i < min(first+perPackage, n); i++ {
			files = append(files, sealed{entry: manifest.Entry{SealedPath: fmt.Sprintf("d%03d/e%03d/f%07d.lz4", i/10_000, i/100%100, i)}})
		}
		w.put(t, fmt.Sprintf("%s/p%04d.tar", name, first/perPackage), pack(t, files...))
	}
	return name
}

// Of two packages with the same file, which are fetched at once, the good one
// counts, whichever comes first.
func TestDamagedInOnePackageOnly(t *testing.T) {
	for _, good := range []string{"a.tar", "b.tar"} {
		w := newWorld(t)
		n := w.nameAt(t, "fs")
		f := w.seal(n, "a", strings.Repeat("x", 3<<20))
		bad := sealed{f.entry, []byte(strings.Repeat("?", len(f.bytes)))}
		w.put(t, n.String()+"/a.tar", pack(t, bad))
		w.put(t, n.String()+"/b.tar", pack(t, bad))
		w.put(t, n.String()+"/"+good, pack(t, f))
		w.put(t, n.String()+"/backup-info", list(t, f.entry))
		report, err := Run(t.Context(), w.options())
		if err != nil && report.Backups[0].Unexpected.Count == 0 {
			t.Errorf("good in %s: %v: %+v", good, err, report)
		}
		if got := w.archived(t); len(got) != 1 {
			t.Errorf("good in %s: archived %q", good, got)
		}
		w.checkArchive(t)
	}
}

// A list cannot have an older version's list carried away, whatever it says.
func TestListsAreNotCarried(t *testing.T) {
	w := newWorld(t)
	u := &nightly{w, "fs", map[string]string{"a": "a"}}
	first := u.backup(t)
	w.run(t)
	content := must1(os.ReadFile(w.folder(first, "archive-info")))
	e := readEntries(t, w.folder(first, "archive-info"))[0]
	e.Path, e.SealedPath, e.SealedSize, e.SealedSHA512 = "b", "archive-info", int64(len(content)), sha512.Sum512(content)
	w.now = w.now.Add(time.Hour)
	w.put(t, w.nameAt(t, "fs").String()+"/backup-info", list(t, e))
	if report, err := Run(t.Context(), w.options()); !errors.Is(err, ErrIncomplete) || report.Backups[0].Damaged.Count != 1 {
		t.Errorf("%v: %+v", err, report)
	}
	if v := w.versions(t)["fs"]; len(v) != 2 || len(v[0].entries) != 1 {
		t.Errorf("%+v", v)
	}
}

// Where a version's list cannot be read, the hash decides what lies beside it.
func TestDamagedListWhereSearched(t *testing.T) {
	w := newWorld(t)
	u := &nightly{w, "fs", map[string]string{"x/a": "a", "x/b": "b"}}
	first := u.backup(t)
	w.run(t)
	entries := readEntries(t, w.folder(first, "archive-info"))
	w.now = w.now.Add(time.Hour)
	u.plain["c"] = "c"
	second := u.backup(t)
	w.run(t)
	must(t, os.WriteFile(w.folder(second, "archive-info"), []byte("no list\n"), 0o644))
	b := w.folder(second, "x/b.lz4.gpg")
	must(t, os.WriteFile(b, []byte(strings.Repeat("?", int(entries[1].SealedSize))), 0o644))
	w.now = w.now.Add(time.Hour)
	third := w.nameAt(t, "fs")
	w.upload(t, third, nil, entries...) // which say that they lie in the first
	report, err := Run(t.Context(), w.options())
	if !errors.Is(err, ErrIncomplete) || !slices.Equal(report.Backups[0].Missing.First, []string{"x/b"}) {
		t.Errorf("%v: %+v", err, report)
	}
	if !exists(w.folder(third, "x/a.lz4.gpg")) || !exists(b) {
		t.Error("what has the right hash was not taken, or what has not was")
	}
}

// Whose list it is stays on the first line, also when that one's file is missing.
func TestInstallationStays(t *testing.T) {
	w := newWorld(t)
	n := w.nameAt(t, "fs")
	a, b := w.seal(n, "a", "a"), w.seal(n, "b", "b")
	a.entry.Installation = "chipster"
	w.put(t, n.String()+"/backup-info", list(t, a.entry, b.entry))
	w.put(t, n.String()+"/x.tar", pack(t, b))
	if _, err := Run(t.Context(), w.options()); !errors.Is(err, ErrIncomplete) {
		t.Error(err)
	}
	if got := readEntries(t, w.folder(n, "archive-info")); len(got) != 1 || got[0].Installation != "chipster" {
		t.Errorf("%+v", got)
	}
}
