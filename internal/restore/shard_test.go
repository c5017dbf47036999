package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/shard"
	"github.com/chipster/firn/internal/workers"
)

func manyFiles() (files []plainFile) {
	for i := range 300 {
		p := fmt.Sprintf("%02x/%d", i%7, i)
		files = append(files, plainFile{path: p, content: "content of " + p})
	}
	return files
}

// hidden is what runs left in the target for themselves.
func hidden(t *testing.T, to string) (names []string) {
	t.Helper()
	for p := range tree(t, to) {
		if strings.Contains(p, ".firn") {
			names = append(names, p)
		}
	}
	if _, err := os.Lstat(filepath.Join(to, locks)); err == nil {
		names = append(names, locks)
	}
	return names
}

// Four shards side by side restore what one run does, each file once, and leave
// nothing behind.
func TestShards(t *testing.T) {
	t.Parallel()
	files := manyFiles()
	o := makeArchive(t, files...).options(t)
	var group errgroup.Group
	var restored, bytes, progress atomic.Int64
	for i := range 4 {
		o := o
		o.Shard = shard.Shard{Index: i + 1, Count: 4}
		o.Progress = func(files int, _ int64) { progress.Add(int64(files)) }
		group.Go(func() error {
			report, err := Run(t.Context(), o)
			restored.Add(report.Restored.Files)
			bytes.Add(report.Restored.Bytes)
			if report.Skipped.Files != 0 || report.Shard != o.Shard.String() {
				t.Errorf("%+v", report)
			}
			return err
		})
	}
	must(t, group.Wait())
	if n := int64(len(files)); restored.Load() != n || progress.Load() != n || bytes.Load() != o.Version.Size {
		t.Errorf("restored %d files, %d bytes; progress %d", restored.Load(), bytes.Load(), progress.Load())
	}
	checkTree(t, o.To, contentOf(files))
	if left := hidden(t, o.To); left != nil {
		t.Errorf("left behind: %q", left)
	}
}

// Who has the target excludes who would write the same files, and nobody else.
func TestWhoExcludesWhom(t *testing.T) {
	t.Parallel()
	a := makeArchive(t, manyFiles()...)
	for _, c := range []struct {
		first, second string
		inUse         bool
	}{
		{"2/4", "2/4", true}, {"2/4", "3/4", false}, {"2/4", "2/3", true}, {"2/4", "", true}, {"", "2/4", true}, {"", "", true}, {"1/1", "1/1", true},
	} {
		o := a.options(t)
		var err error
		o.Shard, err = shard.Parse(c.first)
		must(t, err)
		second := o
		second.Shard, err = shard.Parse(c.second)
		must(t, err)
		var once atomic.Bool
		o.Progress = func(int, int64) {
			if once.CompareAndSwap(false, true) {
				// On a network file system only locks of files are seen by others.
				if lock := filepath.Join(o.To, lockName(max(o.Shard.Index, 1), max(o.Shard.Count, 1))); tryLockAgain(t, lock) {
					t.Errorf("%q has no lock in %s", c.first, lock)
				}
				if _, err := Run(t.Context(), second); errors.Is(err, ErrInUse) != c.inUse || err != nil && !c.inUse {
					t.Errorf("%q during %q: %v", c.second, c.first, err)
				}
			}
		}
		mustRun(t, o)
		if !once.Load() {
			t.Error("there was no second run")
		}
		if left := hidden(t, o.To); left != nil {
			t.Errorf("%q and %q left behind: %q", c.first, c.second, left)
		}
	}
}

// tryLockAgain tells that a file is there and nobody has locked it.
func tryLockAgain(t *testing.T, name string) bool {
	f, err := os.Open(name)
	if err != nil {
		t.Error(err)
		return false
	}
	defer f.Close()
	return tryLock(f, unix.LOCK_EX)
}

// What killed runs left is in nobody's way, and is taken away: by the same shard,
// by those of another number, and by a run of all.
func TestKilledShard(t *testing.T) {
	t.Parallel()
	files := manyFiles()
	a := makeArchive(t, files...)
	for _, shards := range [][]string{{"1/2", "2/2"}, {"1/3", "2/3", "3/3"}, {""}} {
		o := a.options(t)
		must(t, os.MkdirAll(filepath.Join(o.To, locks), 0o755))
		must(t, os.WriteFile(filepath.Join(o.To, lockName(2, 2)), nil, 0o600))
		e := a.entries[files[0].path]
		partial := filepath.Join(o.To, filepath.Dir(e.Path), file{&e}.partial())
		must(t, os.MkdirAll(filepath.Dir(partial), 0o755))
		must(t, os.WriteFile(partial, []byte("half"), 0o400))
		for _, text := range shards {
			var err error
			o.Shard, err = shard.Parse(text)
			must(t, err)
			mustRun(t, o)
		}
		checkTree(t, o.To, contentOf(files))
		if left := hidden(t, o.To); left != nil {
			t.Errorf("%q left behind: %q", shards, left)
		}
	}
}

