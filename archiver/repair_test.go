package archiver

import (
	"crypto/sha512"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
)

// archived makes a backup and archives it, an hour after the last one.
func (u *nightly) archived(t testing.TB) backupname.Name {
	t.Helper()
	u.now = u.now.Add(time.Hour)
	name := u.backup(t)
	u.run(t)
	return name
}

// entryOf is the line of a path in a version's list.
func (w *world) entryOf(t testing.TB, n backupname.Name, path string) manifest.Entry {
	t.Helper()
	entries := readEntries(t, w.folder(n, "archive-info"))
	i := slices.IndexFunc(entries, func(e manifest.Entry) bool { return e.Path == path })
	if i < 0 {
		t.Fatalf("%s does not list %s", n, path)
	}
	return entries[i]
}

func (w *world) damaged(t testing.TB, n backupname.Name, path string) Damaged {
	t.Helper()
	e := w.entryOf(t, n, path)
	return Damaged{n, e.SealedPath, e.SealedSHA512, e.SealedSize}
}

func flip(t testing.TB, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	must(t, err)
	b[0] ^= 1
	must(t, os.WriteFile(file, b, 0o644))
}

func (w *world) repairOptions(damaged ...Damaged) RepairOptions {
	return RepairOptions{Store: w.store, Root: w.root, Damaged: damaged, Now: func() time.Time { return w.now }}
}

func mustRepair(t testing.TB, o RepairOptions) *RepairReport {
	t.Helper()
	report, err := Repair(t.Context(), o)
	if err != nil {
		t.Fatalf("%v\n%+v", err, report)
	}
	return report
}

// checkReadable holds that each file of each version is there, or another sealed
// file of the same plain one.
func (w *world) checkReadable(t testing.TB) {
	t.Helper()
	for storage, vs := range w.versions(t) {
		there := map[string]bool{}
		id := func(e *manifest.Entry) string { return fmt.Sprint(e.Path, e.Size, e.SHA512) }
		for _, v := range vs {
			for _, e := range v.entries {
				for _, folder := range vs {
					b, err := os.ReadFile(w.folder(folder.name, e.SealedPath))
					there[id(&e)] = there[id(&e)] || err == nil && e.SealedSHA512 == sha512.Sum512(b)
				}
			}
		}
		for _, v := range vs {
			for _, e := range v.entries {
				if !there[id(&e)] {
					t.Errorf("%s of %s cannot be read", e.Path, v.name)
				}
			}
		}
		if len(vs) == 0 {
			t.Errorf("no version of %s", storage)
		}
	}
}

// checkNewest holds that the newest version has all that is backed up.
func (u *nightly) checkNewest(t testing.TB) {
	t.Helper()
	vs := u.versions(t)[u.storage]
	newest := vs[len(vs)-1]
	if len(newest.entries) != len(u.plain) {
		t.Errorf("%s has %d files of %d", newest.name, len(newest.entries), len(u.plain))
	}
	for _, e := range newest.entries {
		if e.SHA512 != sha512.Sum512([]byte(u.plain[e.Path])) {
			t.Errorf("%s of %s is another file", e.Path, newest.name)
		}
	}
}

// twoNights is an archive with two versions. In both are a/1 and c/3, which lie
// with the second one; b/2 changed, so that one lies with each.
func twoNights(t testing.TB) (u *nightly, first, second backupname.Name) {
	u = &nightly{newWorld(t), "fs", map[string]string{"a/1": "one", "b/2": "two", "c/3": "three"}}
	first = u.archived(t)
	u.plain["b/2"] = "two again"
	return u, first, u.archived(t)
}

