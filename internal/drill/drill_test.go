package drill

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/faultfs"
	"github.com/chipster/firn/internal/keys/keystest"
	"github.com/chipster/firn/internal/restore"
)

const plainDump = "--\n-- PostgreSQL database dump\n--\nSELECT 1;\n--\n-- PostgreSQL database dump complete\n--\n\n"

// Both versions and the dump are tried, and nothing is left.
func TestDrill(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	a.add(older, "curve", numbered(5), nil)
	a.add(newest, "curve", numbered(30), nil)
	a.add(database, "curve", map[string]string{database + ".sql": plainDump}, nil)
	o := a.options()
	o.Files = 10
	var planned, done, files atomic.Int64
	o.Planned = func(n int, bytes int64) { files.Store(int64(n)); planned.Store(bytes) }
	o.Progress = func(n int, bytes int64) { files.Add(-int64(n)); done.Add(bytes) }
	report, err := Run(t.Context(), o)
	must(t, err)
	if len(report.Trials) != 3 || report.Verdict != Good || report.Problems != 0 || report.Chosen != report.Right || report.Seconds <= 0 {
		t.Fatalf("%+v", report)
	}
	for i, want := range []struct {
		version       string
		least, listed int64
	}{{newest, 10, 30}, {older, 5, 5}, {database, 1, 1}} {
		got := report.Trials[i]
		if got.Version != want.version || got.Chosen != got.Right || got.Right.Files < want.least || got.Right.Files > want.least+2 || got.Listed.Files != want.listed {
			t.Errorf("trial %d is %+v", i, got)
		}
		if got.BytesPerSecond <= 0 || got.WholeSeconds < got.Seconds-1e-6 || got.AgeSeconds < 24*3600 {
			t.Errorf("trial %d has the numbers %+v", i, got)
		}
	}
	if got := report.Trials[2].Format; got != "plain" {
		t.Errorf("the dump is %q", got)
	}
	if planned.Load() != done.Load() || files.Load() != 0 || planned.Load() != 2*report.Right.Bytes {
		t.Errorf("planned %d bytes, done %d; %d files too few", planned.Load(), done.Load(), files.Load())
	}
	a.nothingLeft()
}

// What is wrong with one version is told, and keeps no other from being tried.
func TestProblems(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		harm  func(a archive)
		count int64
		why   string
	}{
		"all are damaged": {func(a archive) {
			for _, name := range a.sealed(newest) {
				damage(t, name)
			}
		}, 8, ""},
		"one is missing":   {func(a archive) { must(t, os.Remove(a.sealed(newest)[3])) }, 1, "sealed file is missing"},
		"one is cut short": {func(a archive) { must(t, os.Truncate(a.sealed(newest)[3], 10)) }, 1, "another file"},
		"all are gone":     {func(a archive) { must(t, os.Rename(filepath.Join(a.root, newest, "00"), filepath.Join(a.root, "00"))) }, 1, "missing"},
		"the dump is no end": {func(a archive) {
			a.add(database, "curve", map[string]string{"dump": plainDump[:len(plainDump)-60]}, nil)
		}, 1, "has no end"},
		"the dump is empty": {func(a archive) { a.add(database, "curve", map[string]string{"dump": ""}, nil) }, 1, "has no end"},
		"the dump is two":   {func(a archive) { a.add(database, "curve", numbered(2), nil) }, 1, "2 files"},
		"there is no dump":  {func(a archive) { a.add(database, "curve", nil, nil) }, 1, "0 files"},
		"a custom dump is none": {func(a archive) {
			a.add(database, "curve", map[string]string{"dump": "PGDMP and no more"}, nil)
		}, 1, "pg_restore"},
		"the list is damaged": {func(a archive) {
			must(t, os.WriteFile(filepath.Join(a.root, newest, "archive-info"), []byte("not a list\n"), 0o644))
		}, 1, "damaged version"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newArchive(t)
			a.add(older, "curve", map[string]string{"a": "1", "b": "2", "c": "3", "d": "4"}, nil) // none of the newest
			a.add(newest, "curve", numbered(8), nil)
			test.harm(a)
			o := a.options()
			report, err := Run(t.Context(), o)
			if !errors.Is(err, restore.ErrIncomplete) || report == nil || report.Verdict != Bad || report.Problems != test.count {
				t.Fatalf("%v, %+v", err, report)
			}
			for _, trial := range report.Trials {
				if trial.Problems.Count > 0 && (trial.Version == older || !strings.Contains(trial.Problems.First[0].Reason, test.why)) {
					t.Errorf("%s: %+v", trial.Version, trial.Problems)
				}
				if trial.Right.Files+trial.Problems.Count < trial.Chosen.Files {
					t.Errorf("%s: not all chosen is right or wrong: %+v", trial.Version, trial)
				}
			}
			if report.Right.Files < 4 {
				t.Errorf("only %d files are right", report.Right.Files)
			}
			a.nothingLeft()
		})
	}
}

