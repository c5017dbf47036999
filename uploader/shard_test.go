package uploader

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/shard"
)

// runShard runs one shard, without changing the world's clock.
func (w *world) runShard(text string, change func(*Options)) (*Report, error) {
	w.t.Helper()
	s, err := shard.Parse(text)
	if err != nil {
		w.t.Fatal(err)
	}
	now := w.now
	o := Options{
		Store: w.store, Storage: w.storage, Name: "file-storage", Workers: 2, Shard: s,
		now: func() time.Time { return now }, retryDelay: time.Millisecond, partSize: 64 << 10, patience: 50 * time.Millisecond,
	}
	if change != nil {
		change(&o)
	}
	return Run(context.Background(), o)
}

func (w *world) mustRunShard(text string) *Report {
	w.t.Helper()
	r, err := w.runShard(text, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// fillForShards makes files, some of which are links to others.
func (w *world) fillForShards(files int) {
	w.t.Helper()
	for i := range files {
		path := fmt.Sprintf("%02x/file-%d", i%7, i)
		if i < 7 || i%5 > 0 {
			w.write(path, random(rand.IntN(3000)))
		} else if err := os.Symlink(fmt.Sprintf("../%02x/file-%d", i%3, i%3), filepath.Join(w.storage, path)); err != nil {
			w.t.Fatal(err)
		}
	}
	linked := w.t.TempDir() // whose files are of all shards, whichever the link is of
	for i := range 8 {
		if err := os.WriteFile(filepath.Join(linked, fmt.Sprint(i)), random(100), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	for i := range linkedFolders {
		if err := os.Symlink(linked, filepath.Join(w.storage, fmt.Sprintf("linked-%d", i))); err != nil {
			w.t.Fatal(err)
		}
	}
}

// linkedFolders are how many there are with eight files each.
const (
	linkedFolders = 3
	linkedFiles   = 8 * linkedFolders
)

// checkOneBackup makes sure that there is one backup, that it holds all files
// of the storage, and that nothing is left of how it was made.
func (w *world) checkOneBackup(backup string) {
	w.t.Helper()
	for o, err := range w.store.List(context.Background(), "") {
		if err != nil {
			w.t.Fatal(err)
		}
		folder, file, _ := strings.Cut(o.Key, "/")
		if folder != backup || file != "backup-info" && !strings.HasSuffix(file, ".tar") {
			w.t.Errorf("left in the bucket: %s", o.Key)
		}
	}
	w.check(backup, envelope.NewOpener(nil), false)
}

// Shards side by side, in whatever order they begin, make one backup of all
// files, whose list is what one run writes but for the packages.
func TestShards(t *testing.T) {
	for range 5 {
		w := newWorld(t)
		w.fillForShards(60)
		reports := make([]*Report, 4)
		var all sync.WaitGroup
		for i := range reports {
			all.Go(func() {
				time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
				r, err := w.runShard(fmt.Sprintf("%d/4", i+1), nil)
				if err != nil {
					t.Error(err)
					return
				}
				reports[i] = r
			})
		}
		all.Wait()
		if t.Failed() {
			return
		}
		files := 0
		for _, r := range reports {
			if r.Backup != reports[0].Backup {
				t.Fatalf("shards of %s and of %s", reports[0].Backup, r.Backup)
			}
			files += r.Files
		}
		if files != 60+linkedFiles {
			t.Errorf("the shards have %d files", files)
		}
		w.checkOneBackup(reports[0].Backup)
	}
}

// meanwhile is a bucket in which something happens once, after a listing.
type meanwhile struct {
	objstore.Store
	after    func(listing int, keys []string) bool
	do       func()
	listings int
}

func (m *meanwhile) List(ctx context.Context, prefix string) iter.Seq2[objstore.Object, error] {
	return func(yield func(objstore.Object, error) bool) {
		var keys []string
		for o, err := range m.Store.List(ctx, prefix) {
			keys = append(keys, o.Key)
			if !yield(o, err) {
				return
			}
		}
		m.listings++
		if do := m.do; do != nil && m.after(m.listings, keys) {
			m.do = nil
			do()
		}
	}
}

func afterListing(n int) func(int, []string) bool {
	return func(listing int, _ []string) bool { return listing == n }
}

// mark makes the mark of two shards, as of a time by the bucket's clock.
func (w *world) mark(began, written time.Time) (backup string) {
	w.t.Helper()
	n, err := backupname.New("file-storage", began)
	if err != nil {
		w.t.Fatal(err)
	}
	key := n.String() + "/" + markOf(2)
	if err := w.store.Put(w.t.Context(), key, []byte("2 shards\n")); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(w.bucket, key), written, written); err != nil {
		w.t.Fatal(err)
	}
	return n.String()
}

func (w *world) unmark(backup string) {
	w.t.Helper()
	if err := w.store.Delete(w.t.Context(), backup+"/"+markOf(2)); err != nil {
		w.t.Fatal(err)
	}
}

// A shard that finds a mark that was just written does not take it for the one
// that all will follow: another of the same second may be before it, and a mark
// may be gone again.
func TestFreshMark(t *testing.T) {
	second := time.Now().Truncate(time.Second)
	for what, gone := range map[string]bool{"gives way": false, "is given up": true} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.fillForShards(20)
			late, early := w.mark(w.now.Add(-time.Second), second), ""
			store := &meanwhile{Store: w.store, after: afterListing(1), do: func() {
				early = w.mark(w.now.Add(-2*time.Second), second)
				w.unmark(late)
				if gone {
					w.unmark(early)
				}
			}}
			r, err := w.runShard("1/2", func(o *Options) { o.Store = store })
			if err != nil {
				t.Fatal(err)
			}
			if !gone && r.Backup != early {
				t.Errorf("the shard is of %s, not of %s", r.Backup, early)
			}
			w.mustRunShard("2/2")
			w.checkOneBackup(r.Backup)
		})
	}
}

