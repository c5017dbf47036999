package restore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/faultfs"
	"github.com/chipster/firn/internal/keys/keystest"
	"github.com/chipster/firn/internal/manifest"
)

// ofAllSizes are files of sizes around that of a page.
func ofAllSizes() (files []plainFile) {
	for i, size := range []int{0, 1, 4095, 4096, 4097, 20_000, 150_000} {
		files = append(files, plainFile{path: fmt.Sprintf("%c/%c/%d", 'a'+i%3, 'a'+i%2, size), content: strings.Repeat(fmt.Sprint(i), size)})
	}
	return files
}

// Whatever the room in the target, in pages or in inodes: where it does not do,
// the run says that it is full; no file has its name and wrong bytes; and with
// room enough the next run completes it.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	files := ofAllSizes()
	o := makeArchive(t, files...).options(t)
	want := contentOf(files)
	for _, limit := range []string{"size=%dk", "nr_inodes=%d"} {
		tried, step := 1, 1
		if limit == "size=%dk" {
			step = 4
		}
		for n := step; !tryRoom(t, o, fmt.Sprintf(limit, n), want); n += step * faultfs.Stride(3) {
			if tried++; tried > 1000 {
				t.Fatal("no room is enough")
			}
		}
		t.Logf("%s: %d limits", limit, tried)
		if tried < 4 {
			t.Error("too few limits tried")
		}
	}
}

// tryRoom restores with little room, and then with enough. It tells whether the
// little did.
func tryRoom(t *testing.T, o Options, little string, want map[string]string) bool {
	t.Helper()
	o.To = t.TempDir()
	faultfs.Tmpfs(t, o.To, little)
	_, err := Run(t.Context(), o)
	if err != nil && (!errors.Is(err, unix.ENOSPC) || errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), o.To+" is full")) {
		t.Errorf("with %s: %v", little, err)
	}
	for p, content := range tree(t, o.To) {
		if expected, ok := want[p]; !ok || content != expected {
			t.Errorf("with %s: %s has %d bytes, not the right %d", little, p, len(content), len(expected))
		}
	}
	faultfs.Remount(t, o.To, "size=64m,nr_inodes=10000")
	mustRun(t, o)
	checkTree(t, o.To, want)
	faultfs.Unmount(t, o.To)
	return err == nil
}

// secondVersion adds a version that lists all files of the first one, and has
// some of them.
func (a archive) secondVersion(t *testing.T) {
	t.Helper()
	name, err := backupname.Parse("file-storage_2026-01-03T01:10:00.123Z")
	must(t, err)
	list := create(t, filepath.Join(a.root, name.String(), manifest.ArchiveInfo))
	lines := manifest.NewWriter(list)
	moved := false
	for p, e := range a.entries {
		if moved = !moved; moved {
			to := filepath.Join(a.root, name.String(), e.SealedPath)
			must(t, os.MkdirAll(path.Dir(to), 0o755))
			must(t, os.Rename(a.sealed(p), to))
		}
		e.Backup = name
		must(t, lines.Write(&e))
	}
	must(t, errors.Join(lines.Flush(), list.Close()))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// restoreFrom restores the first version of an archive with a catalog that may
// be there from before.
func restoreFrom(ctx context.Context, root, to, database string, opener *envelope.Opener) (*Report, error) {
	quiet := slog.New(slog.DiscardHandler)
	c, err := catalog.Open(ctx, root, catalog.Options{Path: database, Logger: quiet})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	v, err := c.Find(ctx, oneBackup)
	if err != nil {
		return nil, err
	}
	return Run(ctx, Options{Catalog: c, Opener: opener, Version: v, To: to, Logger: quiet})
}

// Whatever operation of the archive's file system fails, once or from then on:
// the restore says so or is complete, no file has wrong bytes, none counts as
// missing or damaged that is neither, and the next run completes it.
func TestFaultyArchive(t *testing.T) {
	files := ofAllSizes()
	a := makeArchive(t, files...)
	a.secondVersion(t)
	want := contentOf(files)
	opener := envelope.NewOpener(keystest.Private(t, "curve"))
	root, work := t.TempDir(), t.TempDir()
	faultfs.Tmpfs(t, work, "size=256m")
	fs := faultfs.NewFaulty(t, a.root, root)
	try := func(id string) (*Report, error) {
		return restoreFrom(t.Context(), root, filepath.Join(work, id), filepath.Join(work, id+".sqlite"), opener)
	}
	fs.Fail(0, nil)
	_, err := try("calm")
	must(t, err)
	checkTree(t, filepath.Join(work, "calm"), want)
	total, _ := fs.Operations()
	if total < 50 {
		t.Fatalf("only %d operations", total)
	}
	faults := []struct {
		errno   syscall.Errno
		forever bool
	}{{syscall.EIO, false}, {syscall.ESTALE, false}, {syscall.EIO, true}}
	var count struct{ faults, harmless, incomplete, failed int }
	for i := 0; i < total*len(faults); i += faultfs.Stride(3*len(faults) + 1) {
		at, fault := i/len(faults)+1, faults[i%len(faults)]
		id := fmt.Sprint(i)
		fs.Fail(fault.errno, func(n int, _ string) bool { return n == at || n > at && fault.forever })
		report, err := try(id)
		_, failed := fs.Operations()
		fs.Fail(0, nil)
		what := fmt.Sprintf("%+v in operation %d, %.200q: %v", fault, at, failed, err)
		count.faults++
		switch {
		case err == nil:
			count.harmless++
			checkTree(t, filepath.Join(work, id), want)
		case errors.Is(err, ErrIncomplete):
			count.incomplete++
			if report.Missing.Count+report.Damaged.Count+report.Conflicts.Count+report.Locked.Count > 0 {
				t.Errorf("%s: counted as what it is not: %+v", what, report)
			}
		default:
			count.failed++
		}
		if _, err := os.Lstat(filepath.Join(work, id)); err == nil {
			for p, content := range tree(t, filepath.Join(work, id)) {
				if content != want[p] {
					t.Errorf("%s: %s has wrong bytes", what, p)
				}
			}
		}
		if _, err := try(id); err != nil {
			t.Errorf("%s: the next run: %v", what, err)
		}
		checkTree(t, filepath.Join(work, id), want)
		must(t, os.RemoveAll(filepath.Join(work, id)))
		must(t, os.Remove(filepath.Join(work, id+".sqlite")))
	}
	t.Logf("%d operations: %+v", total, count)
}

// A read-only archive can be restored from, and nothing is written into it.
func TestReadOnlyArchive(t *testing.T) {
	t.Parallel()
	files := ofAllSizes()
	a := makeArchive(t, files...)
	a.secondVersion(t)
	root, to := t.TempDir(), filepath.Join(t.TempDir(), "to")
	faultfs.ReadOnly(t, a.root, root)
	_, err := restoreFrom(t.Context(), root, to, filepath.Join(t.TempDir(), "catalog"), envelope.NewOpener(keystest.Private(t, "curve")))
	must(t, err)
	checkTree(t, to, contentOf(files))
}

// A read-only target ends the run.
func TestReadOnlyTarget(t *testing.T) {
	t.Parallel()
	a := makeArchive(t, ofAllSizes()...)
	o := a.options(t)
	o.To = t.TempDir()
	faultfs.ReadOnly(t, t.TempDir(), o.To)
	if _, err := Run(t.Context(), o); !errors.Is(err, unix.EROFS) || errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), o.To) {
		t.Error(err)
	}
}