// The folder of locks is not taken for what it is not.
func TestFilesAmongLocks(t *testing.T) {
	t.Parallel()
	mine := plainFile{path: locks + "/mine", content: "mine"}
	o := makeArchive(t, mine).options(t)
	for _, text := range []string{"", "1/2", "2/2", "1/3", "2/3", "3/3", ""} {
		var err error
		o.Shard, err = shard.Parse(text)
		must(t, err)
		mustRun(t, o)
	}
	checkTree(t, o.To, contentOf([]plainFile{mine}))
}

// What is in the place of that folder is an error, and nothing is waited for.
func TestLocksAreNoFolder(t *testing.T) {
	t.Parallel()
	for what, put := range map[string]func(string) error{
		"link to nowhere":  func(name string) error { return os.Symlink("nowhere", name) },
		"link to a folder": func(name string) error { return os.Symlink(".", name) },
		"file":             func(name string) error { return os.WriteFile(name, nil, 0o600) },
	} {
		o := makeArchive(t, manyFiles()...).options(t)
		must(t, os.MkdirAll(o.To, 0o755))
		must(t, put(filepath.Join(o.To, locks)))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if _, err := Run(ctx, o); err == nil || !strings.Contains(err.Error(), locks) || ctx.Err() != nil {
			t.Errorf("%s: %v", what, err)
		}
		cancel()
	}
}

// A pattern that only other shards have files of is no mistake; one that nobody
// has is.
func TestPatternsOfShards(t *testing.T) {
	t.Parallel()
	files := manyFiles()
	o := makeArchive(t, files...).options(t)
	restored := int64(0)
	for i := range 8 {
		o.Shard, o.Patterns = shard.Shard{Index: i + 1, Count: 8}, []string{files[0].path}
		restored += mustRun(t, o).Restored.Files
		o.Patterns = append(o.Patterns, "nothing")
		if _, err := Run(t.Context(), o); !errors.Is(err, ErrNoMatch) {
			t.Error(err)
		}
	}
	if restored != 1 {
		t.Errorf("%d files restored", restored)
	}
	checkTree(t, o.To, contentOf(files[:1]))
}

// Who puts a link in the place of a folder while files are written into it gets
// none of them.
func TestFolderBecomesALink(t *testing.T) {
	t.Parallel()
	var files []plainFile
	for i := range 10 * workers.MaxBatchFiles {
		files = append(files, plainFile{path: fmt.Sprintf("ab/%d", i), content: "x"})
	}
	o := makeArchive(t, files...).options(t)
	outside, away := t.TempDir(), t.TempDir()
	var done atomic.Int64
	o.Workers = 1
	o.Progress = func(files int, _ int64) {
		if done.Add(int64(files)) == workers.MaxBatchFiles+3 && files > 0 {
			must(t, os.Rename(filepath.Join(o.To, "ab"), filepath.Join(away, "ab")))
			must(t, os.Symlink(outside, filepath.Join(o.To, "ab")))
		}
	}
	report, err := Run(t.Context(), o)
	if !errors.Is(err, ErrIncomplete) || report.Conflicts.Count == 0 || report.Restored.Files < workers.MaxBatchFiles {
		t.Errorf("%v, %+v", err, report)
	}
	checkTree(t, outside, nil)
}

// A special file in a file's place is not opened, and not waited for.
func TestPipeOfTheRightSize(t *testing.T) {
	t.Parallel()
	o := makeArchive(t, plainFile{path: "empty"}).options(t)
	must(t, os.MkdirAll(o.To, 0o755))
	must(t, unix.Mkfifo(filepath.Join(o.To, "empty"), 0o644))
	if report, err := Run(t.Context(), o); !errors.Is(err, ErrIncomplete) || report.Conflicts.Count != 1 {
		t.Errorf("%v, %+v", err, report)
	}
}
