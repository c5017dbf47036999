package catalog

import (
	"crypto/sha512"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
)

// What the original left behind shows what it must in every version.
func TestOriginalArchives(t *testing.T) {
	for _, kind := range []string{"rsa", "curve", "passphrase", "plain"} {
		t.Run(kind, func(t *testing.T) {
			dir := filepath.Join("../../testdata/original", kind)
			b, err := os.ReadFile(filepath.Join(dir, "expected.json"))
			must(t, err)
			var texts map[string]map[string]string
			must(t, json.Unmarshal(b, &texts))
			want := map[string]map[string]manifest.Hash{}
			for version, files := range texts {
				want[version] = map[string]manifest.Hash{}
				for path, text := range files {
					if want[version][path], err = manifest.ParseHash(text); err != nil {
						t.Fatal(err)
					}
				}
			}
			a := &archive{t: t, root: copyTree(t, filepath.Join(dir, "archive"))}
			c := a.newCatalog()
			versions, err := c.Versions(t.Context(), "file-storage")
			must(t, err)
			if len(versions) != len(want) || len(want) != 4 || !slices.IsSortedFunc(versions, func(a, b Version) int { return a.Name.Time().Compare(b.Name.Time()) }) {
				t.Fatalf("versions %+v", versions)
			}
			for _, v := range versions {
				got := map[string]manifest.Hash{}
				for e, err := range c.Files(t.Context(), v, "") {
					must(t, err)
					got[e.Path] = e.SHA512
					f, _, err := c.OpenSealed(t.Context(), v, &e)
					must(t, err)
					h := sha512.New()
					_, err = io.Copy(h, f)
					must(t, errors.Join(err, f.Close()))
					if manifest.Hash(h.Sum(nil)) != e.SealedSHA512 {
						t.Errorf("%s of %s: another sealed file", e.Path, v.Name)
					}
				}
				if !maps.Equal(got, want[v.Name.String()]) || len(walkDirs(t, c, v, "")) != len(got) {
					t.Errorf("%s: got %v", v.Name, got)
				}
			}
		})
	}
}

// seeds are those of random tests.
func seeds(n uint64) uint64 {
	if underRace {
		return 1
	}
	return n
}

