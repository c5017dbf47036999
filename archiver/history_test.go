package archiver

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
)

// nightly is an uploader as far as the bucket shows one: it builds on the newest
// archived version.
type nightly struct {
	*world
	storage string
	plain   map[string]string
}

func (u *nightly) backup(t testing.TB) backupname.Name {
	t.Helper()
	name := u.nameAt(t, u.storage)
	known := map[string]manifest.Entry{}
	bucket, err := listBucket(t.Context(), u.store)
	must(t, err)
	for _, b := range slices.Backward(bucket[u.storage]) {
		if b.archived() {
			for _, e := range readEntries(t, filepath.Join(u.bucket, b.name.String(), "archive-info")) {
				known[e.Path] = e
			}
			break
		}
	}
	var files []sealed
	var carried []manifest.Entry
	for _, p := range sorted(u.plain) {
		fresh := u.seal(name, p, u.plain[p])
		if old, ok := known[p]; ok && old.SHA512 == fresh.entry.SHA512 && old.Size == fresh.entry.Size {
			carried = append(carried, old)
		} else {
			files = append(files, fresh)
		}
	}
	u.upload(t, name, inPackage([]string{"", "_small_files.tar"}[u.seals%2], files...), carried...)
	return name
}

func (u *nightly) change(r *rand.Rand) {
	for range 1 + r.IntN(4) {
		p := fmt.Sprintf("%c%d/%d", 'a'+r.IntN(3), r.IntN(3), r.IntN(3))
		switch r.IntN(3) {
		case 0:
			delete(u.plain, p)
		default: // few different contents, so that old ones come back
			u.plain[p] = fmt.Sprintf("content %d", r.IntN(3))
		}
	}
}

// Whatever happens in whatever order, the archive is as the rules say, after
// each archiving and for each version; and damage heals the next night.
func TestHistories(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 1))
			w := newWorld(t)
			u := &nightly{w, "file-storage-0", map[string]string{}}
			for range 25 {
				w.now = w.now.Add(23*time.Hour + time.Duration(r.IntN(7200))*time.Second)
				u.change(r)
				name := u.backup(t)
				if r.IntN(6) == 0 {
					flipByte(t, r, filepath.Join(w.bucket, name.String(), "_small_files.tar"))
				}
				if r.IntN(4) == 0 {
					continue // the archiver is off for a night
				}
				o := w.options()
				o.Retention = Retention{KeepLast: 4, KeepDays: 6}
				if report, err := Run(t.Context(), o); err != nil && !errors.Is(err, ErrIncomplete) {
					t.Fatalf("%v: %+v", err, report)
				}
				w.checkArchive(t)
			}
			for range 2 { // the first finds what the last night's damage cost
				w.now = w.now.Add(time.Hour)
				u.backup(t)
				_, err := Run(t.Context(), w.options())
				if err != nil && !errors.Is(err, ErrIncomplete) {
					t.Fatal(err)
				}
			}
			w.checkArchive(t)
			newest := w.versions(t)[u.storage]
			last := newest[len(newest)-1]
			if len(last.entries) != len(u.plain) {
				t.Errorf("the newest version has %d files of %d", len(last.entries), len(u.plain))
			}
		})
	}
}

func flipByte(t testing.TB, r *rand.Rand, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	must(t, err)
	b[r.IntN(len(b))] ^= 1 << r.IntN(8)
	must(t, os.WriteFile(file, b, 0o644))
}

// Two backups may be made before one archiving: the second one's list does not
// know that a file went on to the first.
func TestTwoBackupsAtOnce(t *testing.T) {
	w := newWorld(t)
	u := &nightly{w, "fs", map[string]string{"a/1": "one", "b/2": "two"}}
	first := u.backup(t)
	w.run(t)
	u.plain["c/3"] = "three"
	w.now = w.now.Add(time.Hour)
	u.backup(t)
	w.now = w.now.Add(time.Hour)
	last := u.backup(t)
	report := w.run(t)
	if len(report.Backups) != 2 || report.Backups[1].Carried != 2 {
		t.Errorf("%+v", report.Backups)
	}
	w.checkArchive(t)
	if !exists(w.folder(last, "a/1.lz4.gpg")) || exists(w.folder(first, "a")) {
		t.Error("the file did not go on to the newest version")
	}
}

// The same path with the same size elsewhere is not the file that is looked for.
func TestOtherFileOfSameSizeIsNotTaken(t *testing.T) {
	w := newWorld(t)
	n1 := w.nameAt(t, "fs")
	old := w.seal(n1, "a", "old")
	w.upload(t, n1, []sealed{old})
	w.run(t)
	w.now = w.now.Add(time.Hour)
	n2 := w.nameAt(t, "fs")
	other := w.seal(n2, "a", "new")
	w.upload(t, n2, []sealed{other})
	w.now = w.now.Add(time.Hour)
	n3 := w.nameAt(t, "fs")
	w.upload(t, n3, nil, old.entry)
	must(t, os.Remove(w.folder(n1, "a.lz4.gpg")))
	report, err := Run(t.Context(), w.options())
	if !errors.Is(err, ErrIncomplete) || len(report.Backups) != 2 || report.Backups[1].Missing.Count != 1 {
		t.Fatalf("%v: %+v", err, report)
	}
	if !exists(w.folder(n2, "a.lz4.gpg")) {
		t.Error("the other version's file was taken away")
	}
}

// A backup that is archived after a later one leaves the files where they are.
func TestLateBackup(t *testing.T) {
	w := newWorld(t)
	u := &nightly{w, "fs", map[string]string{"a/1": "one", "b/2": "two"}}
	first := u.backup(t)
	w.run(t)
	w.now = w.now.Add(time.Hour)
	u.plain["c/late"] = "late"
	delete(u.plain, "b/2")
	late := u.backup(t)
	hidden := filepath.Join(t.TempDir(), "late")
	must(t, os.Rename(filepath.Join(w.bucket, late.String()), hidden))
	w.now = w.now.Add(time.Hour)
	delete(u.plain, "c/late")
	u.plain["b/2"] = "two"
	last := u.backup(t)
	w.run(t)
	must(t, os.Rename(hidden, filepath.Join(w.bucket, late.String())))
	// The first one's archive-info is gone with the cleaning; the list stands.
	report := w.run(t)
	if len(report.Backups) != 1 || report.Backups[0].Missing.Count != 0 {
		t.Fatalf("%+v", report)
	}
	for _, p := range []string{w.folder(last, "a/1.lz4.gpg"), w.folder(last, "b/2.lz4.gpg"), w.folder(late, "c/late.lz4.gpg")} {
		if !exists(p) {
			t.Errorf("%s is not there", p)
		}
	}
	if exists(w.folder(first, "a")) {
		t.Error("the oldest version still holds current files")
	}
	w.checkFindable(t)
}
