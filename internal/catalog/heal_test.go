package catalog

import (
	"bytes"
	"context"
	"crypto/sha512"
	"errors"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/backupname"
)

// reseal gives the same plain file other sealed bytes, as many as before.
func reseal(s sealed, seal byte) sealed {
	s.bytes = bytes.Clone(s.bytes)
	s.bytes[0] = seal
	s.SealedSHA512 = sha512.Sum512(s.bytes)
	return s
}

// setAside does what a repair does with a file of the newest version.
func (a *archive) setAside(n backupname.Name, p string) {
	a.t.Helper()
	to := filepath.Join(a.root, ".firn", "damaged", n.String(), a.versions[n][p].SealedPath)
	must(a.t, os.MkdirAll(filepath.Dir(to), 0o755))
	must(a.t, os.Rename(a.file(n, a.versions[n][p].SealedPath), to))
	left := maps.Clone(a.versions[n])
	delete(left, p)
	a.publish(n, left)
}

// healing is an archive in which ab/x of the two oldest versions was lost with
// the third, and came again with the fourth, among files that are like it.
func healing(t *testing.T) (a *archive, old, again sealed) {
	a = newArchive(t)
	old, again = seal("ab/x", "x"), reseal(seal("ab/x", "x"), 'S')
	others := listing{"ab/y": seal("ab/y", "x"), "x": seal("x", "x")} // the same content under other names
	with := func(f sealed) listing {
		all := maps.Clone(others)
		all[f.Path] = f
		return all
	}
	for day := range 3 {
		a.archive(night(t, "s", day), with(old))
	}
	a.archive(night(t, "s-1", 0), with(old)) // another storage's is none of ours
	must(t, os.Remove(a.file(night(t, "s-1", 0), old.SealedPath)))
	a.setAside(night(t, "s", 2), old.Path)
	a.archive(night(t, "s", 3), with(again))
	a.archive(night(t, "s", 4), with(seal("ab/x", "changed since")))
	return a, old, again
}

func openWith(t *testing.T, c *Catalog, v backupname.Name, want sealed, from sealed) {
	t.Helper()
	f, of, err := c.OpenSealed(t.Context(), Version{Name: v}, &want.Entry)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := io.ReadAll(f)
	if err != nil || !bytes.Equal(got, from.bytes) {
		t.Errorf("got %q, %v", got, err)
	}
	if !of.SameFile(&from.Entry) {
		t.Errorf("opened with %+v, want %+v", of, from.Entry)
	}
}

