package archiver

import (
	"context"
	"iter"

	"github.com/chipster/firn/internal/workers"
)

func parallel[T any](ctx context.Context, n int, items iter.Seq2[T, error], do func(context.Context, T) error) error {
	return workers.Each(ctx, n, items, do)
}
