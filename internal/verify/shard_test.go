package verify

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/shard"
)

// found is all that a report says is wrong.
func found(r *Report) (all []string) {
	for _, p := range r.Problems {
		all = append(all, fmt.Sprintf("%s %s %s %s %s %v", p.Kind, p.Folder, p.Path, p.SealedPath, p.Detail, p.Ranges))
	}
	for _, l := range r.Lists {
		all = append(all, "list "+l.Version)
	}
	for _, u := range r.Unfinished {
		all = append(all, "unfinished "+u)
	}
	slices.Sort(all)
	return all
}

// Shards find together what one run finds, each thing once.
func TestShards(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(44, 1))
	a := threeNights(t, random, "")
	all := a.sealed()
	first, newest := a.versions["file-storage"][0], a.versions["file-storage"][2]
	p := &planter{random, t, a, map[string]plant{}, nil}
	for i := range 12 {
		do := []func(*manifest.Entry){p.flip, p.cut, p.lose, p.add}[i%4]
		do(&all[i*len(all)/12])
	}
	for i := range 5 { // found in another folder, which must seem to be extra to nobody
		e := &all[i*len(all)/12+1]
		if e.Backup == newest {
			must(t, os.MkdirAll(filepath.Dir(a.file(first, e.SealedPath)), 0o755))
			must(t, os.Rename(a.file(newest, e.SealedPath), a.file(first, e.SealedPath)))
		}
	}
	must(t, os.Truncate(a.file(a.versions["session-db-backup"][1], manifest.ArchiveInfo), 100))
	must(t, os.Mkdir(filepath.Join(a.root, "file-storage_2026-02-01T01:10:00.000Z"), 0o755))

	o := a.options()
	one, err := Run(t.Context(), o)
	if !errors.Is(err, ErrDamaged) || one.Misplaced == 0 || len(one.Unfinished) != 1 || len(one.Lists) != 1 || one.Count < 10 {
		t.Fatalf("%v: %+v", err, one)
	}
	for _, count := range []int{1, 2, 5} {
		var together []string
		sum, kinds := Report{}, map[Kind]int64{}
		for i := range count {
			o.Shard = shard.Shard{Index: i + 1, Count: count}
			files := 0
			o.Planned = func(n int, _ int64) { files = n }
			r, err := Run(t.Context(), o)
			if (err != nil) != (len(found(r)) > len(r.Unfinished)) || r.Shard != o.Shard.String() || r.Files != int64(files) {
				t.Errorf("shard %s: %v: %+v", o.Shard, err, r)
			}
			together = append(together, found(r)...)
			sum.Files, sum.Bytes, sum.Count = sum.Files+r.Files, sum.Bytes+r.Bytes, sum.Count+r.Count
			sum.Misplaced, sum.Extra, sum.Healed = sum.Misplaced+r.Misplaced, sum.Extra+r.Extra, sum.Healed+r.Healed
			for kind, n := range r.Kinds {
				kinds[kind] += n
			}
		}
		slices.Sort(together)
		if want := found(one); !slices.Equal(together, want) {
			t.Errorf("%d shards found\n%q\none found\n%q", count, together, want)
		}
		if !maps.Equal(kinds, one.Kinds) || sum.Files != one.Files || sum.Bytes != one.Bytes || sum.Count != one.Count || sum.Misplaced != one.Misplaced || sum.Extra != one.Extra || sum.Healed != one.Healed {
			t.Errorf("%d shards: %+v, want %+v", count, &sum, one)
		}
	}
}
