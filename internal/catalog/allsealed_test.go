package catalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
)

// listedIn is what AllSealed must yield: each run of readable versions that
// list a sealed file.
func (a *archive) listedIn(storage string, damaged map[backupname.Name]bool) []string {
	var versions []backupname.Name
	for _, n := range a.names() {
		if n.Storage() == storage && !damaged[n] {
			versions = append(versions, n)
		}
	}
	type file struct {
		path         string
		sha, sealing manifest.Hash
	}
	runs := map[file][2]int{} // that still go on, or just ended
	var all []string
	end := func(f file, r [2]int) {
		all = append(all, fmt.Sprintf("%q %.4x %.4x: %s to %s, newest %t", f.path, f.sha, f.sealing,
			versions[r[0]], versions[r[1]], r[1] == len(versions)-1))
	}
	for i, n := range versions {
		for _, s := range a.versions[n] {
			f := file{s.Path, s.SHA512, s.SealedSHA512}
			r, ok := runs[f]
			if ok && r[1] < i-1 {
				end(f, r)
				ok = false
			}
			if !ok {
				r[0] = i
			}
			runs[f] = [2]int{r[0], i}
		}
	}
	for f, r := range runs {
		end(f, r)
	}
	slices.Sort(all)
	return all
}

func allSealed(t *testing.T, c *Catalog, storage string) (all []string) {
	t.Helper()
	for s, err := range c.AllSealed(t.Context(), storage) {
		must(t, err)
		if s.Backup != s.Last {
			t.Fatalf("%+v", s)
		}
		all = append(all, fmt.Sprintf("%q %.4x %.4x: %s to %s, newest %t", s.Path, s.SHA512, s.SealedSHA512, s.First, s.Last, s.Newest))
	}
	slices.Sort(all)
	return all
}

// However a history came about, each sealed file comes once, with its versions.
func TestAllSealed(t *testing.T) {
	for seed := range seeds(8) {
		a := newArchive(t)
		c := a.newCatalog()
		h := &history{Rand: rand.New(rand.NewPCG(seed, 21))}
		damaged := map[backupname.Name]bool{}
		for day := range 14 {
			a.archive(night(t, "file-storage", 10+day), h.next())
			a.archive(night(t, "file-storage-0", day), h.next()) // between the first's root and its folders
			names := a.names()
			n := names[h.IntN(len(names))]
			switch {
			case day%3 == 0 && !damaged[n]:
				must(t, os.WriteFile(a.file(n, manifest.ArchiveInfo), []byte("half a line"), 0o644))
				damaged[n] = true
			case day == 9:
				a.remove(names[0])
			}
			refresh(t, c)
			for _, storage := range []string{"file-storage", "file-storage-0"} {
				if got, want := allSealed(t, c, storage), a.listedIn(storage, damaged); !slices.Equal(got, want) {
					t.Fatalf("seed %d, day %d, %s: got\n%s\nwant\n%s", seed, day, storage, strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
			}
		}
	}
}

// Details that change, such as times that were not recorded before, make no
// other sealed file of it. The latest ones are given.
func TestAllSealedWithOtherDetails(t *testing.T) {
	a := newArchive(t)
	f := seal("ab/c", "1")
	for day := range 4 {
		f.Modified = time.Unix(int64(day/2), 0).UTC()
		a.archive(night(t, "s", day), listing{f.Path: f})
	}
	var all []Sealed
	for s, err := range a.newCatalog().AllSealed(t.Context(), "s") {
		must(t, err)
		all = append(all, s)
	}
	if len(all) != 1 || all[0].First != night(t, "s", 0) || all[0].Last != night(t, "s", 3) || !all[0].Newest || !all[0].SameFile(&f.Entry) {
		t.Fatalf("%+v", all)
	}
}

// What is yielded is of one moment, and whoever gets it can ask the catalog for
// other things, even while the database is replaced.
func TestAllSealedIsOneMoment(t *testing.T) {
	a := newArchive(t)
	files := listing{}
	for i := range 300 {
		s := seal(fmt.Sprintf("%02d/f", i), "1")
		files[s.Path] = s
	}
	a.archive(night(t, "s", 0), files)
	c := a.newCatalog()
	want, n := night(t, "s", 0), 0
	for s, err := range c.AllSealed(t.Context(), "s") {
		must(t, err)
		switch n++; n {
		case 10:
			a.archive(night(t, "s", 1), maps.Clone(files))
			refresh(t, c)
		case 20:
			must(t, os.WriteFile(c.db.path, nil, 0o600))
			must(t, os.Rename(c.db.path, c.db.path+".old"))
			refresh(t, c) // which builds it anew
		}
		if s.Last != want || s.First != want || !s.Newest {
			t.Fatalf("%d: %+v", n, s)
		}
		if n%7 == 0 {
			f := files[s.Path]
			a.checkSealed(c, Version{Name: s.Last}, f)
		}
	}
	if n != len(files) {
		t.Fatalf("%d files", n)
	}
	for s, err := range c.AllSealed(t.Context(), "s") {
		must(t, err)
		if s.Last != night(t, "s", 1) || s.First != want {
			t.Fatalf("%+v", s)
		}
	}
}

func TestAllSealedEnds(t *testing.T) {
	a := newArchive(t)
	files := listing{}
	for i := range 100 {
		s := seal(fmt.Sprint(i), "1")
		files[s.Path] = s
	}
	a.archive(night(t, "s", 0), files)
	c := a.newCatalog()
	for i := range 50 { // connections are given back
		for _, err := range c.AllSealed(t.Context(), "s") {
			must(t, err)
			if i%2 == 0 {
				break
			}
		}
	}
	for range c.AllSealed(t.Context(), "another") {
		t.Fatal("a storage that is not there has a file")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	for _, err := range c.AllSealed(ctx, "s") {
		cancel()
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Error(last)
	}
}

// No query sorts: that would take memory for all rows.
func TestAllSealedStreams(t *testing.T) {
	c := newArchive(t).newCatalog()
	args := storageRange("s")
	for query, args := range map[string][]any{sealedHere: args[:1], sealedBelow: args[1:]} {
		rows, err := c.db.read.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
		must(t, err)
		defer rows.Close()
		steps := 0
		for rows.Next() {
			var id, parent, unused int
			var detail string
			must(t, rows.Scan(&id, &parent, &unused, &detail))
			if steps++; strings.Contains(detail, "TEMP B-TREE") || strings.HasPrefix(detail, "SCAN") {
				t.Errorf("%s: %s", query, detail)
			}
		}
		must(t, rows.Err())
		if steps == 0 {
			t.Error("no plan")
		}
	}
}
