package uploader

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/objstore"
)

// pair is two hosts that back up different files of the same names to one bucket,
// and say that they are one installation.
func newPair(t *testing.T) (pair [2]*world) {
	for i := range pair {
		pair[i] = newWorld(t)
		writeTwoPackages(pair[i])
	}
	return pair
}

// race has both run at once, a little apart.
func race(pair [2]*world, now func() time.Time, stores [2]objstore.Store) (reports [2]*Report, errs [2]error) {
	var wait sync.WaitGroup
	for i, w := range pair {
		delay := time.Duration(rand.IntN(3)) * time.Duration(rand.IntN(3000)) * time.Microsecond
		wait.Go(func() {
			time.Sleep(delay)
			reports[i], errs[i] = Run(context.Background(), Options{
				Store: stores[i], Storage: w.storage, Name: "file-storage", Installation: "pair", Workers: 2, now: now, patience: 300 * time.Millisecond, partSize: 256 << 10,
			})
		})
	}
	wait.Wait()
	return reports, errs
}

// exclusive is a store for each of two hosts. The test fails where one changes
// more than leases while the other one is at it, until that one ends its lease.
func exclusive(t *testing.T, store objstore.Store) (stores [2]objstore.Store) {
	var mu sync.Mutex
	owner := -1
	for i := range stores {
		stores[i] = &guardedStore{store, func(change, key string) error {
			mu.Lock()
			defer mu.Unlock()
			switch isLease := strings.Contains(key, "/"+leasePrefix); {
			case !isLease && owner == 1-i:
				t.Errorf("%s %s while the other one is at it", change, key)
			case !isLease:
				owner = i
			case change == "delete" && owner == i:
				owner = -1
			}
			return nil
		}}
	}
	return stores
}

func TestTwoAtOnce(t *testing.T) {
	pair := newPair(t)
	var told, clock, both int
	for round := range rounds(8) {
		pair[0].takeBucket(t.TempDir())
		pair[1].takeBucket(pair[0].bucket)
		same := time.Now()
		now := time.Now
		if round%2 == 0 {
			now = func() time.Time { return same } // within a millisecond
		}
		if round%4 >= 2 { // something to go on with, for one of them
			pair[0].now = time.Now().Add(-2 * time.Hour)
			pair[0].stopped(func(o *Options) { o.Installation = "pair" })
		}
		reports, errs := race(pair, now, exclusive(t, pair[0].store))
		succeeded := 0
		var names []string
		for i, err := range errs {
			switch {
			case err == nil:
				succeeded++
				names = append(names, reports[i].Backup)
				pair[i].check(reports[i].Backup, envelope.NewOpener(nil), false)
			case errors.Is(err, ErrLocked):
				told++
				if text := err.Error(); !strings.Contains(text, "process ") || !strings.Contains(text, " since ") {
					t.Error(err)
				}
			case errors.Is(err, ErrClock): // the other one was done by the second attempt
				clock++
			default:
				t.Error(err)
			}
		}
		slices.Sort(names)
		if succeeded == 0 || !slices.Equal(pair[0].committed(), names) {
			t.Errorf("round %d: %v, %q", round, errs, pair[0].keys())
		}
		if succeeded == 2 {
			both++
		}
		pair[0].checkBucket(names...)
	}
	t.Logf("%d were told of the other, %d of the other's backup, %d times one came after the other", told, clock, both)
	if told+clock+both == 0 {
		t.Error("they never met")
	}
}

// laggingBucket lists what there was some time, or one write, ago.
type laggingBucket struct {
	objstore.Store
	lag    time.Duration // 0: one write
	mu     sync.Mutex
	states []pastState
}

// pastState is what there was until a time.
type pastState struct {
	until   time.Time
	objects []objstore.Object
}

func newLaggingBucket(store objstore.Store, lag time.Duration) *laggingBucket {
	l := &laggingBucket{lag: lag}
	l.Store = &guardedStore{store, func(change, _ string) error {
		if change == "part" || change == "create" || strings.HasPrefix(change, "abort") {
			return nil
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		objects, err := listAll(store, "")
		l.states = append(l.states, pastState{time.Now(), objects})
		return err
	}}
	return l
}

func listAll(store objstore.Store, prefix string) (all []objstore.Object, err error) {
	for o, err := range store.List(context.Background(), prefix) {
		if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, nil
}

func (l *laggingBucket) List(ctx context.Context, prefix string) iter.Seq2[objstore.Object, error] {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := slices.IndexFunc(l.states, func(s pastState) bool { return s.until.After(time.Now().Add(-l.lag)) })
	if l.lag == 0 {
		at = len(l.states) - 1
	}
	if at < 0 {
		return l.Store.List(ctx, prefix)
	}
	objects := l.states[at].objects
	return func(yield func(objstore.Object, error) bool) {
		for _, o := range objects {
			if strings.HasPrefix(o.Key, prefix) && !yield(o, nil) {
				return
			}
		}
	}
}

// A bucket whose lists come late costs no backup: what a run just made must not
// be taken for what a dead one left.
func TestListsComeLate(t *testing.T) {
	for _, lag := range []time.Duration{0, time.Minute} {
		w := newWorld(t)
		total := writeTwoPackages(w)
		real := w.store
		late := func(o *Options) { o.Store = newLaggingBucket(real, lag) }
		first := w.mustBackup(late)
		w.stopped(late)
		w.touch("a")
		second := w.mustBackup(late)
		for _, r := range []*Report{first, second} {
			list := w.list(r.Backup)
			if len(list) != total {
				t.Errorf("%s lists %d files", r.Backup, len(list))
			}
		}
		if keys := w.keys(); t.Failed() || !slices.Contains(keys, first.Backup+"/_small_files.tar") {
			t.Fatalf("lag of %s: %q", lag, keys)
		}
		if len(w.check(second.Backup, envelope.NewOpener(nil), false)) != total {
			t.Errorf("%s is not whole", second.Backup)
		}
	}
}
