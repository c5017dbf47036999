package restore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/keys/keystest"
	"github.com/chipster/firn/internal/manifest"
)

func contentOf(files []plainFile) map[string]string {
	m := map[string]string{}
	for _, f := range files {
		m[f.path] = f.content
	}
	return m
}

func TestOddNames(t *testing.T) {
	files := []plainFile{{path: strings.Repeat("deep/", 1800) + "file", content: "far down"}} // 9,000 bytes
	for _, p := range []string{
		"a", "-rf", "a b", "a\nb", "tab\there", "\xff\xfe/\xfd", "ä/日本", `q"'\$(x)`, "[a]/*", strings.Repeat("x", 255),
		strings.Repeat("y", 255) + "/" + strings.Repeat("\n", 255), "...", ".firn", "empty",
	} {
		files = append(files, plainFile{path: p, content: "content of " + p})
	}
	files[len(files)-1].content = ""
	a := makeArchive(t, files...)
	o := a.options(t)
	t.Cleanup(func() { removeDeep(t, o.To) })
	var count, size atomic.Int64
	o.Progress = func(files int, bytes int64) { count.Add(int64(files)); size.Add(bytes) }
	report := mustRun(t, o)
	checkTree(t, o.To, contentOf(files))
	if n := int64(len(files)); report.Restored.Files != n || count.Load() != n || size.Load() != report.Restored.Bytes || size.Load() != o.Version.Size {
		t.Errorf("%d files; progress %d, %d bytes; report %+v", n, count.Load(), size.Load(), report.Restored)
	}
	if _, err := json.Marshal(report); err != nil {
		t.Error(err)
	}
}

// removeDeep removes what is too deep for t.TempDir's own removal, if it is.
func removeDeep(t *testing.T, folder string) {
	root, err := os.OpenRoot(folder)
	if err == nil {
		err = errors.Join(root.RemoveAll("deep"), root.Close())
	}
	if err != nil {
		t.Error(err)
	}
}