// What package restore says to have restored is looked at again.
func TestReadAgain(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	files := numbered(6)
	a.add(newest, "curve", files, nil)
	o := a.options()
	o.Keep = true
	report, err := Run(t.Context(), o)
	must(t, err)
	if len(report.Kept) != 1 {
		t.Fatalf("kept are %q", report.Kept)
	}
	folder := filepath.Join(report.Kept[0], newest)
	for p, content := range files {
		if got, err := os.ReadFile(filepath.Join(folder, p)); err != nil || string(got) != content {
			t.Errorf("%s is kept as %.20q, %v", p, got, err)
		}
	}
	if info, err := os.Stat(report.Kept[0]); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others can read what was unsealed: %v, %v", info, err)
	}

	versions, err := o.Catalog.Versions(t.Context(), "")
	must(t, err)
	o.applyDefaults()
	trial := newTrial(&run{Options: o, started: time.Now()}, versions[0])
	must(t, trial.choose(t.Context(), 1<<30))
	must(t, os.WriteFile(filepath.Join(folder, "05/file-5"), []byte(strings.ToUpper(files["05/file-5"])+"x"), 0o644))
	must(t, os.WriteFile(filepath.Join(folder, "04/file-4"), []byte(strings.ReplaceAll(files["04/file-4"], "4", "5")), 0o644))
	must(t, os.Remove(filepath.Join(folder, "03/file-3")))
	must(t, os.Remove(filepath.Join(folder, "02/file-2")))
	must(t, os.Symlink("../01/file-1", filepath.Join(folder, "02/file-2")))
	must(t, trial.compare(t.Context(), folder))
	if trial.Right.Files != 2 || trial.Problems.Count != 4 {
		t.Errorf("%+v", trial.Trial)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	a.add(older, "curve", numbered(30), nil)
	a.add(newest, "curve", numbered(30), nil)
	a.add(database, "curve", map[string]string{"dump": plainDump}, nil)
	o := a.options()
	o.Opener = envelope.NewOpener(keystest.Private(t, "chipster"))
	report, err := Run(t.Context(), o)
	if !errors.Is(err, envelope.ErrKey) || errors.Is(err, restore.ErrIncomplete) || report == nil || report.Verdict != Locked || report.Right.Files != 0 {
		t.Errorf("%v, %+v", err, report)
	}
	// Something else is wrong as well.
	damage(t, a.sealed(older)[0])
	must(t, os.WriteFile(filepath.Join(a.root, older, "archive-info"), []byte("not a list\n"), 0o644))
	if err := os.Chtimes(filepath.Join(a.root, older, "archive-info"), time.Now(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Catalog.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if report, err = Run(t.Context(), o); !errors.Is(err, restore.ErrIncomplete) || report.Verdict != Bad {
		t.Errorf("%v, %+v", err, report)
	}
	a.nothingLeft()
}

func TestNothingToTry(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	if report, err := Run(t.Context(), a.options()); !errors.Is(err, catalog.ErrNoVersion) || report != nil {
		t.Errorf("an empty archive: %v", err)
	}
	a.add(newest, "curve", numbered(3), nil)
	a.add(database, "curve", map[string]string{"dump": plainDump}, nil)
	o := a.options()
	o.Storages = []string{"file-storage", "another"}
	if report, err := Run(t.Context(), o); !errors.Is(err, catalog.ErrNoVersion) || report != nil || !strings.Contains(err.Error(), "another") {
		t.Errorf("no such storage: %v", err)
	}
	o.Storages = []string{"session-db-db-backup"}
	report, err := Run(t.Context(), o)
	if err != nil || len(report.Trials) != 1 || report.Trials[0].Version != database {
		t.Errorf("one of two storages: %v, %+v", err, report)
	}
	o.Scratch = filepath.Join(a.scratch, "missing")
	if _, err := Run(t.Context(), o); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "missing") {
		t.Errorf("no folder to restore into: %v", err)
	}
	a.nothingLeft()
}

// What there is no room for is an error before anything is written, or left out.
func TestRoom(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	faultfs.Tmpfs(t, a.scratch, "size=200k")
	a.add(newest, "curve", numbered(50), nil) // of 1.2 MB together
	o := a.options()
	report, err := Run(t.Context(), o)
	must(t, err)
	if got := report.Trials[0]; got.Right.Files < 3 || got.Right.Bytes > 200<<10 || got.LeftOut.Files+got.Right.Files != 50 {
		t.Errorf("%+v", got)
	}
	a.nothingLeft()

	o.MaxBytes = 40_000
	report, err = Run(t.Context(), o)
	must(t, err)
	if got := report.Trials[0].Right.Bytes; got > 40_000 {
		t.Errorf("restored %d bytes", got)
	}
	o.MaxBytes = 1
	if _, err := Run(t.Context(), o); !errors.Is(err, ErrNoRoom) || !strings.Contains(err.Error(), "allow more") {
		t.Error(err)
	}

	a.add(database, "curve", map[string]string{"dump": strings.Repeat(plainDump, 5000)}, nil)
	o = a.options()
	o.Progress = func(int, int64) { t.Error("something was restored") }
	report, err = Run(t.Context(), o)
	if !errors.Is(err, ErrNoRoom) || report != nil || !strings.Contains(err.Error(), database) || !strings.Contains(err.Error(), a.scratch) {
		t.Error(err)
	}
	a.nothingLeft()
}

// The disk is full after all, since others wrote there too.
func TestFull(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	faultfs.Tmpfs(t, a.scratch, "size=200k")
	a.add(newest, "curve", numbered(10), nil)
	o := a.options()
	other := filepath.Join(a.scratch, "other")
	o.Planned = func(int, int64) { must(t, os.WriteFile(other, make([]byte, 180<<10), 0o600)) }
	report, err := Run(t.Context(), o)
	if !errors.Is(err, unix.ENOSPC) || errors.Is(err, restore.ErrIncomplete) || report == nil || report.Verdict != Unfinished {
		t.Errorf("%v, %+v", err, report)
	}
	must(t, os.Remove(other))
	a.nothingLeft()
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	a.add(older, "curve", numbered(20), nil)
	a.add(newest, "curve", numbered(20), nil)
	o := a.options()
	for _, after := range []int64{1, 5, 25, 33} { // while restoring, and while reading again
		ctx, cancel := context.WithCancel(t.Context())
		var n atomic.Int64
		o.Progress = func(int, int64) {
			if n.Add(1) == after {
				cancel()
			}
		}
		if report, err := Run(ctx, o); !errors.Is(err, context.Canceled) || report.Verdict != Unfinished {
			t.Errorf("after %d: %v", after, err)
		}
		cancel()
		a.nothingLeft()
	}
}

// What drills that were killed left is named, and stays.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	a.add(newest, "curve", numbered(3), nil)
	now := time.Now()
	old, young := folderPrefix+stamp(now.Add(-25*time.Hour))+"-1234", folderPrefix+stamp(now.Add(-23*time.Hour))+"-1234"
	for _, name := range []string{old, young, folderPrefix + "of-mine", "other"} {
		must(t, os.Mkdir(filepath.Join(a.scratch, name), 0o700))
	}
	report, err := Run(t.Context(), a.options())
	must(t, err)
	if want := []string{filepath.Join(a.scratch, old)}; !slices.Equal(report.Leftovers, want) {
		t.Errorf("left are %q, not %q", report.Leftovers, want)
	}
	if left, err := os.ReadDir(a.scratch); err != nil || len(left) != 4 {
		t.Errorf("there are %v, %v", left, err)
	}
}

// Each version has all the room, unless what was restored is kept.
func TestRoomForEach(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	faultfs.Tmpfs(t, a.scratch, "size=800k")
	a.add(older, "curve", numbered(25), nil) // of 300 kB together, and as much in blocks at most
	a.add(newest, "curve", numbered(25), nil)
	o := a.options()
	report, err := Run(t.Context(), o)
	must(t, err)
	if report.Right.Files != 50 {
		t.Errorf("%+v", report)
	}
	o.Keep = true
	report, err = Run(t.Context(), o)
	must(t, err)
	if report.Trials[0].LeftOut.Files != 0 || report.Trials[1].LeftOut.Files == 0 || report.Trials[1].Right.Files == 0 {
		t.Errorf("%+v, %+v", report.Trials[0], report.Trials[1])
	}
	// A folder that stays takes the room of the next version.
	must(t, os.RemoveAll(report.Kept[0]))
	o.Keep = false
	o.Progress = func(int, int64) {
		folders, err := filepath.Glob(filepath.Join(a.scratch, "*", "*"))
		if err != nil || len(folders) > 1 {
			t.Errorf("beside one another are %q", folders)
		}
	}
	_, err = Run(t.Context(), o)
	must(t, err)
}