// Who gives way to another's mark takes the own one back.
func TestMarkIsTakenBack(t *testing.T) {
	w := newWorld(t)
	w.fillForShards(20)
	first := ""
	store := &meanwhile{Store: w.store, after: afterListing(1), do: func() {
		first = w.mark(w.now.Add(-2*time.Second), time.Now().Add(-time.Minute))
	}}
	r, err := w.runShard("1/2", func(o *Options) { o.Store = store })
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := look(t.Context(), w.store, "file-storage")
	if err != nil || len(bucket) != 1 || len(bucket[0].marks) != 1 || r.Backup != first {
		t.Errorf("the shard is of %s, not of %s, and there are %d backups: %v", r.Backup, first, len(bucket), err)
	}
}

// The mark that was written first counts, not the backup that is named first:
// hosts' clocks differ.
func TestFirstMark(t *testing.T) {
	w := newWorld(t)
	w.fillForShards(20)
	written := time.Now().Add(-time.Minute)
	w.mark(w.now.Add(-2*time.Second), written.Add(time.Second))
	first := w.mark(w.now.Add(-time.Second), written)
	if r := w.mustRunShard("1/2"); r.Backup != first {
		t.Errorf("the shard is of %s, not of %s", r.Backup, first)
	}
}

// A shard whose backup others complete before it has begun to work belongs to the
// next one; where they do it at its end, that is what it wanted.
func TestCompletedMeanwhile(t *testing.T) {
	t.Run("at the beginning", func(t *testing.T) {
		w := newWorld(t)
		w.fillForShards(20)
		first := w.mustRunShard("1/2").Backup
		w.now = w.now.Add(time.Second)
		store := &meanwhile{Store: w.store, after: afterListing(2), do: func() { w.mustRunShard("2/2") }}
		r, err := w.runShard("1/2", func(o *Options) { o.Store = store })
		if err != nil {
			t.Fatal(err)
		}
		if store.do != nil || r.Backup == first || len(r.Waiting) != 1 {
			t.Errorf("it is of %s and waits for %s", r.Backup, r.Waiting)
		}
		w.check(first, envelope.NewOpener(nil), false)
		w.mustRunShard("2/2")
		w.check(r.Backup, envelope.NewOpener(nil), false)
	})
	t.Run("at the end", func(t *testing.T) {
		w := newWorld(t)
		w.fillForShards(20)
		first := w.mustRunShard("1/2").Backup
		bothThere := func(_ int, keys []string) bool {
			return slices.Contains(keys, first+"/"+shardListOf(shard.Shard{Index: 2, Count: 2}))
		}
		store := &meanwhile{Store: w.store, after: bothThere, do: func() { w.mustRunShard("1/2") }}
		r, err := w.runShard("2/2", func(o *Options) { o.Store = store })
		if err != nil {
			t.Fatal(err)
		}
		if store.do != nil || r.Backup != first {
			t.Errorf("it is of %s", r.Backup)
		}
		w.checkOneBackup(first)
	})
}

