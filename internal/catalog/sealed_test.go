package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// While an archiver moves files forward night after night, under a catalog that
// is now and then behind, every file of every version can be read.
func TestArchiverAtWork(t *testing.T) {
	a := newArchive(t)
	h := &history{Rand: rand.New(rand.NewPCG(1, 5))}
	files := listing{}
	for _, dir := range someDirs {
		for _, p := range []string{"stays", "changes", "goes"} {
			files[dir+p] = seal(dir+p, "1")
		}
	}
	h.now = files
	for day := range 3 {
		a.archive(night(t, "s", day), h.next())
	}
	c := a.newCatalog()
	known := maps.Clone(a.versions)
	var group, readers errgroup.Group
	stop := make(chan struct{})
	for range 3 {
		readers.Go(func() error {
			for {
				for n, list := range known {
					for _, p := range slices.Sorted(maps.Keys(list)) {
						if err := readSealed(t.Context(), c, Version{Name: n}, list[p]); err != nil {
							return err
						}
					}
				}
				select {
				case <-stop:
					return nil
				default:
				}
			}
		})
	}
	group.Go(func() error {
		for day := range 12 {
			a.archive(night(t, "s", 10+day), h.next())
			if day%5 == 4 {
				if _, err := c.Refresh(t.Context()); err != nil {
					return err
				}
			}
			time.Sleep(5 * time.Millisecond)
		}
		return nil
	})
	err := group.Wait()
	close(stop)
	must(t, errors.Join(err, readers.Wait()))
	refresh(t, c)
	a.check(c)
}

// An archiver that died left a folder without a list. In it, a file of the same
// path and size may be another one.
func TestArchiverDied(t *testing.T) {
	impatient(t)
	a := newArchive(t)
	first, dead := night(t, "s", 0), night(t, "s", 1)
	files := listing{"moved": seal("moved", "1"), "other": seal("other", "1"), "lost": seal("lost", "1"), "deep/x": seal("deep/x", "1")}
	a.archive(first, files)
	next := maps.Clone(files)
	next["other"], next["lost"] = seal("other", "2"), seal("lost", "2")
	a.move(dead, next)
	must(t, os.Remove(a.file(first, files["lost"].SealedPath)))
	c := a.newCatalog()
	v := Version{Name: first}
	for range 2 { // the second time from memory
		for _, p := range []string{"moved", "other", "deep/x"} {
			a.checkSealed(c, v, files[p])
		}
	}
	lost := files["lost"]
	if _, _, err := c.OpenSealed(t.Context(), v, &lost.Entry); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "another file") {
		t.Errorf("%v", err)
	}
	// The memory is not trusted either.
	moved := files["moved"]
	b := slices.Clone(moved.bytes)
	b[0]++
	must(t, os.Remove(a.file(dead, moved.SealedPath)))
	must(t, os.WriteFile(a.file(dead, moved.SealedPath), b, 0o644))
	if _, _, err := c.OpenSealed(t.Context(), v, &moved.Entry); !errors.Is(err, ErrMissing) {
		t.Errorf("%v", err)
	}
	if refresh(t, c) || len(c.places.m) == 0 {
		t.Error("a folder without a list is no version")
	}
}

// Other storages' files and symbolic links are none of the archive's.
func TestOnlyRegularFilesOfTheStorage(t *testing.T) {
	impatient(t)
	a := newArchive(t)
	n := night(t, "s", 0)
	files := listing{}
	for _, p := range []string{"out", "in", "dirs/x", "dir", "elsewhere", "short"} {
		files[p] = seal(p, "1")
	}
	a.publish(n, files)
	a.archive(night(t, "s-1", 0), maps.Clone(files))
	outside := filepath.Join(t.TempDir(), "outside")
	must(t, os.WriteFile(outside, files["out"].bytes, 0o644))
	must(t, os.Symlink(outside, a.file(n, files["out"].SealedPath)))
	must(t, os.WriteFile(a.file(n, "real"), files["in"].bytes, 0o644))
	link := strings.Repeat("/", int(files["in"].SealedSize)-len(".real")) // a link as long as the file
	must(t, os.Symlink("."+link+"real", a.file(n, files["in"].SealedPath)))
	must(t, os.WriteFile(filepath.Join(filepath.Dir(outside), "x.lz4.gpg"), files["dirs/x"].bytes, 0o644))
	must(t, os.Symlink(filepath.Dir(outside), a.file(n, "dirs")))
	must(t, os.Mkdir(a.file(n, files["dir"].SealedPath), 0o755))
	must(t, os.WriteFile(a.file(n, files["short"].SealedPath), files["short"].bytes[1:], 0o644))
	c := a.newCatalog()
	for p, f := range files {
		if got, _, err := c.OpenSealed(t.Context(), Version{Name: n}, &f.Entry); err == nil {
			t.Errorf("%s: opened %s", p, got.Name())
		} else if p != "dirs/x" && !errors.Is(err, ErrMissing) {
			t.Errorf("%s: %v", p, err)
		}
	}
}

// Deeper than any path the kernel takes at once.
func TestLongPaths(t *testing.T) {
	a := newArchive(t)
	f := seal(strings.Repeat(strings.Repeat("d", 200)+"/", 30)+"f", "1")
	f.SealedPath = f.Path
	n := night(t, "s", 0)
	a.publish(n, listing{f.Path: f})
	root, err := os.OpenRoot(a.file(n, ""))
	must(t, err)
	defer root.Close()
	dir := root
	for _, part := range strings.Split(filepath.Dir(f.Path), "/") {
		must(t, dir.Mkdir(part, 0o755))
		dir, err = dir.OpenRoot(part)
		must(t, err)
		defer dir.Close()
	}
	must(t, dir.WriteFile("f", f.bytes, 0o644))
	a.check(a.newCatalog())
}

func TestOpenSealedIsCancelled(t *testing.T) {
	a, _ := fewNights(t, 1)
	old := patience
	patience = []time.Duration{time.Hour}
	t.Cleanup(func() { patience = old })
	c := a.newCatalog()
	f := seal("nowhere", "1")
	if err := readSealed(timeout(t), c, Version{Name: night(t, "s", 0)}, f); err == nil || errors.Is(err, ErrMissing) {
		t.Error(err)
	}
}

func timeout(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// readSealed opens a sealed file and compares its bytes.
func readSealed(ctx context.Context, c *Catalog, v Version, want sealed) error {
	f, _, err := c.OpenSealed(ctx, v, &want.Entry)
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := io.ReadAll(f)
	if err == nil && !bytes.Equal(got, want.bytes) {
		err = fmt.Errorf("%s of %s: got %q, want %q", want.Path, v.Name, got, want.bytes)
	}
	return err
}
