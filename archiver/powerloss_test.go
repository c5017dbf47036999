package archiver

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chipster/firn/internal/faultfs"
)

// moment is the archive's disk, and the bucket, as a power failure leaves them.
type moment struct {
	steps  []string // what was done before
	disk   *faultfs.Image
	bucket string
}

// onDisk is a world whose archive lies on a disk of its own, and which has all
// to do that a run can have, as far as the disk knows.
type onDisk struct {
	*world
	disk *faultfs.Image
}

func newOnDisk(t *testing.T) onDisk {
	t.Helper()
	disk, dir := faultfs.NewImage(t), t.TempDir()
	faultfs.Tmpfs(t, dir, "") // for the buckets: no test of theirs
	root := filepath.Join(dir, "root")
	must(t, os.Mkdir(root, 0o755))
	disk.Mount(t, root)
	prepareKill(t, dir)
	faultfs.Unmount(t, root) // and so sync
	disk.Mount(t, root)
	return onDisk{openWorld(t, filepath.Join(dir, "bucket"), root), disk}
}

func (d onDisk) powerFails(t *testing.T, after []string) moment {
	t.Helper()
	return moment{slices.Clone(after), d.disk.Snapshot(t), copied(t, d.bucket)}
}

// copied is a copy of a folder, beside it.
func copied(t *testing.T, dir string) string {
	t.Helper()
	to, err := os.MkdirTemp(filepath.Dir(dir), "")
	must(t, err)
	must(t, os.CopyFS(to, os.DirFS(dir)))
	return to
}

// recover mounts the disk again, as after a power failure.
func (m moment) recover(t *testing.T) *world {
	t.Helper()
	root := t.TempDir()
	m.disk.Mount(t, root)
	must(t, os.RemoveAll(filepath.Join(root, "lost+found")))
	return openWorld(t, m.bucket, root)
}

// check holds that nothing was lost: no version that was there before and was
// not deleted on purpose, none that the bucket says is archived, and no file of
// any that is listed.
func (m moment) check(t *testing.T, w *world, before map[string][]version) {
	t.Helper()
	w.checkFindable(t)
	must := map[string]string{} // what has to be there, and why
	for _, v := range before["fs"] {
		must[v.name.String()] = "was there before"
	}
	for key := range tree(t, m.bucket) {
		if name, ok := strings.CutSuffix(key, "/archive-info"); ok {
			must[name] = "is archived, as the bucket says"
		}
	}
	lists := w.lists(t)
	for name, why := range must {
		_, there := lists[name]
		switch deleted := slices.Contains(m.steps, "rename "+trashDir+"/"+name); {
		case !there && !deleted:
			t.Errorf("%s %s, and is lost", name, why)
		case there && exists(filepath.Join(m.bucket, name, "archive-info")):
			b, err := os.ReadFile(filepath.Join(m.bucket, name, "archive-info"))
			if err != nil || string(b) != lists[name] {
				t.Errorf("the list of %s is not the one in the bucket: %v", name, err)
			}
		}
	}
	for _, v := range before["fs"] {
		if got, there := lists[v.name.String()]; there && strings.Count(got, "\n") != len(v.entries) {
			t.Errorf("the list of %s is not the one from before: %q", v.name, got)
		}
	}
}

// lists are the texts of all versions' lists.
func (w *world) lists(t *testing.T) map[string]string {
	t.Helper()
	lists := map[string]string{}
	for p, content := range tree(t, w.root) {
		if name, ok := strings.CutSuffix(p, "/archive-info"); ok && !strings.Contains(name, "/") && name != workDir {
			lists[name] = content
		}
	}
	return lists
}

// archiveTree is all that readers see of an archive.
func (w *world) archiveTree(t *testing.T) map[string]string {
	t.Helper()
	files := tree(t, w.root)
	maps.DeleteFunc(files, func(p, _ string) bool {
		return strings.HasPrefix(p, workDir+"/") || strings.HasPrefix(p, "lost+found/")
	})
	return files
}

// The power fails before any of the archiver's changes, or right after its end:
// what the disk was not told to keep is gone. Nothing that is archived is lost,
// and the next run ends where an undisturbed one does.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	t.Run("nothing is written unasked", func(t *testing.T) {
		t.Parallel()
		testPowerLoss(t, 0, func(*world) {})
	})
	// A file may have its new name, and none of its bytes.
	t.Run("all but the bytes of files is", func(t *testing.T) {
		t.Parallel()
		testPowerLoss(t, 1, func(w *world) {
			dir, err := os.Open(w.root)
			must(t, err)
			must(t, errors.Join(dir.Sync(), dir.Close()))
		})
	})
}