// beforeLists is a bucket in which something happens before a backup's list is
// there, and in which uploads are given up whoever makes them, as S3 does.
type beforeLists struct {
	objstore.Store
	before func()

	mu      sync.Mutex
	pending []*pendingUpload
}

type pendingUpload struct {
	objstore.Upload
	key     string
	aborted atomic.Bool
}

func (l *beforeLists) Create(ctx context.Context, key string) (objstore.Upload, error) {
	u, err := l.Store.Create(ctx, key)
	if err != nil {
		return nil, err
	}
	p := &pendingUpload{Upload: u, key: key}
	l.mu.Lock()
	l.pending = append(l.pending, p)
	l.mu.Unlock()
	l.tell(key)
	return p, nil
}

func (l *beforeLists) Put(ctx context.Context, key string, data []byte) error {
	l.tell(key)
	return l.Store.Put(ctx, key, data)
}

func (l *beforeLists) tell(key string) {
	if strings.HasSuffix(key, "/backup-info") {
		l.before()
	}
}

func (p *pendingUpload) Complete(ctx context.Context) error {
	if p.aborted.Load() {
		return errors.New("there is no such upload")
	}
	return p.Upload.Complete(ctx)
}

func (l *beforeLists) AbortUploads(_ context.Context, prefix string) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.pending {
		if strings.HasPrefix(p.key, prefix) {
			p.aborted.Store(true)
		}
	}
	return len(l.pending), nil
}

// checkPackages makes sure that the packages of a list are there.
func (w *world) checkPackages(backup string) {
	w.t.Helper()
	keys := w.keys()
	for _, e := range w.list(backup) {
		if !slices.Contains(keys, backup+"/"+e.Package) {
			w.t.Fatalf("%s is in %s, which is gone", e.Path, e.Package)
		}
	}
}

// Where a shard makes its share anew and completes the backup while another
// completes it, the packages of whichever list is there last are all there.
func TestShardAnewWhileAnotherCompletes(t *testing.T) {
	w := newWorld(t)
	w.fillForShards(20)
	first := w.mustRunShard("1/2").Backup
	store := &beforeLists{Store: w.store}
	store.before = sync.OnceFunc(func() {
		store.before = func() {}
		for i := range 4 { // some are of the other shard
			w.write(fmt.Sprintf("%02x/file-%d", i, i), random(500))
		}
		if r := w.mustRunShard("1/2"); r.Backup != first {
			t.Errorf("it is of %s", r.Backup)
		}
	})
	r, err := w.runShard("2/2", func(o *Options) { o.Store = store })
	if err != nil || r.Backup != first {
		t.Fatalf("%+v: %v", r, err)
	}
	w.checkPackages(first)
}