func TestDetails(t *testing.T) {
	a := makeArchive(t,
		plainFile{"a", "a", manifest.Details{Modified: someTime, Mode: 0o640 | fs.ModeSetuid, HasMode: true}},
		plainFile{"b", "b", manifest.Details{Mode: 0, HasMode: true}},
		plainFile{"c", "c", manifest.Details{}})
	o := a.options(t)
	mustRun(t, o)
	for name, want := range map[string]struct {
		mode fs.FileMode
		at   time.Time
	}{"a": {0o640, someTime}, "b": {0, o.Version.Name.Time()}, "c": {0o644, o.Version.Name.Time()}} {
		info, err := os.Lstat(filepath.Join(o.To, name))
		if err != nil || info.Mode() != want.mode || !info.ModTime().Equal(want.at) {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func threeFiles(t testing.TB) (archive, []plainFile) {
	files := []plainFile{
		{path: "one", content: "content of one", details: manifest.Details{Modified: someTime}},
		{path: "ab/two", content: "content of two"},
		{path: "ab/cd/three", content: strings.Repeat("content of three", 100_000)},
	}
	return makeArchive(t, files...), files
}

func TestSecondRunSkips(t *testing.T) {
	a, files := threeFiles(t)
	o := a.options(t)
	mustRun(t, o)
	// What was not restored by us, but is right, counts as well.
	if err := os.Chtimes(filepath.Join(o.To, "ab/two"), time.Time{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(a.root, oneBackup)); err != nil {
		t.Fatal(err)
	}
	report := mustRun(t, o)
	if report.Skipped.Files != 3 || report.Restored.Files != 0 {
		t.Errorf("%+v", report)
	}
	checkTree(t, o.To, contentOf(files))
}

// An interrupted run leaves nothing half under a real name, and the next one
// takes its leftovers away.
func TestInterruptedRunIsContinued(t *testing.T) {
	a, files := threeFiles(t)
	o := a.options(t)
	ctx, cancel := context.WithCancel(t.Context())
	o.Workers = 1
	o.Progress = func(_ int, bytes int64) {
		if bytes > 1000 {
			cancel() // in the middle of the large one
		}
	}
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(o.To, "ab/cd/three")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the file that was interrupted is there:", err)
	}
	entry := a.entries["ab/cd/three"]
	left := filepath.Join(o.To, "ab/cd", file{&entry}.partial()) // of a run that was killed
	if err := errors.Join(os.MkdirAll(filepath.Dir(left), 0o755), os.WriteFile(left, []byte("half"), 0o400)); err != nil {
		t.Fatal(err)
	}
	o.Progress = nil
	mustRun(t, o)
	checkTree(t, o.To, contentOf(files))
}

func TestConflicts(t *testing.T) {
	a, files := threeFiles(t)
	for what, prepare := range map[string]func(to string) error{
		"other size":    func(to string) error { return os.WriteFile(to+"/one", []byte("mine"), 0o644) },
		"other content": func(to string) error { return os.WriteFile(to+"/one", []byte("Content of one"), 0o644) },
		"link":          func(to string) error { return os.Symlink("/etc/hostname", to+"/one") },
		"broken link":   func(to string) error { return os.Symlink("nowhere", to+"/one") },
		"pipe":          func(to string) error { return unix.Mkfifo(to+"/one", 0o644) },
	} {
		o := a.options(t)
		if err := errors.Join(os.MkdirAll(o.To, 0o755), prepare(o.To)); err != nil {
			t.Fatal(err)
		}
		before, err := os.Lstat(o.To + "/one")
		if err != nil {
			t.Fatal(err)
		}
		report, err := Run(t.Context(), o)
		if !errors.Is(err, ErrIncomplete) || report.Conflicts.Count != 1 || report.Conflicts.First[0].Path != "one" || report.Restored.Files != 2 {
			t.Errorf("%s: %v, %+v", what, err, report)
		}
		if after, err := os.Lstat(o.To + "/one"); err != nil || !os.SameFile(before, after) || after.Size() != before.Size() {
			t.Errorf("%s: it was touched: %v", what, err)
		}
		o.Overwrite = true
		mustRun(t, o)
		checkTree(t, o.To, contentOf(files))
	}
}

func TestFolderAndFileInTheWay(t *testing.T) {
	a, _ := threeFiles(t)
	o := a.options(t)
	o.Overwrite = true
	if err := errors.Join(os.MkdirAll(o.To+"/one/mine", 0o755), os.WriteFile(o.To+"/ab", []byte("mine"), 0o644)); err != nil {
		t.Fatal(err)
	}
	report, err := Run(t.Context(), o)
	if !errors.Is(err, ErrIncomplete) || report.Conflicts.Count != 3 {
		t.Errorf("%v, %+v", err, report)
	}
	checkTree(t, o.To, map[string]string{"ab": "mine"})
}

func TestLinksDoNotLeadOutside(t *testing.T) {
	a, _ := threeFiles(t)
	o := a.options(t)
	o.Overwrite = true
	outside := t.TempDir()
	if err := errors.Join(os.MkdirAll(o.To, 0o755), os.Symlink(outside, o.To+"/ab")); err != nil {
		t.Fatal(err)
	}
	report, err := Run(t.Context(), o)
	if !errors.Is(err, ErrIncomplete) || report.Conflicts.Count != 2 || report.Restored.Files != 1 {
		t.Errorf("%v, %+v", err, report)
	}
	checkTree(t, outside, nil)
}

func TestDamagedAndMissing(t *testing.T) {
	a, _ := threeFiles(t)
	a.damage(t, "ab/cd/three")
	if err := os.Remove(a.sealed("one")); err != nil {
		t.Fatal(err)
	}
	o := a.options(t)
	report, err := Run(t.Context(), o)
	if !errors.Is(err, ErrIncomplete) || report.Damaged.Count != 1 || report.Damaged.First[0].Path != "ab/cd/three" ||
		report.Missing.Count != 1 || report.Missing.First[0].Path != "one" {
		t.Errorf("%v, %+v", err, report)
	}
	checkTree(t, o.To, map[string]string{"ab/two": "content of two"})
}

// A sealed file that is sound, and of the right size, but another one.
func TestOtherContentIsDamage(t *testing.T) {
	a := makeArchive(t, plainFile{path: "a", content: "first"}, plainFile{path: "b", content: "other"})
	b, err := os.ReadFile(a.sealed("b"))
	if err != nil || os.WriteFile(a.sealed("a"), b, 0o644) != nil {
		t.Fatal(err)
	}
	o := a.options(t)
	if report, err := Run(t.Context(), o); !errors.Is(err, ErrIncomplete) || report.Damaged.Count != 1 {
		t.Errorf("%v, %+v", err, report)
	}
	checkTree(t, o.To, map[string]string{"b": "other"})
}

func TestWrongKeyEndsEarly(t *testing.T) {
	var files []plainFile
	for i := range 200 {
		files = append(files, plainFile{path: fmt.Sprint(i), content: "x"})
	}
	o := makeArchive(t, files...).options(t)
	o.Opener = envelope.NewOpener(keystest.Private(t, "chipster"))
	report, err := Run(t.Context(), o)
	if !errors.Is(err, envelope.ErrKey) || errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), "key ") || report.Locked.Count > 100 {
		t.Errorf("%v, %+v", err, report)
	}
	checkTree(t, o.To, nil)
}

func TestPatterns(t *testing.T) {
	a := makeArchive(t, plainFile{path: "ab/one.bam"}, plainFile{path: "ab/cd/two.bam"}, plainFile{path: "ab/cd/three.txt"}, plainFile{path: "abc/[x]"}, plainFile{path: "\xff"})
	for _, c := range []struct{ patterns, want string }{
		{"ab", "ab/one.bam ab/cd/two.bam ab/cd/three.txt"},
		{"/ab/cd/", "ab/cd/two.bam ab/cd/three.txt"},
		{"./ab/one.bam", "ab/one.bam"},
		{"**/*.bam", "ab/one.bam ab/cd/two.bam"},
		{"ab/*", "ab/one.bam ab/cd/two.bam ab/cd/three.txt"},
		{"*/*.bam", "ab/one.bam"},
		{"a?/c*", "ab/cd/two.bam ab/cd/three.txt"},
		{"abc/[x]", "abc/[x]"},
		{`abc/\[x\]`, "abc/[x]"},
		{"\xff", "\xff"},
		{"ab/{one,two}* abc", "ab/one.bam abc/[x]"},
		{"ab /", "ab/one.bam ab/cd/two.bam ab/cd/three.txt abc/[x] \xff"},
	} {
		o := a.options(t)
		o.Patterns = strings.Fields(c.patterns)
		mustRun(t, o)
		want := map[string]string{}
		for _, p := range strings.Fields(c.want) {
			want[p] = ""
		}
		checkTree(t, o.To, want)
	}
	for _, patterns := range [][]string{{"nothing"}, {"ab/nothing/*"}, {"ab/one.bam/x"}, {"ab", "nothing"}} {
		o := a.options(t)
		o.Patterns = patterns
		if _, err := Run(t.Context(), o); !errors.Is(err, ErrNoMatch) || !strings.Contains(err.Error(), patterns[len(patterns)-1]) {
			t.Errorf("%q: %v", patterns, err)
		}
	}
	o := a.options(t)
	o.Patterns = []string{"ab/[x"}
	if _, err := Run(t.Context(), o); err == nil || errors.Is(err, ErrNoMatch) {
		t.Errorf("an invalid pattern: %v", err)
	}
	if _, err := os.Lstat(o.To); err == nil {
		t.Error("something was written in spite of an invalid pattern")
	}
}

func TestDryRunWritesNothing(t *testing.T) {
	a, files := threeFiles(t)
	o := a.options(t)
	o.DryRun = true
	if report := mustRun(t, o); report.Restored.Files != int64(len(files)) || report.Restored.Bytes != o.Version.Size {
		t.Errorf("%+v", report)
	}
	if _, err := os.Lstat(filepath.Dir(o.To)); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	mine := o.To + "/one"
	if err := errors.Join(os.MkdirAll(o.To, 0o755), os.WriteFile(mine, []byte("mine"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if report, err := Run(t.Context(), o); !errors.Is(err, ErrIncomplete) || report.Conflicts.Count != 1 || report.Restored.Files != 2 {
		t.Errorf("%v, %+v", err, report)
	}
	checkTree(t, o.To, map[string]string{"one": "mine"})
}

func TestEmptyVersion(t *testing.T) {
	o := makeArchive(t).options(t)
	mustRun(t, o)
	checkTree(t, o.To, nil)
}

func TestFullDisk(t *testing.T) {
	files := []plainFile{{path: "small", content: "small"}, {path: "z/large", content: strings.Repeat("x", 8<<20)}}
	o := makeArchive(t, files...).options(t)
	o.Workers = 1
	if err := os.MkdirAll(o.To, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", o.To, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("this test mounts a small file system, as root: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(o.To, unix.MNT_DETACH) })
	_, err := Run(t.Context(), o)
	if !errors.Is(err, unix.ENOSPC) || errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), "is full") {
		t.Error(err)
	}
	checkTree(t, o.To, map[string]string{"small": "small"})
}

func TestTwoRunsIntoOneFolder(t *testing.T) {
	a, _ := threeFiles(t)
	o := a.options(t)
	var once atomic.Bool
	o.Progress = func(int, int64) {
		if once.CompareAndSwap(false, true) {
			second := o
			second.Progress = nil
			if _, err := Run(context.Background(), second); !errors.Is(err, ErrInUse) {
				t.Error(err)
			}
		}
	}
	mustRun(t, o)
	if !once.Load() {
		t.Error("there was no second run")
	}
}

// Entries name files as they are, whatever their names would be as patterns.
func TestEntries(t *testing.T) {
	t.Parallel()
	files := []plainFile{{path: "a", content: "1"}, {path: "b/*", content: "2"}, {path: "b/c", content: "3"}}
	a := makeArchive(t, files...)
	o := a.options(t)
	o.Entries = []manifest.Entry{a.entries["b/*"], a.entries["a"]}
	if report := mustRun(t, o); report.Restored != (Tally{Files: 2, Bytes: 2}) {
		t.Errorf("%+v", report)
	}
	checkTree(t, o.To, map[string]string{"a": "1", "b/*": "2"})
	o = a.options(t)
	o.Entries = []manifest.Entry{}
	if report := mustRun(t, o); report.Restored.Files != 0 {
		t.Errorf("no entries restore %+v", report)
	}
}
