package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
)

// fewNights is an archive of some nights.
func fewNights(t testing.TB, nights int) (*archive, *history) {
	t.Helper()
	a, h := newArchive(t), &history{Rand: rand.New(rand.NewPCG(1, 4))}
	for day := range nights {
		a.archive(night(t, "s", day), h.next())
	}
	return a, h
}

func damaged(t testing.TB, c *Catalog) map[string]string {
	t.Helper()
	versions, err := c.Versions(t.Context(), "")
	must(t, err)
	why := map[string]string{}
	for _, v := range versions {
		if v.Damaged != "" {
			why[v.Name.TimeText()[:10]] = v.Damaged
		}
	}
	return why
}

// A list that cannot be read takes no other version with it.
func TestDamagedLists(t *testing.T) {
	a := newArchive(t)
	files := listing{"a/b": seal("a/b", "1"), "c": seal("c", "1")}
	good, good2 := night(t, "s", 0), night(t, "s", 20)
	a.archive(good, files)
	whole := a.list(good, files)
	both := a.list(good, listing{"a": seal("a", "1")})
	for day, list := range [][]byte{
		whole[:len(whole)-1],
		append(bytes.Clone(whole), "x\n"...),
		append(bytes.Clone(whole), whole...),
		append(bytes.Clone(whole), both...),
		append(both, whole...),
	} {
		n := night(t, "s", day+1)
		must(t, os.MkdirAll(a.file(n, ""), 0o755))
		must(t, os.WriteFile(a.file(n, manifest.ArchiveInfo), list, 0o644))
	}
	must(t, os.MkdirAll(a.file(night(t, "s", 6), manifest.ArchiveInfo), 0o755))
	must(t, os.MkdirAll(a.file(night(t, "s", 7), ""), 0o755))
	must(t, unix.Mkfifo(a.file(night(t, "s", 7), manifest.ArchiveInfo), 0o644))
	a.archive(good2, maps.Clone(files))
	c := a.newCatalog()
	why := damaged(t, c)
	if len(why) != 7 {
		t.Fatalf("%v", why)
	}
	for day, want := range map[int]string{1: "cut short", 2: "line 3", 3: "twice", 4: "both", 5: "both", 6: "regular", 7: "regular"} {
		n := night(t, "s", day)
		if got := why[n.TimeText()[:10]]; !strings.Contains(got, want) {
			t.Errorf("day %d: %q, want %q", day, got, want)
		}
		_, err := c.Lookup(t.Context(), Version{Name: n}, "a")
		_, err2 := c.Lookup(t.Context(), Version{Name: n}, "")
		for _, err3 := range c.Files(t.Context(), Version{Name: n}, "") {
			if !errors.Is(err, ErrDamaged) || !errors.Is(err2, ErrDamaged) || !errors.Is(err3, ErrDamaged) {
				t.Errorf("%v, %v, %v", err, err2, err3)
			}
		}
	}
	for _, n := range []backupname.Name{good, good2} {
		v, err := c.Find(t.Context(), n.String())
		must(t, err)
		a.checkVersion(c, v)
	}
	if refresh(t, c) {
		t.Error("damaged lists are read again and again")
	}
}

// The trouble may have been the disk's: a list that could not be read at all is
// tried again, although it is the same.
func TestUnreadableListIsTriedAgain(t *testing.T) {
	a, _ := fewNights(t, 3)
	c := a.newCatalog()
	tx, err := c.begin(t.Context(), c.db)
	must(t, err)
	todo := &change{storage: "s"}
	all, err := records(t.Context(), tx)
	must(t, err)
	todo.undo = all
	must(t, todo.shrink(t.Context(), tx))
	for i, r := range all {
		s := r.stamp
		if i == 1 {
			s.list = "not there" // cannot be opened
		}
		must(t, c.addVersion(t.Context(), tx, s, r.seq, &Progress{}))
	}
	_, err = tx.Exec(`UPDATE versions SET list = 'archive-info'`)
	must(t, errors.Join(err, tx.Commit()))
	if len(damaged(t, c)) != 1 || refresh(t, c) {
		t.Fatal("it is not damaged, or was tried at once")
	}
	c.tried = time.Time{}
	refresh(t, c)
	a.check(c)
}

func TestWhatIsNoVersion(t *testing.T) {
	a, _ := fewNights(t, 2)
	for _, dir := range []string{"lost+found", ".s_2024-01-01T01:10:00Z", "s_2024-01-01", "s", "s_2024-01-09T01:10:00Z"} {
		must(t, os.Mkdir(filepath.Join(a.root, dir), 0o755))
	}
	for _, file := range []string{"s_2024-01-08T01:10:00Z", "README"} {
		must(t, os.WriteFile(filepath.Join(a.root, file), []byte("x"), 0o644))
	}
	a.check(a.newCatalog())
}

// The documentation's spelling is read where there is no other.
func TestBothSpellings(t *testing.T) {
	a := newArchive(t)
	n, files := night(t, "s", 0), listing{"a": seal("a", "1")}
	a.archive(n, files)
	must(t, os.Rename(a.file(n, "archive-info"), a.file(n, "archive_info")))
	c := a.newCatalog()
	a.check(c)
	files = listing{"b": seal("b", "1")}
	a.archive(n, files)
	refresh(t, c)
	a.check(c)
}

