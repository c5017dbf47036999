package archiver

import (
	"crypto/sha512"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

type killedAt struct{ step string }

// A repair that is killed before any of its changes is brought to its end by the
// next one; and where there is none, by two nights.
func TestRepairKilled(t *testing.T) {
	u, first, second := twoNights(t)
	damaged := []Damaged{u.damaged(t, second, "a/1"), u.damaged(t, second, "b/2"), u.damaged(t, first, "b/2"), u.damaged(t, second, "c/3")}
	flip(t, u.folder(second, damaged[0].SealedPath))
	must(t, os.Truncate(u.folder(second, damaged[1].SealedPath), 1))
	must(t, os.Remove(u.folder(first, damaged[2].SealedPath)))
	u.plain["b/2"] = "two" // as it was in the first version
	dir := filepath.Dir(u.root)
	clone := func() *nightly {
		to := t.TempDir()
		must(t, os.CopyFS(to, os.DirFS(dir)))
		w := openWorld(t, filepath.Join(to, "bucket"), filepath.Join(to, "root"))
		w.now, w.seals = u.now, u.seals
		return &nightly{w, u.storage, u.plain}
	}
	calm := clone()
	o := calm.repairOptions(damaged...)
	var steps []string
	o.step = func(what string) { steps = append(steps, what) }
	mustRepair(t, o)
	uploaded := slices.IndexFunc(steps, func(s string) bool { return strings.HasPrefix(s, "upload ") })
	if uploaded < 5 || uploaded >= slices.Index(steps, "rename "+second.String()+"/archive-info") {
		t.Fatalf("not in this order: %q", steps)
	}
	wantRoot, wantBucket := tree(t, calm.root), tree(t, calm.bucket)
	delete(wantRoot, lockFile)
	for i, step := range steps {
		for _, again := range []bool{true, false} {
			w := clone()
			w.killRepair(t, i, damaged)
			if !again {
				w.checkHealsByItself(t)
				continue
			}
			mustRepair(t, w.repairOptions(damaged...))
			got := tree(t, w.root)
			delete(got, lockFile)
			if !maps.Equal(got, wantRoot) {
				t.Errorf("killed before %q: the archive holds %q, not %q", step, sorted(got), sorted(wantRoot))
			}
			if got := tree(t, w.bucket); !maps.Equal(got, wantBucket) {
				t.Errorf("killed before %q: the bucket differs", step)
			}
		}
	}
}

// killRepair ends a repair before one of its steps.
func (u *nightly) killRepair(t testing.TB, at int, damaged []Damaged) {
	t.Helper()
	o := u.repairOptions(damaged...)
	steps := 0
	o.step = func(what string) {
		if steps++; steps == at+1 {
			panic(killedAt{what})
		}
	}
	defer func() {
		if _, ok := recover().(killedAt); !ok {
			t.Fatalf("step %d: not killed", at)
		}
	}()
	_, err := Repair(t.Context(), o)
	t.Errorf("%v", err)
}

// checkHealsByItself holds that what a killed repair set aside comes again, and
// that nothing else is lost. What it did not come to is still damaged.
func (u *nightly) checkHealsByItself(t testing.TB) {
	t.Helper()
	aside := map[string]bool{}
	for p := range tree(t, u.root) {
		if rest, ok := strings.CutPrefix(p, damagedDir+"/"); ok {
			_, sealedPath, _ := strings.Cut(rest, "/")
			aside[sealedPath] = true
		}
	}
	for range 2 {
		u.now = u.now.Add(time.Hour)
		u.backup(t)
		if _, err := Run(t.Context(), u.options()); err != nil && !errors.Is(err, ErrIncomplete) {
			t.Fatal(err)
		}
	}
	vs := u.versions(t)[u.storage]
	newest := vs[len(vs)-1]
	if len(newest.entries) != len(u.plain) {
		t.Errorf("%d files of %d", len(newest.entries), len(u.plain))
	}
	for _, e := range newest.entries {
		b, err := os.ReadFile(u.folder(newest.name, e.SealedPath))
		if aside[e.SealedPath] && (err != nil || e.SealedSHA512 != sha512.Sum512(b)) {
			t.Errorf("%s is not healed: %v", e.Path, err)
		}
	}
}
