package archiver

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/objstore"
)

// skewedStore is a bucket whose clock is another than this host's.
type skewedStore struct {
	objstore.Store
	by time.Duration
}

func (s skewedStore) Head(ctx context.Context, key string) (objstore.Object, error) {
	o, err := s.Store.Head(ctx, key)
	o.Modified = o.Modified.Add(s.by)
	return o, err
}

// By a clock that differs from the bucket's nothing is deleted, here or there,
// though the names alone would allow it.
func TestClockOfTheBucket(t *testing.T) {
	for _, by := range []time.Duration{-2 * time.Hour, 2 * time.Hour, time.Minute} {
		w := newWorld(t)
		u := &nightly{w, "fs", map[string]string{"a": "one"}}
		for i := range 3 {
			w.now = start.AddDate(0, 0, i)
			u.backup(t)
			if i < 2 {
				w.run(t)
			}
		}
		o := w.options()
		o.Retention = Retention{KeepLast: 1, KeepDays: 1}
		o.Store = skewedStore{w.store, by}
		report, err := Run(t.Context(), o)
		must(t, err)
		if by == time.Minute {
			if len(report.Pruned) == 0 || len(report.Cleaned) == 0 {
				t.Errorf("%s: %+v", by, report)
			}
			continue
		}
		if len(report.Pruned)+len(report.Cleaned) != 0 || len(report.Skipped) != 1 || !strings.Contains(report.Skipped[0].Reason, "clocks") {
			t.Errorf("%s: %+v", by, report)
		}
		if len(report.Backups) != 1 || report.Backups[0].Error != "" || len(w.versions(t)["fs"]) != 3 {
			t.Errorf("%s: not archived: %+v", by, report)
		}
	}
}