// Whatever happened to a file, it is set aside, and with the next backup each
// version has it again.
func TestRepairHeals(t *testing.T) {
	for what, harm := range map[string]func(file string) error{
		"flipped": func(file string) error { flip(t, file); return nil },
		"short":   func(file string) error { return os.Truncate(file, 3) },
		"long":    func(file string) error { return os.Truncate(file, 3000) },
		"empty":   func(file string) error { return os.Truncate(file, 0) },
		"link":    func(file string) error { return errors.Join(os.Remove(file), os.Symlink("nowhere", file)) },
		"missing": os.Remove,
	} {
		t.Run(what, func(t *testing.T) {
			u, _, second := twoNights(t)
			d := u.damaged(t, second, "a/1")
			must(t, harm(u.folder(second, d.SealedPath)))
			link, bad := exists(u.folder(second, d.SealedPath)), tree(t, u.folder(second, "c"))
			report := mustRepair(t, u.repairOptions(d, d)) // twice: with other details it is another row
			if !slices.Equal(report.Unlisted, []string{"a/1"}) || len(report.Lost)+len(report.Sound)+len(report.NotTold) != 0 {
				t.Errorf("%+v", report)
			}
			aside := damagedDir + "/" + second.String() + "/" + d.SealedPath
			if what == "missing" {
				if len(report.SetAside) != 0 || exists(filepath.Join(u.root, damagedDir)) {
					t.Errorf("set aside %+v", report.SetAside)
				}
			} else if want := (SetAside{SealedFile{second.String(), d.SealedPath}, aside}); !link || !slices.Equal(report.SetAside, []SetAside{want}) || !exists(filepath.Join(u.root, aside)) {
				t.Errorf("set aside %+v", report.SetAside)
			}
			if exists(u.folder(second, d.SealedPath)) || !maps.Equal(tree(t, u.folder(second, "c")), bad) {
				t.Error("the wrong file was taken away")
			}
			local, remote := readEntries(t, u.folder(second, "archive-info")), readEntries(t, filepath.Join(u.bucket, second.String(), "archive-info"))
			if len(local) != 2 || !slices.EqualFunc(local, remote, func(a, b manifest.Entry) bool { return a.SameFile(&b) && a.Backup == second }) {
				t.Errorf("lists %v here, %v in the bucket", local, remote)
			}
			u.archived(t)
			u.checkNewest(t)
			u.checkReadable(t)
			if again := mustRepair(t, u.repairOptions(d)); len(again.SetAside)+len(again.Unlisted) != 0 {
				t.Errorf("the healed file was touched: %+v", again)
			}
		})
	}
}

// A backup that was made before the repair still names the file. It heals one
// night later.
func TestRepairWhileABackupWaits(t *testing.T) {
	u, _, second := twoNights(t)
	u.now = u.now.Add(time.Hour)
	u.backup(t)
	d := u.damaged(t, second, "a/1")
	flip(t, u.folder(second, d.SealedPath))
	mustRepair(t, u.repairOptions(d))
	report, err := Run(t.Context(), u.options())
	if !errors.Is(err, ErrIncomplete) || !slices.Equal(report.Backups[0].Missing.First, []string{"a/1"}) {
		t.Fatalf("%v: %+v", err, report)
	}
	u.archived(t)
	u.checkNewest(t)
	u.checkReadable(t)
}

// Without the bucket it heals one night later too.
func TestRepairWithoutBucket(t *testing.T) {
	for what, change := range map[string]func(*RepairOptions, *nightly, backupname.Name){
		"no bucket": func(o *RepairOptions, _ *nightly, _ backupname.Name) { o.Store = nil },
		"no list in it": func(_ *RepairOptions, u *nightly, second backupname.Name) {
			must(t, os.Remove(filepath.Join(u.bucket, second.String(), "archive-info")))
		},
	} {
		t.Run(what, func(t *testing.T) {
			u, _, second := twoNights(t)
			d := u.damaged(t, second, "a/1")
			flip(t, u.folder(second, d.SealedPath))
			o := u.repairOptions(d)
			change(&o, u, second)
			before := tree(t, u.bucket)
			report := mustRepair(t, o)
			if len(report.NotTold) != 1 || !strings.HasPrefix(report.NotTold[0], second.String()+": ") || len(report.Unlisted) != 1 {
				t.Errorf("%+v", report)
			}
			if !maps.Equal(tree(t, u.bucket), before) {
				t.Error("the bucket was changed")
			}
			for range 2 {
				u.now = u.now.Add(time.Hour)
				u.backup(t)
				if _, err := Run(t.Context(), u.options()); err != nil && !errors.Is(err, ErrIncomplete) {
					t.Fatal(err)
				}
			}
			u.checkNewest(t)
			u.checkReadable(t)
		})
	}
}

// While it was looked at, an archiver took the file to a later version: there it
// is repaired, and a sound one is left there.
func TestRepairFollows(t *testing.T) {
	u, first, second := twoNights(t)
	bad, good, other := u.damaged(t, first, "a/1"), u.damaged(t, first, "c/3"), u.damaged(t, first, "b/2")
	flip(t, u.folder(second, bad.SealedPath))
	must(t, os.Remove(u.folder(first, other.SealedPath)))
	before := tree(t, u.folder(second, "b"))
	report := mustRepair(t, u.repairOptions(bad, good, other))
	if len(report.SetAside) != 1 || report.SetAside[0].Folder != second.String() || !slices.Equal(report.Unlisted, []string{"a/1"}) ||
		!slices.Equal(report.Sound, []SealedFile{{first.String(), good.SealedPath}}) || !slices.Equal(report.Lost, []SealedFile{{first.String(), other.SealedPath}}) {
		t.Errorf("%+v", report)
	}
	if !exists(u.folder(second, good.SealedPath)) || !maps.Equal(tree(t, u.folder(second, "b")), before) {
		t.Error("a sound file was taken away")
	}
}