// However a history came about, the catalog answers as the model, and is the
// same as one that was built at once.
func TestRandomHistories(t *testing.T) {
	for seed := range seeds(6) {
		a := newArchive(t)
		c := a.newCatalog()
		h := &history{Rand: rand.New(rand.NewPCG(seed, 1))}
		for day := range 9 {
			a.archive(night(t, "file-storage", 10+day), h.next())
			if day%3 == 0 { // other storages, whose names begin with the first's
				a.archive(night(t, "file-storage-0", day), h.next())
				a.archive(night(t, "file-storage0", day), h.next())
			}
			if !refresh(t, c) || refresh(t, c) {
				t.Fatal("a change is told of once")
			}
			a.check(c)
			if day > 4 && h.IntN(3) == 0 {
				a.remove(a.names()[0]) // nothing of another one's lies there
				refresh(t, c)
				a.check(c)
			}
		}
		if got, want := dump(t, c), dump(t, a.newCatalog()); !slices.Equal(got, want) {
			t.Fatalf("seed %d: got\n%s\nwant\n%s", seed, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// Versions come and go in any place. Files are only where some folder has them.
func TestDisorder(t *testing.T) {
	impatient(t)
	for seed := range seeds(8) {
		a := newArchive(t)
		c := a.newCatalog()
		h := &history{Rand: rand.New(rand.NewPCG(seed, 2))}
		for step := range 20 {
			names := a.names()
			any := func() backupname.Name { return names[h.IntN(len(names))] }
			switch op := h.IntN(6); {
			case op < 2 || len(names) < 3:
				a.archive(night(t, "s", 100+step), h.next())
			case op == 2:
				a.remove(any())
			case op == 3: // late: between, or before, the others
				files := maps.Clone(h.now)
				if h.IntN(2) == 0 {
					files = maps.Clone(a.versions[any()])
				}
				late := seal("late", "x")
				files["late"] = late
				n := night(t, "s", 60+h.IntN(100+step-60))
				if a.versions[n] == nil {
					a.publish(n, files)
					must(t, os.WriteFile(a.file(n, late.SealedPath), late.bytes, 0o644))
				}
			case op == 4: // another list
				n := any()
				files := maps.Clone(a.versions[n])
				for p := range files {
					if h.IntN(4) == 0 {
						delete(files, p)
					}
				}
				a.publish(n, files)
			case op == 5: // damaged, looked at, and mended
				n := any()
				must(t, os.WriteFile(a.file(n, manifest.ArchiveInfo), []byte("half a line"), 0o644))
				refresh(t, c)
				if v, err := c.Find(t.Context(), n.String()); err != nil || v.Damaged == "" {
					t.Fatalf("%+v, %v", v, err)
				}
				if h.IntN(2) == 0 {
					a.archive(night(t, "s", 100+step), h.next())
					refresh(t, c)
				}
				a.publish(n, a.versions[n])
			}
			refresh(t, c)
			a.checkDisorder(c)
		}
		if got, want := dump(t, c), dump(t, a.newCatalog()); !slices.Equal(got, want) {
			t.Fatalf("seed %d: got\n%s\nwant\n%s", seed, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// impatient makes a search for what is missing end at once.
func impatient(t *testing.T) {
	old := patience
	patience = nil
	t.Cleanup(func() { patience = old })
}

func (a *archive) checkDisorder(c *Catalog) {
	a.t.Helper()
	versions, err := c.Versions(a.t.Context(), "")
	must(a.t, err)
	if len(versions) != len(a.versions) {
		a.t.Fatalf("%d versions, want %d", len(versions), len(a.versions))
	}
	for _, v := range versions {
		want, n := a.versions[v.Name], 0
		for e, err := range c.Files(a.t.Context(), v, "") {
			must(a.t, err)
			n++
			w := want[e.Path]
			if !e.SameFile(&w.Entry) {
				a.t.Fatalf("%s: got %+v, want %+v", v.Name, e, w.Entry)
			}
			if a.holds("s", w) {
				a.checkSealed(c, v, w)
			} else if _, _, err := c.OpenSealed(a.t.Context(), v, &e); !errors.Is(err, ErrMissing) {
				a.t.Fatalf("%s of %s: %v", e.Path, v.Name, err)
			}
		}
		if n != len(want) {
			a.t.Fatalf("%s: %d files, want %d", v.Name, n, len(want))
		}
	}
}

func TestFind(t *testing.T) {
	a := newArchive(t)
	for _, text := range []string{"fs_2024-01-01T01:10:00Z", "fs_2024-01-02T01:10:00.512Z", "fs_2024-01-02T01:10:00Z", "fs-0_2023-01-01T01:10:00Z"} {
		a.publish(name(t, text), nil)
	}
	for day := range 9 {
		a.publish(night(t, "many", day), nil)
	}
	c := a.newCatalog()
	for spec, want := range map[string]string{
		"fs_2024-01-02T01:10:00Z":     "fs_2024-01-02T01:10:00Z",
		"fs/2024-01-02T01:10:00Z":     "fs_2024-01-02T01:10:00Z",
		"fs/latest":                   "fs_2024-01-02T01:10:00.512Z",
		"fs-0/latest":                 "fs-0_2023-01-01T01:10:00Z",
		"fs-":                         "fs-0_2023-01-01T01:10:00Z",
		"fs/2024-01-01":               "fs_2024-01-01T01:10:00Z",
		"fs_2024-01-02T01:10:00.":     "fs_2024-01-02T01:10:00.512Z",
		"many_2024-01-05T01:10:00.0":  "many_2024-01-05T01:10:00.000Z",
		"many_2024-01-05T01:10:00.00": "many_2024-01-05T01:10:00.000Z",
	} {
		if v, err := c.Find(t.Context(), spec); err != nil || v.Name.String() != want {
			t.Errorf("%q: %s, %v", spec, v.Name, err)
		}
	}
	for _, spec := range []string{"", "latest", "x", "f/latest", "fs/2025", "fs_latest", "fs/2024-01-02T01:10:00Z/"} {
		if v, err := c.Find(t.Context(), spec); !errors.Is(err, ErrNoVersion) {
			t.Errorf("%q: %s, %v", spec, v.Name, err)
		}
	}
	for _, spec := range []string{"fs", "fs/2024-01-02", "fs_2024-01-02T01:10:00"} {
		if v, err := c.Find(t.Context(), spec); !errors.Is(err, ErrAmbiguous) {
			t.Errorf("%q: %s, %v", spec, v.Name, err)
		}
	}
	_, err := c.Find(t.Context(), "many")
	if !errors.Is(err, ErrAmbiguous) || strings.Count(err.Error(), "many_") != maxCandidates || !strings.Contains(err.Error(), "4 others") {
		t.Error(err)
	}
}

func TestWhatIsNotThere(t *testing.T) {
	a := newArchive(t)
	files := listing{}
	for _, p := range []string{"ab/c", "abc/d", "x"} {
		files[p] = seal(p, "1")
	}
	a.archive(night(t, "s", 0), files)
	a.archive(night(t, "s", 1), nil)
	c := a.newCatalog()
	old, err := c.Find(t.Context(), night(t, "s", 0).String())
	must(t, err)
	empty, err := c.Find(t.Context(), "s/latest")
	must(t, err)
	list := func(v Version, dir string) (err error) {
		for _, err = range c.ReadDir(t.Context(), v, dir) {
		}
		return err
	}
	for _, p := range []string{"a", "ab/", "/ab", "ab//c", "ab/c/d", "x/y", "..", "../x", ".", "/", "c"} {
		_, err := c.Lookup(t.Context(), old, p)
		if !errors.Is(err, ErrNotExist) || !errors.Is(err, fs.ErrNotExist) || !errors.Is(list(old, p), ErrNotExist) {
			t.Errorf("%q: %v", p, err)
		}
		for _, err := range c.Files(t.Context(), old, p) {
			if !errors.Is(err, ErrNotExist) {
				t.Errorf("%q: %v", p, err)
			}
		}
	}
	if err := list(old, "x"); !errors.Is(err, unix.ENOTDIR) {
		t.Error(err)
	}
	if _, err := c.Lookup(t.Context(), empty, "ab"); !errors.Is(err, ErrNotExist) || !errors.Is(list(empty, "ab"), ErrNotExist) {
		t.Errorf("a folder of another version is found: %v", err)
	}
	if n, err := c.Lookup(t.Context(), empty, ""); err != nil || !n.Dir || list(empty, "") != nil {
		t.Errorf("%+v, %v", n, err)
	}
	var below []string
	for _, under := range []string{"ab", "x", ""} {
		for e, err := range c.Files(t.Context(), old, under) {
			must(t, err)
			below = append(below, e.Path)
		}
	}
	if want := []string{"ab/c", "x", "x", "ab/c", "abc/d"}; !slices.Equal(below, want) {
		t.Errorf("got %q", below)
	}
	gone := Version{Name: night(t, "s", 7)}
	if _, err := c.Lookup(t.Context(), gone, "x"); !errors.Is(err, ErrNoVersion) || !errors.Is(list(gone, ""), ErrNoVersion) {
		t.Error(err)
	}
	if _, err := Open(t.Context(), filepath.Join(a.root, "nothing"), Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestDiff(t *testing.T) {
	for seed := range seeds(5) {
		a := newArchive(t)
		h := &history{Rand: rand.New(rand.NewPCG(seed, 3))}
		for day := range 5 {
			a.archive(night(t, "s", day), h.next())
			a.archive(night(t, "s-1", day), h.next())
		}
		c := a.newCatalog()
		versions, err := c.Versions(t.Context(), "")
		must(t, err)
		for _, from := range versions {
			for _, to := range versions {
				a.checkDiff(c, from, to)
			}
		}
	}
}

func (a *archive) checkDiff(c *Catalog, from, to Version) {
	a.t.Helper()
	before, after := a.versions[from.Name], a.versions[to.Name]
	want := map[string]Kind{}
	for p, old := range before {
		if f, ok := after[p]; !ok {
			want[p] = Removed
		} else if f.SHA512 != old.SHA512 {
			want[p] = Changed
		}
	}
	for p := range after {
		if _, ok := before[p]; !ok {
			want[p] = Added
		}
	}
	var last *manifest.Entry
	for d, err := range c.Diff(a.t.Context(), from, to) {
		must(a.t, err)
		if want[d.Path] != d.Kind || (d.Old == nil) != (d.Kind == Added) || (d.New == nil) != (d.Kind == Removed) {
			a.t.Fatalf("%s to %s: %+v, want %s", from.Name, to.Name, d, want[d.Path])
		}
		delete(want, d.Path)
		e := &manifest.Entry{Path: d.Path}
		if last != nil && compareFiles(last, e) >= 0 {
			a.t.Fatalf("%q comes after %q", d.Path, last.Path)
		}
		last = e
	}
	if len(want) > 0 {
		a.t.Fatalf("%s to %s: not found: %v", from.Name, to.Name, want)
	}
}
