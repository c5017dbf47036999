package archiver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chipster/firn/internal/objstore"
)

// countingStore counts the packages that are fetched.
type countingStore struct {
	objstore.Store
	fetched map[string]int
}

func (s countingStore) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if strings.HasSuffix(key, ".tar") {
		s.fetched[key]++
	}
	return s.Store.Get(ctx, key, offset, length)
}

const killVariable = "FIRN_TEST_KILL_ARCHIVER_AT"

// prepareKill makes a world with all that a run can have to do: two backups to
// pull, files to carry, versions to prune, a bucket to clean.
func prepareKill(t testing.TB, dir string) {
	w := openWorld(t, filepath.Join(dir, "bucket"), filepath.Join(dir, "root"))
	u := &nightly{w, "fs", map[string]string{"a/1": "one", "b/2": "two", "c/3": "three"}}
	for i := range 3 {
		w.now = start.AddDate(0, 0, i-5)
		u.plain["a/1"] = fmt.Sprint("one ", i)
		u.backup(t)
		w.run(t)
	}
	w.now = start.AddDate(0, 0, -1)
	delete(u.plain, "b/2")
	u.plain["d/4"], u.plain["d/5"] = "four", "five"
	n := u.backup(t)
	// One more package, so that it shows which ones are fetched again.
	w.put(t, n.String()+"/z.tar", pack(t))
	w.now = start
	u.plain["e/6"] = "six"
	u.backup(t)
}

func killOptions(w *world) Options {
	o := w.options()
	o.Now = func() time.Time { return start.Add(time.Hour) }
	o.Retention = Retention{KeepLast: 3, KeepDays: 1}
	return o
}

// TestKilledChild is the process that killedRun kills.
func TestKilledChild(t *testing.T) {
	at := os.Getenv(killVariable)
	if at == "" {
		return // an ordinary run of the tests
	}
	number, _ := strconv.Atoi(at)
	log, err := os.Create(os.Getenv(killVariable + "_LOG"))
	must(t, err)
	w := openWorld(t, os.Getenv(killVariable+"_BUCKET"), os.Getenv(killVariable+"_ROOT"))
	o := killOptions(w)
	steps := 0
	o.step = func(what string) {
		if match, _ := path.Match(at, what); match || steps == number && at == strconv.Itoa(number) {
			must(t, syscall.Kill(os.Getpid(), syscall.SIGKILL))
			select {}
		}
		steps++
		_, err := fmt.Fprintln(log, what)
		must(t, err)
	}
	_, err = Run(t.Context(), o)
	must(t, err)
}

// killedRun is a run in a process of its own, which is killed before a step: the
// one of that number, counted from 0, or the first one that a pattern is for. It
// returns the steps before.
func (w *world) killedRun(t *testing.T, at string) (steps []string) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "steps")
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledChild$")
	cmd.Env = append(os.Environ(), killVariable+"="+at, killVariable+"_LOG="+log, killVariable+"_BUCKET="+w.bucket, killVariable+"_ROOT="+w.root)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("before step %s: %v: %s", at, err, out)
	}
	b, err := os.ReadFile(log)
	must(t, err)
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

