package catalog

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
)

// The files of a version that another does not list in the same row: those that
// follow a name in one folder, and those of the folders that follow.
const (
	filesHere = `SELECT f.path, ` + nodeColumns + ` FROM folders f JOIN nodes n ON n.folder = f.id
		WHERE f.path = ? AND n.name > ? AND n.child IS NULL
			AND n.first <= ? AND n.last >= ? AND NOT (n.first <= ? AND n.last >= ?)
		ORDER BY n.name LIMIT ?`
	filesBeyond = `SELECT f.path, ` + nodeColumns + ` FROM folders f CROSS JOIN nodes n ON n.folder = f.id
		WHERE f.path > ? AND f.path < ? AND n.child IS NULL
			AND n.first <= ? AND n.last >= ? AND NOT (n.first <= ? AND n.last >= ?)
		ORDER BY f.path, n.name LIMIT ?`
)

// walker reads the files of a version a page at a time.
type walker struct {
	c      *Catalog
	v      Version
	except backupname.Name // a version of the same storage, or zero

	top    []byte // path of the topmost folder
	folder []byte // path of the folder, and name of the file, that came last
	name   []byte
	size   int    // bytes of details in the page
	stamp  *stamp // of the list that is being walked
}

// Files yields all files below a folder, or the one file of that path. Files of
// one folder follow one another, ordered by the bytes of their names; folders
// are ordered by the bytes of their paths. The first error ends it: ErrNotExist,
// ErrNoVersion, ErrDamaged, ErrChanged.
//
// Backup of the entries is the version's own name, wherever the sealed file
// lies.
func (c *Catalog) Files(ctx context.Context, v Version, under string) iter.Seq2[manifest.Entry, error] {
	return func(yield func(manifest.Entry, error) bool) {
		n, err := c.Lookup(ctx, v, under)
		if err != nil || !n.Dir {
			yield(n.Entry, err)
			return
		}
		c.walk(ctx, v, backupname.Name{}, under)(yield)
	}
}

func (c *Catalog) walk(ctx context.Context, v Version, except backupname.Name, under string) iter.Seq2[manifest.Entry, error] {
	return func(yield func(manifest.Entry, error) bool) {
		top := folderPath(v, under)
		w := &walker{c: c, v: v, except: except, top: top, folder: top, name: []byte{}}
		for {
			page, err := w.next(ctx)
			if err != nil {
				yield(manifest.Entry{}, err)
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
			}
			if !w.full(page) {
				return
			}
		}
	}
}

// full tells that a page may not be the last one.
func (w *walker) full(page []manifest.Entry) bool {
	return len(page) == pageSize || w.size > maxPageBytes
}

func (w *walker) next(ctx context.Context) (page []manifest.Entry, err error) {
	folder, name := w.folder, w.name
	err = w.c.use(ctx, func(db *database) error {
		page, w.folder, w.name, w.size = page[:0], folder, name, 0
		tx, err := db.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
		if err != nil {
			return err
		}
		defer rollback(tx)
		seq, err := w.seq(ctx, tx)
		if err != nil {
			return err
		}
		other := int64(-1) // no row begins before it
		if !w.except.IsZero() {
			err := tx.QueryRowContext(ctx, `SELECT seq FROM versions WHERE name = ? AND damaged = ''`, w.except.String()).Scan(&other)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return err
			}
		}
		page, err = w.read(ctx, tx, page, filesHere, folder, name, seq, seq, other, other)
		if err != nil || w.full(page) {
			return err
		}
		from := append(bytes.Clone(w.top), '/')
		if bytes.Compare(folder, from) > 0 {
			from = folder
		}
		page, err = w.read(ctx, tx, page, filesBeyond, from, append(bytes.Clone(w.top), '0'), seq, seq, other, other)
		return err
	})
	if err != nil {
		err = fmt.Errorf("files of %s: %w", w.v.Name, err)
	}
	return page, err
}

// seq is the version's number, which may be another for each page.
func (w *walker) seq(ctx context.Context, tx *sql.Tx) (seq int64, err error) {
	var damaged string
	var s stamp
	err = tx.QueryRowContext(ctx, `SELECT seq, damaged, list_size, list_mtime FROM versions WHERE name = ?`, w.v.Name.String()).
		Scan(&seq, &damaged, &s.size, &s.mtime)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, noVersion(w.v)
	case err != nil:
		return 0, err
	case damaged != "":
		return 0, damagedVersion(w.v, damaged)
	case w.stamp != nil && *w.stamp != s:
		return 0, fmt.Errorf("%w: %s", ErrChanged, w.v.Name)
	}
	w.stamp = &s
	return seq, nil
}

func (w *walker) read(ctx context.Context, tx *sql.Tx, page []manifest.Entry, query string, args ...any) ([]manifest.Entry, error) {
	rows, err := tx.QueryContext(ctx, query, append(args, pageSize-len(page))...)
	if err != nil {
		return page, err
	}
	defer rows.Close()
	var r row
	var folder sql.RawBytes
	fields := append([]any{&folder}, r.nodeFields()...)
	storage := len(w.v.Name.Storage())
	for rows.Next() {
		if err := rows.Scan(fields...); err != nil {
			return page, err
		}
		if !bytes.Equal(folder, w.folder) {
			w.folder = bytes.Clone(folder)
		}
		// What follows the storage in a folder's path is its own path.
		n, err := r.node(w.v, string(bytes.TrimPrefix(folder[storage:], []byte("/"))))
		if err != nil {
			return page, err
		}
		page, w.name = append(page, n.Entry), []byte(n.Name)
		if w.size += len(r.extra); w.full(page) {
			return page, nil
		}
	}
	return page, rows.Err()
}
