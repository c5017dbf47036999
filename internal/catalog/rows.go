package catalog

import (
	"context"
	"database/sql"
	"errors"
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

// addVersion adds the newest version of a storage. One whose list cannot be
// read is added as damaged and touches no other rows.
func (c *Catalog) addVersion(ctx context.Context, tx *sql.Tx, s stamp, seq int64) error {
	if _, err := tx.ExecContext(ctx, `SAVEPOINT load`); err != nil {
		return err
	}
	r := record{seq: seq}
	var err error
	r.Version, r.stamp, err = c.load(ctx, tx, s)
	damage, isDamage := errors.AsType[*damage](err)
	switch {
	case isDamage:
		r.Version, r.retry = Version{Damaged: damage.Error(), Untrusted: damage.untrusted()}, damage.retry
		c.log.Warn("the list of a version cannot be read", "version", s.name.String(), "error", damage)
		_, err = tx.ExecContext(ctx, `ROLLBACK TO load`)
	case err == nil:
		err = mergeStage(ctx, tx, s.name.Storage(), seq)
	}
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `RELEASE load`)
	if err == nil {
		_, err = tx.ExecContext(ctx, `INSERT INTO versions (name, storage, seq, list, list_size, list_mtime, files, size, sealed_size, damaged, untrusted, retry)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, s.name.String(), s.name.Storage(), seq, r.list, r.stamp.size, r.mtime,
			r.Files, r.Version.Size, r.SealedSize, r.Damaged, r.Untrusted, r.retry)
	}
	return err
}

// identity holds where a staged row s stands for the same as a row n.
const identity = `s.folder = n.folder AND s.name = n.name AND s.child IS n.child AND s.size IS n.size AND s.sha512 IS n.sha512
	AND s.sealed_path IS n.sealed_path AND s.sealed_size IS n.sealed_size AND s.sealed_sha512 IS n.sealed_sha512 AND s.extra IS n.extra`

// mergeStage ends the rows that the staged version no longer lists, and begins
// those that are new in it.
func mergeStage(ctx context.Context, tx *sql.Tx, storage string, seq int64) error {
	_, err := tx.ExecContext(ctx, `UPDATE nodes AS n
		SET last = (SELECT max(seq) FROM versions WHERE storage = ? AND damaged = '')
		WHERE last = ? AND `+inStorage+` AND NOT EXISTS (SELECT 1 FROM temp.stage s WHERE `+identity+`)`,
		append([]any{storage, int64(openEnd)}, storageRange(storage)...)...)
	if err != nil {
		return err
	}
	// What is still open is the same as what is staged under that name.
	_, err = tx.ExecContext(ctx, `INSERT INTO nodes (folder, name, first, last, child, size, sha512, sealed_path, sealed_size, sealed_sha512, extra)
		SELECT folder, name, ?, ?, child, size, sha512, sealed_path, sealed_size, sealed_sha512, extra FROM temp.stage s
		WHERE NOT EXISTS (SELECT 1 FROM nodes n WHERE n.folder = s.folder AND n.name = s.name AND n.last = ?)
		ORDER BY folder, name`, seq, int64(openEnd), int64(openEnd))
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, clearStage)
	return err
}