// A file that only old versions have cannot come again: it is set aside, and no
// list changes.
func TestRepairOfOldFiles(t *testing.T) {
	u, first, second := twoNights(t)
	d := u.damaged(t, first, "b/2")
	flip(t, u.folder(first, d.SealedPath))
	bucket, newest := tree(t, u.bucket), tree(t, u.folder(second))
	report := mustRepair(t, u.repairOptions(d))
	if len(report.SetAside) != 1 || len(report.Unlisted) != 0 || !slices.Equal(report.Lost, []SealedFile{{first.String(), d.SealedPath}}) {
		t.Errorf("%+v", report)
	}
	if !maps.Equal(tree(t, u.bucket), bucket) || !maps.Equal(tree(t, u.folder(second)), newest) {
		t.Error("a list was changed")
	}
}

// An old dump does not come again: it stays on its list.
func TestRepairOfDumps(t *testing.T) {
	u := &nightly{newWorld(t), "auth-db-backup", map[string]string{"auth.sql": "dump"}}
	n := u.archived(t)
	d := u.damaged(t, n, "auth.sql")
	flip(t, u.folder(n, d.SealedPath))
	report := mustRepair(t, u.repairOptions(d))
	if len(report.SetAside) != 1 || len(report.Lost) != 1 || len(report.Unlisted) != 0 || len(u.versions(t)[u.storage][0].entries) != 1 {
		t.Errorf("%+v", report)
	}
}

// What was set aside is nobody's to delete, and nothing takes its place.
func TestSetAsideIsKept(t *testing.T) {
	u, _, second := twoNights(t)
	d := u.damaged(t, second, "a/1")
	sound, err := os.ReadFile(u.folder(second, d.SealedPath))
	must(t, err)
	for range 3 { // somebody puts it back, still damaged
		must(t, os.WriteFile(u.folder(second, d.SealedPath), append(sound, '?'), 0o644))
		must(t, os.WriteFile(u.folder(second, "archive-info"), list(t, u.withBackup(t, second)...), 0o644))
		mustRepair(t, u.repairOptions(d))
	}
	kept := tree(t, filepath.Join(u.root, damagedDir))
	if len(kept) != 3 {
		t.Fatalf("%q", sorted(kept))
	}
	u.now = u.now.AddDate(0, 1, 0)
	u.archived(t)
	o := u.options()
	o.Retention = Retention{KeepLast: 1, KeepDays: 1}
	report, err := Run(t.Context(), o)
	if err != nil || len(report.Pruned) != 2 {
		t.Fatalf("%v: %+v", err, report)
	}
	if !maps.Equal(tree(t, filepath.Join(u.root, damagedDir)), kept) {
		t.Error("what was set aside is gone")
	}
}

// withBackup are the lines of a version's list as they were backed up.
func (w *world) withBackup(t testing.TB, n backupname.Name) []manifest.Entry {
	t.Helper()
	entries := readEntries(t, filepath.Join(w.bucket, n.String(), "backup-info"))
	for i := range entries {
		entries[i].Backup = n
	}
	return entries
}

func TestRepairDryRun(t *testing.T) {
	u, first, second := twoNights(t)
	d, old, sound := u.damaged(t, second, "a/1"), u.damaged(t, first, "b/2"), u.damaged(t, second, "c/3")
	flip(t, u.folder(second, d.SealedPath))
	must(t, os.Remove(u.folder(first, old.SealedPath)))
	must(t, os.Remove(filepath.Join(u.root, lockFile)))
	root, bucket := tree(t, u.root), tree(t, u.bucket)
	o := u.repairOptions(d, old, sound)
	o.DryRun = true
	o.step = func(what string) { t.Errorf("a dry run does %q", what) }
	would := mustRepair(t, o)
	if !maps.Equal(tree(t, u.root), root) || !maps.Equal(tree(t, u.bucket), bucket) {
		t.Error("a dry run changed something")
	}
	did := mustRepair(t, u.repairOptions(d, old, sound))
	did.DryRun = true
	if fmt.Sprintf("%+v", did) != fmt.Sprintf("%+v", would) || len(did.SetAside)+len(did.Unlisted)+len(did.Lost)+len(did.Sound) != 4 {
		t.Errorf("would do %+v, did %+v", would, did)
	}
}

func TestRepairRefuses(t *testing.T) {
	u, _, second := twoNights(t)
	d := u.damaged(t, second, "a/1")
	flip(t, u.folder(second, d.SealedPath))
	o := u.repairOptions(d)
	o.Root = t.TempDir() // as when the disk is not mounted
	if _, err := Repair(t.Context(), o); !errors.Is(err, ErrNoArchive) || exists(filepath.Join(o.Root, workDir)) {
		t.Errorf("an empty folder: %v", err)
	}
	at, err := openDisk(u.root, func(string) {})
	must(t, err)
	defer at.close()
	_, err = at.lock(t.Context(), u.now)
	must(t, err)
	if _, err := Repair(t.Context(), u.repairOptions(d)); !errors.Is(err, ErrLocked) || !exists(u.folder(second, d.SealedPath)) {
		t.Errorf("while an archiver works: %v", err)
	}
}