// An archiver killed before any of its changes loses nothing, hides nothing
// from a reader, and the next run ends where an undisturbed one does.
func TestKill(t *testing.T) {
	t.Parallel()
	prepared := t.TempDir()
	prepareKill(t, prepared)
	clone := func() *world {
		dir := t.TempDir()
		must(t, os.CopyFS(dir, os.DirFS(prepared)))
		return openWorld(t, filepath.Join(dir, "bucket"), filepath.Join(dir, "root"))
	}
	calm := clone()
	o := killOptions(calm)
	var steps []string
	o.step = func(what string) {
		calm.checkFindable(t) // at each instant
		steps = append(steps, what)
	}
	report, err := Run(t.Context(), o)
	must(t, err)
	if len(report.Backups) != 2 || len(report.Pruned) != 2 || len(report.Cleaned) != 2 || len(steps) < 40 {
		t.Fatalf("too little to do: %d steps, %+v", len(steps), report)
	}
	for _, step := range steps {
		// RemoveAll of a version would show half of it for a while.
		if what, ok := strings.CutPrefix(step, "remove "); ok && !strings.HasPrefix(what, workDir+"/") {
			t.Errorf("deletes what readers see: %q", step)
		}
	}
	calm.checkArchive(t)
	wantRoot, wantBucket := tree(t, calm.root), tree(t, calm.bucket)
	delete(wantRoot, lockFile)
	for i, step := range steps {
		w := clone()
		w.killedRun(t, strconv.Itoa(i))
		w.checkFindable(t)
		w.checkStillArchived(t)
		store := countingStore{w.store, map[string]int{}}
		o := killOptions(w)
		o.Store = store
		if _, err := Run(t.Context(), o); err != nil {
			t.Fatalf("killed before %q: %v", step, err)
		}
		gotRoot := tree(t, w.root)
		delete(gotRoot, lockFile)
		if !maps.Equal(gotRoot, wantRoot) {
			t.Errorf("killed before %q: the archive holds %q, not %q", step, sorted(gotRoot), sorted(wantRoot))
		}
		if got := tree(t, w.bucket); !maps.Equal(got, wantBucket) {
			t.Errorf("killed before %q: the bucket holds %q, not %q", step, sorted(got), sorted(wantBucket))
		}
		for key := range store.fetched {
			backup, _, _ := strings.Cut(key, "/")
			if moved := slices.IndexFunc(steps, func(s string) bool { return strings.HasPrefix(s, "rename "+backup) }); moved < i {
				t.Errorf("killed before %q: %s was fetched again", step, key)
			}
		}
		w.checkNoEmptyFolders(t)
	}
}

// checkStillArchived holds that no backup that is being deleted looks as if it
// waited to be archived, or as if it was unfinished.
func (w *world) checkStillArchived(t testing.TB) {
	t.Helper()
	bucket, err := listBucket(t.Context(), w.store)
	must(t, err)
	for _, b := range bucket["fs"] {
		before := b.name.Time().Before(start.AddDate(0, 0, -1))
		if before && (!b.archived() || !b.committed() && len(b.packages) > 0) {
			t.Errorf("%s looks like one to archive", b.name)
		}
	}
}

// brokenStore fails a Get in the middle.
type brokenStore struct {
	objstore.Store
	left int64
}

var errBroken = errors.New("the line is cut")

func (s *brokenStore) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	r, err := s.Store.Get(ctx, key, offset, length)
	if err != nil || !strings.HasSuffix(key, ".tar") {
		return r, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(r, s.left), brokenReader{}), r}, nil
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errBroken }

// A store that fails is not a damaged package: nothing is published.
func TestStoreFailsInTheMiddle(t *testing.T) {
	for _, left := range []int64{0, 100, 512, 600, 1024, 1600} {
		w := newWorld(t)
		u := &nightly{w, "fs", map[string]string{"a": "one", "b": "two"}}
		u.backup(t)
		o := w.options()
		o.Store = &brokenStore{w.store, left}
		report, err := Run(t.Context(), o)
		if !errors.Is(err, errBroken) || errors.Is(err, ErrIncomplete) || report.Backups[0].Error == "" {
			t.Errorf("after %d bytes: %v", left, err)
		}
		if len(w.versions(t)) != 0 {
			t.Errorf("after %d bytes: archived", left)
		}
		w.run(t)
		w.checkArchive(t)
	}
}

// TestFullDiskChild is the process in TestDiskFull that can write only small
// files: a limit of its own, for go test writes files too.
func TestFullDiskChild(t *testing.T) {
	dir := os.Getenv(fullVariable)
	if dir == "" {
		return // an ordinary run of the tests
	}
	w := openWorld(t, filepath.Join(dir, "bucket"), filepath.Join(dir, "root"))
	must(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 20_000, Max: 20_000}))
	_, err := Run(t.Context(), w.options())
	if !errors.Is(err, syscall.EFBIG) || !strings.Contains(err.Error(), "b/large") {
		t.Errorf("%v", err)
	}
}

const fullVariable = "FIRN_TEST_FULL_DISK"

// A full disk ends the run with the file's name; what came before is kept.
func TestDiskFull(t *testing.T) {
	w := newWorld(t)
	n := w.nameAt(t, "fs")
	files := []sealed{w.seal(n, "a/small", "small"), w.seal(n, "b/large", strings.Repeat("large", 10_000))}
	w.upload(t, n, files)
	cmd := exec.Command(os.Args[0], "-test.run=^TestFullDiskChild$")
	cmd.Env = append(os.Environ(), fullVariable+"="+filepath.Dir(w.root))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if len(w.versions(t)) != 0 {
		t.Error("archived")
	}
	if b, err := os.ReadFile(filepath.Join(w.root, downloadDir, n.String(), "0")); err != nil || string(b) != string(files[0].bytes) {
		t.Error("the file that came before is gone")
	}
	w.run(t)
	w.checkArchive(t)
}

