package catalog

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/manifest"
)

// checkSealedFiles opens all files of a version, folder by folder.
func (a *archive) checkSealedFiles(c *Catalog, v Version, between func()) {
	a.t.Helper()
	files, err := c.SealedFiles(a.t.Context(), v)
	must(a.t, err)
	defer files.Close()
	folders := map[string][]manifest.Entry{}
	for e, err := range c.Files(a.t.Context(), v, "") {
		must(a.t, err)
		folders[path.Dir(e.Path)] = append(folders[path.Dir(e.Path)], e)
	}
	for _, dir := range slices.Sorted(maps.Keys(folders)) {
		must(a.t, files.Expect(a.t.Context(), folders[dir]))
		between()
		for _, e := range folders[dir] {
			f, _, err := files.Open(a.t.Context(), &e)
			if err != nil {
				a.t.Errorf("%s of %s: %v", e.Path, v.Name, err)
				continue
			}
			got, err := io.ReadAll(f)
			must(a.t, errors.Join(err, f.Close()))
			if want := a.versions[v.Name][e.Path]; string(got) != string(want.bytes) {
				a.t.Errorf("%s of %s: %q, want %q", e.Path, v.Name, got, want.bytes)
			}
		}
		if len(files.in.open) > maxFolders {
			a.t.Errorf("%d folders are open", len(files.in.open))
		}
	}
}

// Whatever the history was, files are found as one by one; an archiver that moves
// them between a question and its answer makes no difference.
func TestSealedFiles(t *testing.T) {
	for seed := range 4 {
		a := newArchive(t)
		h := &history{Rand: rand.New(rand.NewPCG(uint64(seed), 9))}
		files := listing{}
		for _, dir := range someDirs {
			for i := range 5 {
				p := fmt.Sprint(dir, "f", i)
				files[p] = seal(p, "1")
			}
		}
		h.now = files
		for day := range 12 {
			a.archive(night(t, "s", day), h.next())
		}
		c := a.newCatalog()
		versions := a.names()
		for i, n := range versions {
			a.checkSealedFiles(c, Version{Name: n}, func() {})
			a.checkSealedFiles(c, Version{Name: n}, func() {
				if h.IntN(2) == 0 {
					a.archive(night(t, "s", 100+len(a.versions)), h.next())
				}
			})
			if i%4 == 0 {
				refresh(t, c)
			}
		}
	}
}

// The places are known before files are looked for: none is looked for where it
// is not.
func TestExpect(t *testing.T) {
	a := newArchive(t)
	files := listing{}
	for i := range 30 {
		p := fmt.Sprintf("ab/%02d", i)
		files[p] = seal(p, "1")
	}
	first := night(t, "s", 0)
	a.archive(first, maps.Clone(files))
	for day := 1; day < 4; day++ { // ten files stay behind each night
		for i := range 10 {
			delete(files, fmt.Sprintf("ab/%02d", 10*(day-1)+i))
		}
		a.archive(night(t, "s", day), maps.Clone(files))
	}
	c := a.newCatalog()
	s, err := c.SealedFiles(t.Context(), Version{Name: first})
	must(t, err)
	defer s.Close()
	var entries []manifest.Entry
	for e, err := range c.Files(t.Context(), Version{Name: first}, "") {
		must(t, err)
		entries = append(entries, e)
	}
	must(t, s.Expect(t.Context(), entries[5:25]))
	if len(s.hints) != 20 {
		t.Errorf("%d places", len(s.hints))
	}
	for i, e := range entries[5:25] {
		want := night(t, "s", (i+5)/10)
		if got := s.hints[e.Path]; got.folder != want || got.sealed != e.SealedSHA512 {
			t.Errorf("%s: %s, want %s", e.Path, got.folder, want)
		}
	}
	// In the version's own folder is no file of these, so nobody opened it.
	for i, e := range entries[10:25] {
		f, _, err := s.Open(t.Context(), &e)
		must(t, err)
		must(t, f.Close())
		if slices.ContainsFunc(s.in.open, func(o openFolder) bool { return strings.HasPrefix(o.name, first.String()) }) {
			t.Fatalf("file %d was looked for in %s", i, first)
		}
	}
	// However many lie between two that are expected, two are held.
	must(t, s.Expect(t.Context(), []manifest.Entry{entries[0], entries[29]}))
	if len(s.hints) != 2 || s.hints["ab/00"].folder != first || s.hints["ab/29"].folder != night(t, "s", 2) {
		t.Errorf("of two files: %v", s.hints)
	}
}

func TestFolders(t *testing.T) {
	a := newArchive(t)
	n := night(t, "s", 0)
	write := func(name, content string) {
		must(t, os.MkdirAll(filepath.Dir(a.file(n, name)), 0o755))
		must(t, os.WriteFile(a.file(n, name), []byte(content), 0o644))
	}
	for i := range 2 * maxFolders {
		write(fmt.Sprintf("%d/x", i), fmt.Sprint(i))
	}
	root, err := os.OpenRoot(a.root)
	must(t, err)
	defer root.Close()
	in := NewFolders(root)
	defer in.Close()
	check := func(name, want string) {
		t.Helper()
		f, info, err := in.Open(n, name)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		if got, err := io.ReadAll(f); err != nil || string(got) != want || info.Size() != int64(len(want)) {
			t.Errorf("%s holds %q: %v", name, got, err)
		}
	}
	for range 2 {
		for i := range 2 * maxFolders {
			check(fmt.Sprintf("%d/x", i), fmt.Sprint(i))
		}
	}
	// Another folder has the name of one that is open.
	must(t, os.Rename(a.file(n, "15"), a.file(n, "away")))
	write("15/new", "new")
	check("15/new", "new")
	if _, _, err := in.Open(n, "15/x"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	// What is no file of the archive is not opened.
	outside := filepath.Join(t.TempDir(), "outside")
	must(t, os.WriteFile(outside, []byte("outside"), 0o644))
	must(t, os.Symlink(outside, a.file(n, "15/out")))
	must(t, os.Symlink("new", a.file(n, "15/in")))
	must(t, os.Symlink(filepath.Dir(outside), a.file(n, "dir")))
	must(t, unix.Mkfifo(a.file(n, "15/pipe"), 0o644))
	must(t, unix.Mknod(a.file(n, "15/socket"), unix.S_IFSOCK|0o644, 0))
	for name, want := range map[string]string{"15/out": "symbolic link", "15/in": "symbolic link", "15/pipe": "special file", "15/socket": "special file", "15": "a folder"} {
		if f, _, err := in.Open(n, name); !errors.Is(err, ErrNotRegular) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v", name, f, err)
		}
	}
	if f, _, err := in.Open(n, "dir/outside"); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v, %v", f, err)
	}
}
