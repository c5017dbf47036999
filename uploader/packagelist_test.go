package uploader

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/memorytest"
)

// packageListKeys are the lists of packages that are in the bucket.
func (w *world) packageListKeys() []string {
	w.t.Helper()
	return slices.DeleteFunc(w.keys(), func(key string) bool { return !strings.HasSuffix(key, packageListSuffix) })
}

// Small packages share lists. What they name is gone on with as what lists of one
// package name: a package with a file that changed is sealed again, and no other.
func TestPackagesShareLists(t *testing.T) {
	shared := func(o *Options) { o.listFiles = 300 }
	w := newWorld(t)
	total := writeSeveralPackages(w)
	name := w.stopped(func(o *Options) { shared(o); o.Signer = signerOf(t, "curve") })
	if lists := w.packageListKeys(); len(lists) != 2 { // the first 300 of 503, and the rest
		t.Fatalf("%q", lists)
	}
	w.touch("dir0/a0")
	// The lists are there until the backup is, though one may be named like the
	// package that is left.
	second, err := w.backup(func(o *Options) { shared(o); o.Signer = signerOf(t, "curve"); o.Store = withoutList(o.Store) })
	if !errors.Is(err, errBucket) {
		t.Fatalf("%+v, %v", second, err)
	}
	third := w.mustBackup(func(o *Options) { shared(o); o.Signer = signerOf(t, "curve") })
	if third.Backup != name || third.Resumed != total || third.New != 0 {
		t.Errorf("%+v", third)
	}
	if len(w.check(third.Backup, envelope.NewOpener(nil), false)) != total {
		t.Errorf("%s is not whole", third.Backup)
	}
	w.checkBucket(third.Backup)
}

// Several runs that were stopped may have left packages that hold the same files:
// each file is taken from one.
func TestGoesOnWithPackagesThatHoldTheSame(t *testing.T) {
	w := newWorld(t)
	total := writeTwoPackages(w)
	w.stopped(nil)
	w.touch("a")
	w.stopped(func(o *Options) { o.Store = deniedStore(o.Store) }) // which seals the small files again, and deletes nothing
	if lists := w.packageListKeys(); len(lists) != 3 {
		t.Fatalf("%q", lists)
	}
	r := w.mustBackup(func(o *Options) { o.Checksum = true }) // for which both are current
	if r.Resumed != total || r.New != 0 {
		t.Errorf("%+v", r)
	}
	if len(w.check(r.Backup, envelope.NewOpener(nil), false)) != total {
		t.Errorf("%s is not whole", r.Backup)
	}
	w.checkMembers(r.Backup)
	w.checkBucket(r.Backup)
}

// Wherever the bucket fails while packages share lists, the next run makes the
// backup, goes on where it can, and leaves nothing else.
func TestBucketFailsWhilePackagesShareLists(t *testing.T) {
	w := newWorld(t)
	total := writeSeveralPackages(w)
	resumed := 0
	for n := int64(0); ; n += everyOther() {
		w.takeBucket(t.TempDir())
		_, err := w.backup(func(o *Options) {
			o.listFiles = 200
			o.Store = failAt(w.store, n)
		})
		if err == nil {
			if n < 10 || resumed < 2 {
				t.Errorf("only %d writes, %d of them with something to go on with", n, resumed)
			}
			return
		}
		if !errors.Is(err, errBucket) {
			t.Fatalf("write %d: %v", n, err)
		}
		arrived := w.arrived(envelope.NewOpener(nil), false)
		r := w.mustBackup(func(o *Options) { o.listFiles = 200 })
		w.checkGoesOn(r, arrived, total)
		w.check(r.Backup, envelope.NewOpener(nil), false)
		w.checkBucket(r.Backup)
		if resumed += min(r.Resumed, 1); t.Failed() {
			t.Fatalf("write %d failed", n)
		}
	}
}

// How many files there are does not show in the memory that a backup takes.
func TestMemoryIsThatOfFewFiles(t *testing.T) {
	const few, many = 3_000, 30_000
	before := sortMemory
	sortMemory = 256 << 10
	t.Cleanup(func() { sortMemory = before })
	w := newWorld(t)
	write := func(from, to int) {
		for i := from; i < to; i++ {
			w.write(fmt.Sprintf("%02x/%s-%06d", i%251, strings.Repeat("name", 20), i), nil)
		}
	}
	peak := func(what string, change func(*Options)) uint64 {
		var r *Report
		took := memorytest.Peak(func() {
			r = w.mustBackup(func(o *Options) { o.partSize = 4 << 20; change(o) })
		})
		t.Logf("%s: %d files, %d new, %d resumed: %d MiB", what, r.Files, r.New, r.Resumed, took>>20)
		w.archive(r.Backup)
		return took
	}
	steps := []struct {
		what   string
		change func(*Options)
	}{
		{"full", func(o *Options) { o.Full = true }},
		{"unchanged", func(*Options) {}},
		{"gone on with", func(o *Options) { o.Full = true; w.stopped(func(o *Options) { o.Full = true }) }},
	}
	first := map[string]uint64{}
	for _, n := range []int{few, many} {
		write(map[int]int{few: 0, many: few}[n], n)
		for _, step := range steps {
			took := peak(step.what, step.change)
			if n == few {
				first[step.what] = took
				continue
			}
			if limit := first[step.what] + 15<<20; took > limit { // 580 bytes for each of the other files
				t.Errorf("%s: %d files take %d MiB, and %d take %d MiB", step.what, few, first[step.what]>>20, n, took>>20)
			}
		}
	}
}
