package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/chipster/firn/internal/backupname"
)

const (
	// openEnd is the last version of what the newest one lists, so that a night
	// without changes touches no rows.
	openEnd = math.MaxInt64
	// retryAfter is how long a list that could not be read is left alone.
	retryAfter = time.Minute
)

// Refresh brings the catalog up to date with the archive. It tells whether the
// versions changed since the last call, by whatever process. Where nothing
// changed it costs one readdir and one stat a version.
//
// Others can read meanwhile, and see every version as it was or as it is.
func (c *Catalog) Refresh(ctx context.Context) (changed bool, err error) {
	c.state.Lock()
	before, retry := c.seen, time.Since(c.tried) > retryAfter
	if retry {
		c.tried = time.Now()
	}
	c.state.Unlock()
	err = c.use(ctx, func(db *database) error {
		if err := db.check(); err != nil {
			return err
		}
		return c.refresh(ctx, db, retry)
	})
	c.state.Lock()
	defer c.state.Unlock()
	return !slices.Equal(before, c.seen), err
}

func (c *Catalog) refresh(ctx context.Context, db *database, retry bool) error {
	tried := map[backupname.Name]bool{}
	again := func(r record) bool {
		return r.retry && retry && !tried[r.name] && isReadable(c.root, r.stamp)
	}
	var p Progress
	have, todo, err := c.compare(ctx, db.read, again)
	for err == nil && len(todo) > 0 {
		if err = c.update(ctx, db, again, &p); err == nil {
			for _, r := range todo[0].undo {
				tried[r.name] = true
			}
			have, todo, err = c.compare(ctx, db.read, again)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot bring the catalog of %s up to date: %w", c.root, err)
	}
	if err := c.checkNewest(db.path, have); err != nil {
		return fmt.Errorf("%s: %w", c.root, err)
	}
	seen := make([]stamp, len(have))
	for i, r := range have {
		seen[i] = r.stamp
	}
	c.state.Lock()
	c.seen = seen
	c.state.Unlock()
	return nil
}

// compare finds the storages of which the catalog is not up to date. again tells
// which damaged versions to try once more.
func (c *Catalog) compare(ctx context.Context, q querier, again func(record) bool) (have []record, todo []*change, err error) {
	want, err := scan(c.root)
	if err != nil {
		return nil, nil, err
	}
	have, err = records(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	for _, storage := range storages(have, want) {
		h := slices.DeleteFunc(slices.Clone(have), func(r record) bool { return r.name.Storage() != storage })
		w := slices.DeleteFunc(slices.Clone(want), func(s stamp) bool { return s.name.Storage() != storage })
		if change := compareStorage(storage, h, w, again); change != nil {
			todo = append(todo, change)
		}
	}
	return have, todo, nil
}

func storages(have []record, want []stamp) []string {
	var all []string
	for _, r := range have {
		all = append(all, r.name.Storage())
	}
	for _, s := range want {
		all = append(all, s.name.Storage())
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// change is what has to be done to one storage: versions dropped from the old
// end, versions undone from the new end, and versions added there. Whatever
// happens in the middle is undone down to it, and added again.
type change struct {
	storage          string
	drop, keep, undo []record
	add              []stamp
}

func compareStorage(storage string, have []record, want []stamp, again func(record) bool) *change {
	dropped := 0
	for dropped < len(have) && !slices.ContainsFunc(want, func(s stamp) bool { return s.name == have[dropped].name }) {
		dropped++
	}
	rest := have[dropped:]
	same := 0
	for same < len(rest) && same < len(want) && rest[same].stamp == want[same] && !again(rest[same]) {
		same++
	}
	if dropped == 0 && same == len(rest) && same == len(want) {
		return nil
	}
	return &change{storage, have[:dropped], rest[:same], rest[same:], want[same:]}
}

// update makes one step towards the archive, in one transaction: what was
// undone is added again in the same one, so that no version vanishes for a
// while, and what is new is added one by one, so that a kill loses little.
func (c *Catalog) update(ctx context.Context, db *database, again func(record) bool, p *Progress) error {
	tx, err := c.begin(ctx, db)
	if err != nil {
		return err
	}
	defer rollback(tx)
	// Another process may have done it while this one waited.
	_, todo, err := c.compare(ctx, tx, again)
	if err != nil || len(todo) == 0 {
		return err
	}
	p.plan(todo)
	if err := todo[0].shrink(ctx, tx); err != nil {
		return err
	}
	add := todo[0].add
	if len(todo[0].undo) == 0 {
		add = add[:min(1, len(add))]
	}
	seq := todo[0].kept()
	for _, s := range add {
		seq++
		if err := c.addVersion(ctx, tx, s, seq, p); err != nil {
			return fmt.Errorf("version %s: %w", s.name, err)
		}
	}
	return tx.Commit()
}

// begin waits for as long as another process writes.
func (c *Catalog) begin(ctx context.Context, db *database) (*sql.Tx, error) {
	for waiting := false; ; waiting = true {
		tx, err := db.write.BeginTx(ctx, nil)
		if !isBusy(err) || ctx.Err() != nil {
			return tx, err
		}
		if !waiting {
			c.log.Info("waiting for another process that updates the catalog", "path", db.path)
		}
	}
}