// Two that complete a backup at once do not end each other's upload of the list.
func TestTwoCompleteAtOnce(t *testing.T) {
	w := newWorld(t)
	w.fillForShards(20)
	long := strings.Repeat("n", 200)
	for i := range 9000 { // so that the list is uploaded in parts
		w.write(fmt.Sprintf("long/%s-%d", long, i), nil)
	}
	first := w.mustRunShard("1/2").Backup
	store := &beforeLists{Store: w.store}
	run := func(shard string) error {
		r, err := w.runShard(shard, func(o *Options) { o.Store = store })
		if err == nil && r.Backup != first {
			err = errors.New("it is of " + r.Backup)
		}
		return err
	}
	var calls atomic.Int32
	begun, done, other := make(chan bool), make(chan bool), make(chan error, 1)
	store.before = func() {
		if calls.Add(1) > 1 {
			close(begun)
			<-done
			return
		}
		go func() { other <- run("1/2") }()
		<-begun
	}
	err := run("2/2")
	close(done)
	if err := errors.Join(err, <-other); err != nil {
		t.Fatal(err)
	}
	w.checkPackages(first)
}

// hidden is a bucket whose list of objects lags behind.
type hidden struct {
	objstore.Store
	suffix string
}

func (h hidden) List(ctx context.Context, prefix string) iter.Seq2[objstore.Object, error] {
	return func(yield func(objstore.Object, error) bool) {
		for o, err := range h.Store.List(ctx, prefix) {
			if (err != nil || !strings.HasSuffix(o.Key, h.suffix)) && !yield(o, err) {
				return
			}
		}
	}
}

// Whether all shards are done does not depend on a list of objects that comes late.
func TestShardsListedLate(t *testing.T) {
	for _, unlisted := range []string{"1/2", "2/2"} {
		w := newWorld(t)
		w.fillForShards(20)
		first := w.mustRunShard("1/2").Backup
		s, err := shard.Parse(unlisted)
		if err != nil {
			t.Fatal(err)
		}
		r, err := w.runShard("2/2", func(o *Options) { o.Store = hidden{w.store, shardListOf(s)} })
		if err != nil || len(r.Waiting) > 0 {
			t.Fatalf("%s is not listed: %+v, %v", unlisted, r, err)
		}
		w.check(first, envelope.NewOpener(nil), false)
	}
}

// What a shard began that ran once too often is not the next night's.
func TestShardsOfAnotherNight(t *testing.T) {
	for hours, goesOn := range map[int]bool{11: true, 13: false} {
		w := newWorld(t)
		w.fillForShards(20)
		old := w.mustRunShard("1/2").Backup
		for _, key := range w.keys() {
			at := time.Now().Add(-time.Duration(hours) * time.Hour)
			if err := os.Chtimes(filepath.Join(w.bucket, key), at, at); err != nil {
				t.Fatal(err)
			}
		}
		w.now = w.now.Add(time.Duration(hours) * time.Hour)
		if r := w.mustRunShard("2/2"); (r.Backup == old) != goesOn {
			t.Errorf("after %d hours, the other shard's is %s, and there was %s", hours, r.Backup, old)
		}
		if !goesOn {
			w.checkOneBackup(w.mustRunShard("1/2").Backup)
		}
	}
}

// There is no backup before the last shard, whichever that is; a shard that runs
// again meanwhile does no harm, and one that failed is run again.
func TestShardsOneAfterTheOther(t *testing.T) {
	w := newWorld(t)
	w.fillForShards(40)
	first := w.mustRunShard("3/3")
	if !slices.Equal(first.Waiting, []string{"1/3", "2/3"}) || first.Shard != "3/3" {
		t.Errorf("%+v", first)
	}
	w.now = w.now.Add(10 * time.Hour)
	if again := w.mustRunShard("3/3"); again.Backup != first.Backup || again.New != 0 || again.Resumed != first.New {
		t.Errorf("run again: %+v", again)
	}
	failing := errors.New("broken")
	if _, err := w.runShard("1/3", func(o *Options) { o.Store = failingPut{w.store, failing} }); !errors.Is(err, failing) {
		t.Fatalf("got %v", err)
	}
	if r := w.mustRunShard("1/3"); !slices.Equal(r.Waiting, []string{"2/3"}) {
		t.Errorf("%+v", r)
	}
	if _, err := w.store.Head(context.Background(), first.Backup+"/backup-info"); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("a backup without all shards: %v", err)
	}
	if r := w.mustRunShard("2/3"); len(r.Waiting) != 0 || r.Backup != first.Backup {
		t.Errorf("%+v", r)
	}
	w.checkOneBackup(first.Backup)
}

