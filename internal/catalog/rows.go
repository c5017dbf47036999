package catalog

import (
	"context"
	"database/sql"
	"errors"

	"github.com/chipster/firn/internal/extsort"
)

// inStorage holds for the rows of one storage's folders; its arguments are
// those of storageRange.
const inStorage = `folder IN (SELECT id FROM folders WHERE path = ? OR path > ? AND path < ?)`

// storageRange are the paths of a storage's root folder, and the bounds of
// those of all folders in it: "0" is the byte after "/".
func storageRange(storage string) []any {
	return []any{[]byte(storage), []byte(storage + "/"), []byte(storage + "0")}
}

// kept is the number of the newest version that stays, or 0.
func (c *change) kept() int64 {
	if len(c.keep) == 0 {
		return 0
	}
	return c.keep[len(c.keep)-1].seq
}

// shrink takes away the versions that are to be dropped and undone.
func (c *change) shrink(ctx context.Context, tx *sql.Tx) error {
	if len(c.drop) == 0 && len(c.undo) == 0 {
		return nil
	}
	var err error
	run := func(query string, args ...any) {
		if err == nil {
			_, err = tx.ExecContext(ctx, query, args...)
		}
	}
	inRange := storageRange(c.storage)
	var oldest, newest int64 // readable ones that stay
	for _, r := range c.keep {
		if r.Damaged == "" {
			newest = r.seq
			if oldest == 0 {
				oldest = r.seq
			}
		}
	}
	if newest == 0 {
		run(`DELETE FROM nodes WHERE `+inStorage, inRange...)
	} else {
		// A row ends at a version if and only if the next readable one does not
		// list it. So without that next one, it is open again.
		if len(c.undo) > 0 {
			run(`DELETE FROM nodes WHERE first > ? AND `+inStorage, append([]any{newest}, inRange...)...)
			run(`UPDATE nodes SET last = ? WHERE last >= ? AND last < ? AND `+inStorage, append([]any{int64(openEnd), newest, int64(openEnd)}, inRange...)...)
		}
		if len(c.drop) > 0 {
			run(`DELETE FROM nodes WHERE last < ? AND `+inStorage, append([]any{oldest}, inRange...)...)
		}
	}
	run(`DELETE FROM folders WHERE (path = ? OR path > ? AND path < ?) AND NOT EXISTS (SELECT 1 FROM nodes WHERE folder = id)`, inRange...)
	for _, gone := range [][]record{c.drop, c.undo} {
		for _, r := range gone {
			run(`DELETE FROM versions WHERE name = ?`, r.name.String())
		}
	}
	return err
}

// changesMemory is what changes take in memory. They come in order, so nothing has
// to be merged, and more would be of no use.
const changesMemory = 2 << 20

// addVersion adds the newest version of a storage. One whose list cannot be
// read is added as damaged and touches no other rows.
func (c *Catalog) addVersion(ctx context.Context, tx *sql.Tx, s stamp, seq int64, p *Progress) error {
	changes := extsort.New(changesMemory)
	defer changes.Close()
	r := record{seq: seq}
	var err error
	r.Version, r.stamp, err = c.changes(ctx, tx, s, changes, p)
	damage, isDamage := errors.AsType[*damage](err)
	switch {
	case isDamage:
		r.Version, r.retry = Version{Damaged: damage.Error(), Untrusted: damage.untrusted()}, damage.retry
		c.log.Warn("the list of a version cannot be read", "version", s.name.String(), "error", damage)
		err = nil
	case err == nil:
		err = write(ctx, tx, s.name.Storage(), seq, changes)
	}
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO versions (name, storage, seq, list, list_size, list_mtime, files, size, sealed_size, damaged, untrusted, retry)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, s.name.String(), s.name.Storage(), seq, r.list, r.stamp.size, r.mtime,
		r.Files, r.Version.Size, r.SealedSize, r.Damaged, r.Untrusted, r.retry)
	if err == nil {
		p.done(s)
		c.progress(*p)
	}
	return err
}

// changes finds what a version changes. It writes nothing, so a list that proves
// damaged at its end has done no harm.
func (c *Catalog) changes(ctx context.Context, tx *sql.Tx, s stamp, changes *extsort.Sorter, p *Progress) (Version, stamp, error) {
	list := extsort.New(0)
	defer list.Close()
	v, s, err := c.load(ctx, s, list, p)
	if err == nil {
		err = diff(list.All(), openRecords(ctx, tx, s.name.Storage()), changes)
	}
	return v, s, err
}
