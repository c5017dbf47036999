package archiver

import (
	"context"
	"iter"

	"golang.org/x/sync/errgroup"
)

// parallel has n goroutines work on items as they come. It returns when all have
// ended, with the first error, which ends the context of the others.
func parallel[T any](ctx context.Context, n int, items iter.Seq2[T, error], do func(context.Context, T) error) error {
	g, ctx := errgroup.WithContext(ctx)
	work := make(chan T)
	for range n {
		g.Go(func() error {
			for item := range work {
				if err := do(ctx, item); err != nil {
					return err
				}
			}
			return nil
		})
	}
	failed := handOut(ctx, items, work)
	close(work)
	if err := g.Wait(); err != nil {
		return err
	}
	return failed
}

func handOut[T any](ctx context.Context, items iter.Seq2[T, error], work chan<- T) error {
	for item, err := range items {
		if err != nil {
			return err
		}
		select {
		case work <- item:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}