func testPowerLoss(t *testing.T, first int, prepare func(*world)) {
	d := newOnDisk(t)
	before := d.versions(t)
	var steps []string
	var moments []moment
	o := killOptions(d.world)
	o.step = func(what string) {
		prepare(d.world)
		moments = append(moments, d.powerFails(t, steps))
		steps = append(steps, what)
	}
	report, err := Run(t.Context(), o)
	must(t, err)
	moments = append(moments, d.powerFails(t, steps))
	if len(report.Backups) != 2 || len(report.Pruned) != 2 || len(report.Cleaned) != 2 || len(moments) < 40 {
		t.Fatalf("too little to do: %d steps, %+v", len(steps), report)
	}
	want, wantBucket := d.archiveTree(t), tree(t, d.bucket)
	for i, m := range moments {
		if i%faultfs.Stride(3) != first%faultfs.Stride(3) && i != len(steps) {
			continue
		}
		t.Run(strings.ReplaceAll(fmt.Sprint(i, " before ", append(steps, "nothing more")[i]), "/", " "), func(t *testing.T) {
			w := m.recover(t)
			m.check(t, w, before)
			if got := w.archiveTree(t); i == len(steps) && !maps.Equal(got, want) {
				t.Errorf("Run had returned, but of %q there is only %q", sorted(want), sorted(got))
			}
			if _, err := Run(t.Context(), killOptions(w)); err != nil {
				t.Fatal(err)
			}
			if got := w.archiveTree(t); !maps.Equal(got, want) {
				t.Errorf("the next run makes %q, not %q", sorted(got), sorted(want))
			}
			if got := tree(t, w.bucket); !maps.Equal(got, wantBucket) {
				t.Errorf("the next run leaves %q in the bucket, not %q", sorted(got), sorted(wantBucket))
			}
			w.checkNoEmptyFolders(t)
			faultfs.Unmount(t, w.root)
			m.disk.Remove(t)
		})
	}
}

// checkRerun runs to the end what was killed after some steps, and lets the
// power fail after each upload of a list, and in the end.
func (d onDisk) checkRerun(t *testing.T, steps []string, before map[string][]version) {
	t.Helper()
	var moments []moment
	o := killOptions(d.world)
	o.step = func(what string) {
		if len(steps) > 0 && strings.HasPrefix(steps[len(steps)-1], "upload ") {
			moments = append(moments, d.powerFails(t, steps))
		}
		steps = append(steps, what)
	}
	_, err := runAgain(t, o)
	must(t, err)
	want := d.archiveTree(t)
	moments = append(moments, d.powerFails(t, steps))
	for n, m := range moments {
		w := m.recover(t)
		m.check(t, w, before)
		if got := w.archiveTree(t); n == len(moments)-1 && !maps.Equal(got, want) {
			t.Errorf("after Run had returned, of %q there is only %q", sorted(want), sorted(got))
		}
		faultfs.Unmount(t, w.root)
		m.disk.Remove(t)
	}
}

// An archiver is killed, the next one goes on from what the system shows, and
// then the power fails: what the first one had not synced, the second one has to,
// before it tells the bucket or deletes anything.
func TestPowerLossAfterKill(t *testing.T) {
	t.Parallel()
	d := newOnDisk(t)
	before := d.versions(t)
	clean := d.powerFails(t, nil)
	var all []string
	o := killOptions(d.world)
	o.step = func(what string) { all = append(all, what) }
	_, err := Run(t.Context(), o)
	must(t, err)
	for i := 0; i < len(all); i += faultfs.Stride(4) {
		t.Run(strings.ReplaceAll(fmt.Sprint(i, " killed before ", all[i]), "/", " "), func(t *testing.T) {
			m := moment{disk: clean.disk.Snapshot(t), bucket: copied(t, clean.bucket)}
			d := onDisk{m.recover(t), m.disk}
			d.checkRerun(t, d.killedRun(t, fmt.Sprint(i)), before)
		})
	}
}

// As above, but killed after a list was renamed and before that was synced: the
// next run finds a version that the disk does not have yet.
func TestPowerLossAfterKilledRename(t *testing.T) {
	t.Parallel()
	d := newOnDisk(t)
	before := d.versions(t)
	steps := d.killedRun(t, "rename */archive-info")
	d.now = start.AddDate(0, 0, -1)
	list := d.nameAt(t, "fs").String() + "/archive-info" // of the first one that waits
	must(t, os.Rename(filepath.Join(d.root, newList), filepath.Join(d.root, list)))
	d.checkRerun(t, steps, before)
}