// What the disk damaged between two runs is fetched again.
func TestResumeChecksHashes(t *testing.T) {
	w := newWorld(t)
	n := w.nameAt(t, "fs")
	a, b, c := w.seal(n, "x/a", "aaa"), w.seal(n, "x/b", "bbb"), w.seal(n, "x/c", "ccc")
	w.upload(t, n, []sealed{a, b, c})
	for p, content := range map[string]string{
		w.folder(n, a.entry.SealedPath):                                        string(a.bytes),
		w.folder(n, b.entry.SealedPath):                                        strings.Repeat("?", len(b.bytes)),
		filepath.Join(w.root, downloadDir, n.String(), "2"):                    strings.Repeat("?", len(c.bytes)),
		filepath.Join(w.root, downloadDir, n.String(), "junk"):                 "junk",
		filepath.Join(w.root, downloadDir, "fs_2020-01-01T00:00:00.000Z", "a"): "of a backup that is gone",
		filepath.Join(w.root, trashDir, "fs_2020-01-01T00:00:00.000Z", "a"):    "of a version that was being deleted",
		w.folder(n, "download", "_small_files.tar"):                            "of the original's archiver",
	} {
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		must(t, os.WriteFile(p, []byte(content), 0o644))
	}
	w.run(t)
	w.checkArchive(t)
	if v := w.versions(t)["fs"]; len(v) != 1 || len(v[0].entries) != 3 {
		t.Errorf("%+v", v)
	}
}

// Where the list names the packages, only those are fetched that hold something
// which is not here yet.
func TestOnlyNeededPackagesAreFetched(t *testing.T) {
	w := newWorld(t)
	n := w.nameAt(t, "fs")
	a, b := inPackage("a.tar", w.seal(n, "a", "a"))[0], inPackage("b.tar", w.seal(n, "b", "b"))[0]
	w.upload(t, n, nil)
	w.put(t, n.String()+"/backup-info", list(t, a.entry, b.entry))
	w.put(t, n.String()+"/a.tar", pack(t, a))
	w.put(t, n.String()+"//srv/b.tar", pack(t, b))
	must(t, os.Mkdir(w.folder(n), 0o755))
	must(t, os.WriteFile(w.folder(n, "a.lz4.gpg"), a.bytes, 0o644))
	store := countingStore{w.store, map[string]int{}}
	o := w.options()
	o.Store = store
	_, err := Run(t.Context(), o)
	must(t, err)
	if len(store.fetched) != 1 || store.fetched[n.String()+"//srv/b.tar"] != 1 {
		t.Errorf("fetched %v", store.fetched)
	}
	w.checkArchive(t)
}

// hidingStore lists everything but packages: its lists lag behind.
type hidingStore struct{ objstore.Store }

func (s hidingStore) List(ctx context.Context, prefix string) iter.Seq2[objstore.Object, error] {
	return func(yield func(objstore.Object, error) bool) {
		for o, err := range s.Store.List(ctx, prefix) {
			if !strings.HasSuffix(o.Key, ".tar") && !yield(o, err) {
				return
			}
		}
	}
}

// A package that the backup's list names is there, whatever the bucket lists; one
// that is not is missing.
func TestPackageIsNotListedYet(t *testing.T) {
	w := newWorld(t)
	n := w.nameAt(t, "fs")
	w.upload(t, n, inPackage("_small_files.tar", w.seal(n, "a", "a"), w.seal(n, "b", "b")))
	o := w.options()
	o.Store = hidingStore{w.store}
	report, err := Run(t.Context(), o)
	if err != nil || len(w.versions(t)["fs"][0].entries) != 2 {
		t.Fatalf("%v, %+v", err, report)
	}
	w.now = w.now.Add(time.Hour)
	n = w.nameAt(t, "fs")
	w.upload(t, n, inPackage("_small_files.tar", w.seal(n, "c", "c")))
	must(t, w.store.Delete(t.Context(), n.String()+"/_small_files.tar"))
	if report, err = Run(t.Context(), o); !errors.Is(err, ErrIncomplete) || report.Backups[0].Missing.Count != 1 {
		t.Errorf("%v, %+v", err, report)
	}
}