// What was set aside and came again is read from where it came again, at once,
// and the log says so, once.
func TestHealed(t *testing.T) {
	old := patience
	patience = []time.Duration{time.Hour}
	t.Cleanup(func() { patience = old })
	a, lost, again := healing(t)
	var log bytes.Buffer
	c, err := Open(t.Context(), a.root, Options{Path: filepath.Join(t.TempDir(), "c"), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	for range 2 {
		for day := range 2 {
			openWith(t, c, night(t, "s", day), lost, again)
		}
	}
	if n := strings.Count(log.String(), "another version's"); n != 1 || !strings.Contains(log.String(), "ab/x") {
		t.Errorf("told %d times: %s", n, &log)
	}
	for n, files := range a.versions { // nobody else is given another file
		for _, f := range files {
			if f.SealedSHA512 != lost.SealedSHA512 {
				openWith(t, c, n, f, f)
			}
		}
	}
	if _, _, err := c.OpenSealed(timeout(t), Version{Name: night(t, "s-1", 0)}, &lost.Entry); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("another storage's file: %v", err)
	}
}

// A file of another content, or of another size, stands for nobody.
func TestHealedIsTheSameFile(t *testing.T) {
	impatient(t)
	a, lost, _ := healing(t)
	c := a.newCatalog()
	for what, change := range map[string]func(*sealed){
		"content": func(s *sealed) { s.SHA512[0]++ },
		"size":    func(s *sealed) { s.Size++ },
		"path":    func(s *sealed) { s.Path = "ab/z" },
	} {
		want := lost
		change(&want)
		if f, of, err := c.OpenSealed(t.Context(), Version{Name: night(t, "s", 0)}, &want.Entry); !errors.Is(err, ErrMissing) || f != nil || of != nil {
			t.Errorf("other %s: %v, %v", what, of, err)
		}
	}
}

// Of several the newest is taken; if that is lost too, the next one.
func TestHealedTwice(t *testing.T) {
	impatient(t)
	a, lost, again := healing(t)
	third := reseal(lost, 'T')
	a.archive(night(t, "s", 5), listing{third.Path: third})
	c := a.newCatalog()
	openWith(t, c, night(t, "s", 0), lost, third)
	openWith(t, c, night(t, "s", 3), again, again)
	must(t, os.Remove(a.file(night(t, "s", 5), third.SealedPath)))
	openWith(t, c, night(t, "s", 0), lost, again)
	openWith(t, c, night(t, "s", 5), third, again)
	// An archiver that did not come to its list moved it on, under an old catalog.
	must(t, os.MkdirAll(a.file(night(t, "s", 6), "ab"), 0o755))
	must(t, os.Rename(a.file(night(t, "s", 3), again.SealedPath), a.file(night(t, "s", 6), again.SealedPath)))
	openWith(t, c, night(t, "s", 0), lost, again)
	must(t, os.Remove(a.file(night(t, "s", 6), again.SealedPath)))
	if _, _, err := c.OpenSealed(t.Context(), Version{Name: night(t, "s", 0)}, &lost.Entry); !errors.Is(err, ErrMissing) {
		t.Error(err)
	}
}

// A file that is there is given as it is, sound or not: a repair sets it aside.
func TestDamagedIsNotReplaced(t *testing.T) {
	a, lost, _ := healing(t)
	bad := reseal(lost, '?')
	bad.Entry = lost.Entry
	must(t, os.MkdirAll(a.file(night(t, "s", 1), "ab"), 0o755))
	must(t, os.WriteFile(a.file(night(t, "s", 1), lost.SealedPath), bad.bytes, 0o644))
	openWith(t, a.newCatalog(), night(t, "s", 1), lost, bad)
}

// A file that came again has the size of the one that is lost. The lists tell
// them apart, for to read it would take too long.
func TestListedFilesAreNotHashed(t *testing.T) {
	const size = 64 << 30
	a := newArchive(t)
	lost := seal("large", "large")
	lost.SealedSize = size
	again := reseal(lost, 'S')
	a.publish(night(t, "s", 0), listing{lost.Path: lost})
	a.archive(night(t, "s", 1), listing{again.Path: again})
	must(t, os.Truncate(a.file(night(t, "s", 1), again.SealedPath), size))
	c := a.newCatalog()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	f, of, err := c.OpenSealed(ctx, Version{Name: night(t, "s", 0)}, &lost.Entry)
	if err != nil || of.SealedSHA512 != again.SealedSHA512 {
		t.Fatal(of, err)
	}
	must(t, f.Close())
}

// Who reads a thousand lost files waits for the first one.
func TestManyLostFiles(t *testing.T) {
	old := patience
	t.Cleanup(func() { patience = old })
	a, _ := fewNights(t, 1)
	c := a.newCatalog()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range 20 {
		patience = []time.Duration{time.Hour}
		if i == 0 {
			patience = []time.Duration{time.Millisecond}
		}
		if err := readSealed(ctx, c, Version{Name: night(t, "s", 0)}, seal("nowhere", "1")); !errors.Is(err, ErrMissing) {
			t.Fatal(i, err)
		}
	}
}

// A version that was deleted since the catalog was brought up to date has no
// files that are missing: it is not there.
func TestFileOfAVersionThatWasDeleted(t *testing.T) {
	impatient(t)
	a := newArchive(t)
	old, current := night(t, "file-storage", 1), night(t, "file-storage", 2)
	lost := seal("a", "old")
	a.archive(old, listing{"a": lost})
	a.archive(current, listing{"b": seal("b", "new")})
	c := a.newCatalog()
	a.remove(old)
	if _, _, err := c.OpenSealed(t.Context(), Version{Name: old}, &lost.Entry); !errors.Is(err, ErrNoVersion) || errors.Is(err, ErrMissing) {
		t.Errorf("%v", err)
	}
	must(t, os.Remove(a.file(current, "b.lz4.gpg")))
	b := a.versions[current]["b"]
	if _, _, err := c.OpenSealed(t.Context(), Version{Name: current}, &b.Entry); !errors.Is(err, ErrMissing) {
		t.Errorf("%v", err)
	}
}
