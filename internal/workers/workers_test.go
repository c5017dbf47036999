package workers

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

func numbers(n int, err error) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := range n {
			if !yield(i, nil) {
				return
			}
		}
		if err != nil {
			yield(0, err)
		}
	}
}

// Each item is worked on once, by one of several that work at the same time.
func TestEach(t *testing.T) {
	var mu sync.Mutex
	var got []int
	both := make(chan bool)
	err := Each(t.Context(), 2, numbers(100, nil), func(_ context.Context, i int) error {
		switch i {
		case 0:
			both <- true // only another worker can take it
		case 1:
			<-both
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, i)
		return nil
	})
	slices.Sort(got)
	if err != nil || len(got) != 100 || got[0] != 0 || got[99] != 99 || len(slices.Compact(got)) != 100 {
		t.Errorf("%v, %v", got, err)
	}
}

// Whatever fails, all have ended then, and the cause is told.
func TestErrors(t *testing.T) {
	broken, source := errors.New("broken"), errors.New("source")
	before := runtime.NumGoroutine()
	for name, c := range map[string]struct {
		items  iter.Seq2[int, error]
		do     func(context.Context, int) error
		cancel bool
		want   error
	}{
		"a worker":            {numbers(1_000_000, nil), func(_ context.Context, i int) error { return pick(i == 5, broken) }, false, broken},
		"all workers at once": {numbers(1_000_000, nil), func(context.Context, int) error { return broken }, false, broken},
		"the items":           {numbers(10, source), func(context.Context, int) error { return nil }, false, source},
		"a worker, then the items": {func(yield func(int, error) bool) {
			yield(1, nil)
			time.Sleep(10 * time.Millisecond)
			yield(0, source)
		}, func(context.Context, int) error { return broken }, false, broken},
		"the end of the context": {numbers(1_000_000, nil), func(ctx context.Context, _ int) error { <-ctx.Done(); return nil }, true, context.Canceled},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		if c.cancel {
			time.AfterFunc(10*time.Millisecond, cancel)
		}
		if err := Each(ctx, 3, c.items, c.do); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines are left", runtime.NumGoroutine()-before)
		}
	}
}

func pick(yes bool, err error) error {
	if yes {
		return err
	}
	return nil
}

// A worker that has enough leaves the rest to others.
func TestDo(t *testing.T) {
	var mu sync.Mutex
	got := 0
	err := Do(t.Context(), 4, numbers(1000, nil), func(_ context.Context, items iter.Seq[int]) error {
		for range items {
			mu.Lock()
			got++
			enough := got == 1
			mu.Unlock()
			if enough {
				break
			}
		}
		return nil
	})
	if err != nil || got != 1000 {
		t.Errorf("%d, %v", got, err)
	}
}

// Batches hold all files once, in order, and end where they should.
func TestBatches(t *testing.T) {
	type file struct {
		dir  string
		size int64
	}
	var files []file
	for range 70 {
		files = append(files, file{"a", 10})
	}
	files = append(files, file{"b", 10}, file{"b", MaxBatchBytes - 10}, file{"b", 1}, file{"b", 5 * MaxBatchBytes}, file{"b", 1}, file{"c", 1})
	source := errors.New("source")
	for _, failing := range []error{nil, source} {
		var got []file
		var lengths []int
		var last error
		list := func(yield func(file, error) bool) {
			for _, f := range files {
				if !yield(f, nil) {
					return
				}
			}
			if failing != nil {
				yield(file{}, failing)
			}
		}
		for batch, err := range Batches(list, func(f *file) int64 { return f.size }, func(a, b *file) bool { return a.dir == b.dir }) {
			last = err
			if err == nil {
				got, lengths = append(got, batch...), append(lengths, len(batch))
			}
		}
		want := []int{MaxBatchFiles, MaxBatchFiles, 70 - 2*MaxBatchFiles, 2, 1, 1, 1, 1}
		if failing != nil {
			want = want[:len(want)-1] // what was being put together is not handed on
		}
		if !slices.Equal(lengths, want) || failing == nil && !slices.Equal(got, files) || !errors.Is(last, failing) {
			t.Errorf("failing %v: batches of %v, %v", failing, lengths, last)
		}
	}
	for batch := range Batches(numbers(0, nil), func(*int) int64 { return 0 }, func(a, b *int) bool { return true }) {
		t.Errorf("a batch of nothing: %v", batch)
	}
}