// failingPut is a bucket that takes no list of a shard.
type failingPut struct {
	objstore.Store
	err error
}

func (f failingPut) Put(ctx context.Context, key string, data []byte) error {
	if strings.Contains(key, shardListPrefix) {
		return f.err
	}
	return f.Store.Put(ctx, key, data)
}

func (f failingPut) Create(ctx context.Context, key string) (objstore.Upload, error) {
	if strings.Contains(key, shardListPrefix) {
		return nil, f.err
	}
	return f.Store.Create(ctx, key)
}

// The next night is incremental; another number of shards, or a run of all,
// begins a backup of its own, and what others left unfinished is gone then.
func TestShardsNightAfterNight(t *testing.T) {
	w := newWorld(t)
	w.fillForShards(30)
	for i := range 2 {
		w.mustRunShard(fmt.Sprintf("%d/2", i+1))
	}
	backup := w.only()
	w.archive(backup)
	w.now = w.now.Add(24 * time.Hour)
	w.write("new", random(100))
	news := 0
	var second string
	for i := range 2 {
		r := w.mustRunShard(fmt.Sprintf("%d/2", i+1))
		news += r.New
		second = r.Backup
	}
	if second == backup || news != 1 {
		t.Errorf("%s: %d new files", second, news)
	}
	w.check(second, envelope.NewOpener(nil), false)
	w.archive(second)

	w.now = w.now.Add(24 * time.Hour)
	w.write("newer", random(100))
	left := w.mustRunShard("1/2")
	w.now = w.now.Add(time.Minute)
	other := w.mustRunShard("1/3")
	if left.Backup == other.Backup {
		t.Errorf("two and three shards work on %s", left.Backup)
	}
	w.now = w.now.Add(24 * time.Hour)
	whole := w.mustBackup(nil)
	w.check(whole.Backup, envelope.NewOpener(nil), false)
	for o := range w.store.List(context.Background(), "") {
		if isOfUnfinished(o.Key) {
			t.Errorf("left of what never came to its end: %s", o.Key)
		}
	}
}

// only is the only backup.
func (w *world) only() (backup string) {
	w.t.Helper()
	lists := map[string]bool{}
	for o := range w.store.List(context.Background(), "") {
		if name, ok := strings.CutSuffix(o.Key, "/backup-info"); ok {
			lists[name] = true
		}
	}
	if len(lists) != 1 {
		w.t.Fatalf("backups: %v", lists)
	}
	for backup = range maps.Keys(lists) {
	}
	return backup
}

// Nobody else uploads while shards do, and one shard not twice.
func TestShardsLockOthers(t *testing.T) {
	w := newWorld(t)
	w.fillForShards(5)
	began, end := make(chan bool), make(chan bool)
	var running sync.WaitGroup
	running.Go(func() {
		var once sync.Once
		if _, err := w.runShard("1/2", func(o *Options) {
			o.Planned = func(int, int64) { once.Do(func() { close(began); <-end }) }
		}); err != nil {
			t.Error(err)
		}
	})
	<-began
	if _, err := w.runShard("1/2", impatient); !errors.Is(err, ErrLocked) {
		t.Errorf("the same shard: %v", err)
	}
	if _, err := w.backup(impatient); !errors.Is(err, ErrLocked) {
		t.Errorf("a run of all: %v", err)
	}
	if _, err := w.runShard("2/3", impatient); !errors.Is(err, ErrLocked) {
		t.Errorf("a shard of another number: %v", err)
	}
	if r, err := w.runShard("2/2", nil); err != nil || !slices.Equal(r.Waiting, []string{"1/2"}) {
		t.Errorf("the other shard: %+v, %v", r, err)
	}
	close(end)
	running.Wait()
	w.check(w.only(), envelope.NewOpener(nil), false)
}