// A refresh that is cut off leaves whole versions, and the next one goes on.
func TestRefreshCutOff(t *testing.T) {
	a := newArchive(t)
	for day := range 3 {
		files := listing{}
		for i := range 2*progressLines + 10 {
			if i%(day+2) > 0 {
				p := fmt.Sprintf("%d/%d", i%7, i)
				files[p] = sealed{Entry: manifest.Entry{Path: p, SealedPath: p, Size: int64(i)}}
			}
		}
		a.publish(night(t, "s", day), files)
	}
	database := filepath.Join(t.TempDir(), "c.sqlite")
	for cut := int64(1); ; cut++ {
		ctx, cancel := context.WithCancel(t.Context())
		var calls atomic.Int64
		c, err := Open(ctx, a.root, Options{Path: database, Logger: quiet, Progress: func(Progress) {
			if calls.Add(1) == cut%3+1 {
				cancel()
			}
		}})
		cancel()
		if err == nil {
			must(t, c.Close())
			break
		}
		if !errors.Is(err, context.Canceled) || cut > 20 {
			t.Fatal(err)
		}
	}
	c := a.open(database)
	if got, want := dump(t, c), dump(t, a.newCatalog()); !slices.Equal(got, want) {
		t.Errorf("%d rows, want %d", len(got), len(want))
	}
}

// Two catalogs on one file, as of two processes, with versions coming and going.
func TestTwoAtOnce(t *testing.T) {
	a, h := fewNights(t, 3)
	database := filepath.Join(t.TempDir(), "c.sqlite")
	catalogs := make([]*Catalog, 2)
	var opening errgroup.Group
	for i := range catalogs {
		opening.Go(func() (err error) {
			catalogs[i], err = Open(t.Context(), a.root, Options{Path: database, Logger: quiet})
			return err
		})
	}
	must(t, opening.Wait())
	for day := range 4 {
		a.archive(night(t, "s", 10+day), h.next())
		if day%3 == 2 {
			a.remove(a.names()[0])
		}
		if day%4 == 3 { // undone and done again: readers must not notice
			n := a.names()[1]
			a.publish(n, maps.Clone(a.versions[n]))
		}
		keep := a.names()[2]
		var group errgroup.Group
		for _, c := range catalogs {
			group.Go(func() error { _, err := c.Refresh(t.Context()); return err })
			group.Go(func() error {
				for range 10 {
					n := 0
					for _, err := range c.Files(t.Context(), Version{Name: keep}, "") {
						if n++; err != nil {
							return err
						}
					}
					if want := len(a.versions[keep]); n != want {
						return fmt.Errorf("%d files, want %d", n, want)
					}
				}
				return nil
			})
		}
		must(t, group.Wait())
		for _, c := range catalogs {
			if _, err := c.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			a.check(c)
		}
	}
	for _, c := range catalogs {
		must(t, c.Close())
	}
}

// Nothing is written into the archive, and refused writing does not matter.
func TestArchiveIsNotTouched(t *testing.T) {
	a, _ := fewNights(t, 3)
	state := func() (all []string) {
		must(t, filepath.Walk(a.root, func(p string, info os.FileInfo, err error) error {
			all = append(all, fmt.Sprint(p, info.ModTime(), info.Size(), info.Mode()))
			return err
		}))
		return all
	}
	before := state()
	a.check(a.newCatalog())
	if !slices.Equal(before, state()) {
		t.Error("the archive changed")
	}
}

// A hundred thousand files in one folder and in many, with memory for a few.
func TestManyFiles(t *testing.T) {
	a := newArchive(t)
	n := night(t, "s", 0)
	must(t, os.MkdirAll(a.file(n, ""), 0o755))
	f, err := os.Create(a.file(n, manifest.ArchiveInfo))
	must(t, err)
	w := manifest.NewWriter(f)
	count := int64(100_000)
	if underRace {
		count /= 10
	}
	for i := range count {
		p := fmt.Sprintf("%07d", i*7919%count)
		if i%2 == 0 {
			p = p[4:] + "/" + p // named by even numbers
		}
		must(t, w.Write(&manifest.Entry{Path: p, SealedPath: p + ".lz4.gpg", Size: 1, SealedSize: 2, Backup: n}))
	}
	must(t, errors.Join(w.Flush(), f.Close()))
	const folders = 500
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	c := a.newCatalog()
	v, err := c.Find(t.Context(), "s/latest")
	must(t, err)
	files, nodes, last := int64(0), int64(0), (*manifest.Entry)(nil)
	for e, err := range c.Files(t.Context(), v, "") {
		must(t, err)
		if last != nil && compareFiles(last, &e) >= 0 {
			t.Fatalf("%s comes after %s", e.Path, last.Path)
		}
		files, last = files+1, &e
	}
	for _, err := range c.ReadDir(t.Context(), v, "") {
		must(t, err)
		nodes++
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if v.Files != count || files != count || nodes != count/2+folders {
		t.Errorf("%d, %d files, %d nodes", v.Files, files, nodes)
	}
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 48<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}
