package archiver

import (
	"crypto/sha512"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/chipster/firn/internal/backupname"
)

// verify looks at each sealed file of the archive once, where it should lie.
func (w *world) verify(t testing.TB) (damaged []Damaged) {
	t.Helper()
	for _, vs := range w.versions(t) {
		seen := map[sealedID]bool{}
		for _, v := range slices.Backward(vs) {
			for _, e := range v.entries {
				d := Damaged{v.name, e.SealedPath, e.SealedSHA512, e.SealedSize}
				if seen[d.id()] {
					continue
				}
				seen[d.id()] = true
				if b, err := os.ReadFile(w.folder(v.name, e.SealedPath)); err != nil || e.SealedSHA512 != sha512.Sum512(b) {
					damaged = append(damaged, d)
				}
			}
		}
	}
	return damaged
}

// harm damages or deletes some of the archive's files.
func (w *world) harm(t testing.TB, r *rand.Rand) {
	t.Helper()
	for _, vs := range w.versions(t) {
		for _, v := range vs {
			for _, e := range v.entries {
				file := w.folder(v.name, e.SealedPath)
				switch {
				case r.IntN(8) > 0 || !exists(file):
				case r.IntN(3) == 0:
					must(t, os.Remove(file))
				default:
					flipByte(t, r, file)
				}
			}
		}
	}
}

// Whatever is damaged, and whatever an archiver did between the looking and the
// repair: two nights later the newest version is whole, no damaged file is left
// in any version, and of older versions all can be read that is still backed up.
func TestRepairHistories(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 3))
			u := &nightly{newWorld(t), "fs", map[string]string{}}
			repaired := 0
			night := func(change bool) {
				t.Helper()
				if change {
					u.change(r)
				}
				u.now = u.now.Add(24 * time.Hour)
				u.backup(t)
				if _, err := Run(t.Context(), u.options()); err != nil && !errors.Is(err, ErrIncomplete) {
					t.Fatal(err)
				}
			}
			for range 6 {
				for range 1 + r.IntN(4) {
					night(true)
				}
				u.harm(t, r)
				damaged := u.verify(t)
				if r.IntN(2) == 0 {
					night(true) // meanwhile
				}
				report := mustRepair(t, u.repairOptions(damaged...))
				repaired += len(report.SetAside) + len(report.Unlisted)
				if len(report.Sound) > 0 {
					t.Errorf("damaged, and sound after all: %+v", report.Sound)
				}
			}
			night(false)
			night(false)
			u.checkNewest(t)
			u.checkHealed(t)
			if repaired == 0 {
				t.Error("there was nothing to repair")
			}
		})
	}
}

func (u *nightly) checkHealed(t testing.TB) {
	t.Helper()
	missing := map[sealedID]backupname.Name{}
	for _, d := range u.verify(t) {
		missing[d.id()] = d.Folder
		if exists(u.folder(d.Folder, d.SealedPath)) {
			t.Errorf("%s of %s is still there, damaged", d.SealedPath, d.Folder)
		}
	}
	vs := u.versions(t)[u.storage]
	for _, e := range vs[len(vs)-1].entries {
		if n, ok := missing[sealedID{e.SealedPath, e.SealedSHA512}]; ok {
			t.Errorf("the newest version lacks %s, last listed by %s", e.Path, n)
		}
	}
}