// A shard that runs again takes its list back first: what is new since is in the
// backup, whoever completes it, and nobody completes it before.
func TestShardRunsAgain(t *testing.T) {
	t.Run("may delete", func(t *testing.T) { testShardRunsAgain(t, newWorld(t)) })
	t.Run("may not", func(t *testing.T) {
		w := newWorld(t)
		w.store = deniedStore(w.store)
		testShardRunsAgain(t, w)
	})
}

func testShardRunsAgain(t *testing.T, w *world) {
	w.fillForShards(20)
	first := w.mustRunShard("1/2")
	var late string
	for i := 0; !(shard.Shard{Index: 1, Count: 2}).Has(late) || late == ""; i++ {
		late = fmt.Sprintf("late-%d", i)
	}
	w.write(late, random(100))
	w.now = w.now.Add(time.Hour)
	began, end := make(chan bool), make(chan bool)
	var again *Report
	var running sync.WaitGroup
	running.Go(func() {
		var err error
		if again, err = w.runShard("1/2", func(o *Options) { o.Planned = func(int, int64) { close(began); <-end } }); err != nil {
			t.Error(err)
		}
	})
	<-began
	if r := w.mustRunShard("2/2"); !slices.Equal(r.Waiting, []string{"1/2"}) {
		t.Errorf("completed while the other shard looks at its files again: %+v", r)
	}
	close(end)
	running.Wait()
	if t.Failed() {
		return
	}
	if again.Backup != first.Backup || again.New != 1 || len(again.Waiting) > 0 {
		t.Errorf("%+v", again)
	}
	w.check(first.Backup, envelope.NewOpener(nil), false)
	if entries := w.list(first.Backup); len(entries) != 21+linkedFiles {
		t.Errorf("%d files in the list", len(entries))
	}
}

// failingOnce is a bucket that does not take a list when it is first written.
type failingOnce struct {
	objstore.Store
	failed *bool
}

var errOnce = errors.New("broken once")

func (f failingOnce) Put(ctx context.Context, key string, data []byte) error {
	if !*f.failed && strings.HasSuffix(key, "/backup-info") {
		*f.failed = true
		return errOnce
	}
	return f.Store.Put(ctx, key, data)
}

// Where the last step fails, signed lists too are there for the run that does it
// again.
func TestShardsSigned(t *testing.T) {
	w := newWorld(t)
	w.fillForShards(20)
	failed := false
	run := func(text string) (*Report, error) {
		return w.runShard(text, func(o *Options) {
			w.signed(o)
			o.Store = failingOnce{w.store, &failed}
		})
	}
	if _, err := run("1/2"); err != nil {
		t.Fatal(err)
	}
	if _, err := run("2/2"); !errors.Is(err, errOnce) {
		t.Fatalf("got %v", err)
	}
	r, err := run("2/2")
	if err != nil || len(r.Waiting) > 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	w.verifyWithGPG(r.Backup + "/backup-info")
	w.check(r.Backup, envelope.NewOpener(nil), false)
}

// Shards of two installations make no backup.
func TestShardsOfTwoInstallations(t *testing.T) {
	w := newWorld(t)
	w.fillForShards(20)
	for i, id := range []string{"one", "other"} {
		_, err := w.runShard(fmt.Sprintf("%d/2", i+1), func(o *Options) { o.Installation = id })
		if i == 0 && err != nil || i == 1 && !errors.Is(err, ErrOtherInstallation) {
			t.Errorf("%s: %v", id, err)
		}
	}
}
