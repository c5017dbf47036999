// Package workers has several goroutines work on what one brings.
//
// It promises that nothing is held but what is being worked on, that the first
// error ends all, and that all have ended when it returns.
package workers

import (
	"context"
	"iter"

	"golang.org/x/sync/errgroup"
)

// Do has n goroutines work, each on items that no other gets, as they come. One that
// returns nil early leaves the rest to the others; one has to stay. It returns the
// first error, which ends the context of the others: a worker's before that of
// items, since what ended the workers is the cause of what ended the list, not the
// other way around.
func Do[T any](ctx context.Context, n int, items iter.Seq2[T, error], work func(ctx context.Context, items iter.Seq[T]) error) error {
	group, ctx := errgroup.WithContext(ctx)
	channel := make(chan T)
	for range n {
		group.Go(func() error {
			return work(ctx, func(yield func(T) bool) {
				for item := range channel {
					if !yield(item) {
						return
					}
				}
			})
		})
	}
	failed := handOut(ctx, items, channel)
	close(channel)
	if err := group.Wait(); err != nil {
		return err
	}
	return failed
}

// Each is Do for work that needs nothing for itself.
func Each[T any](ctx context.Context, n int, items iter.Seq2[T, error], do func(context.Context, T) error) error {
	return Do(ctx, n, items, func(ctx context.Context, items iter.Seq[T]) error {
		for item := range items {
			if err := do(ctx, item); err != nil {
				return err
			}
		}
		return nil
	})
}

func handOut[T any](ctx context.Context, items iter.Seq2[T, error], channel chan<- T) error {
	for item, err := range items {
		if err != nil {
			return err
		}
		select {
		case channel <- item:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}

// A batch ends after so many files: where each costs a private-key operation, there
// should be some for each processor. Or after so many bytes: a large file has a
// worker of its own.
const (
	MaxBatchFiles = 32
	MaxBatchBytes = 1 << 20
)

// Batches puts files that follow one another together, such as belong together by
// the function of that name. size is a file's in bytes. No batch is empty.
func Batches[T any](files iter.Seq2[T, error], size func(*T) int64, together func(a, b *T) bool) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		var batch []T
		bytes := int64(0)
		for file, err := range files {
			if err != nil {
				yield(nil, err)
				return
			}
			n := size(&file)
			if len(batch) > 0 && (len(batch) == MaxBatchFiles || bytes+n > MaxBatchBytes || !together(&batch[0], &file)) {
				if !yield(batch, nil) {
					return
				}
				batch, bytes = nil, 0
			}
			batch, bytes = append(batch, file), bytes+n
		}
		if len(batch) > 0 {
			yield(batch, nil)
		}
	}
}
