package catalog

import (
	"context"
	"database/sql"
	"errors"

	"github.com/chipster/firn/internal/extsort"
)

// writer makes changes to the rows of a storage.
type writer struct {
	ctx       context.Context
	storage   string
	seq, last int64 // of the version that is added, and of the readable one before

	end, begin, findFolder, addFolder *sql.Stmt

	ids   map[string]int64 // of folders, by their paths
	bytes int              // that ids takes
}

// maxIDs bounds what the paths of folders take in memory.
const maxIDs = 4 << 20

// write makes the changes that diff found.
func write(ctx context.Context, tx *sql.Tx, storage string, seq int64, changes *extsort.Sorter) (err error) {
	// The driver starts a goroutine a statement for a context that can end. It
	// is asked between the changes instead.
	w := &writer{ctx: context.WithoutCancel(ctx), storage: storage, seq: seq, ids: map[string]int64{}}
	var last sql.NullInt64
	if err := tx.QueryRowContext(ctx, `SELECT max(seq) FROM versions WHERE storage = ? AND damaged = ''`, storage).Scan(&last); err != nil {
		return err
	}
	w.last = last.Int64
	for stmt, text := range map[**sql.Stmt]string{
		&w.end:        `UPDATE nodes SET last = ? WHERE folder = ? AND name = ? AND last = ?`,
		&w.begin:      `INSERT INTO nodes (folder, name, first, last, child, size, sha512, sealed_path, sealed_size, sealed_sha512, extra) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		&w.findFolder: `SELECT id FROM folders WHERE path = ?`,
		&w.addFolder:  `INSERT INTO folders (path) VALUES (?)`,
	} {
		if *stmt, err = tx.PrepareContext(w.ctx, text); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, (*stmt).Close()) }()
	}
	n := 0
	for record, err := range changes.All() {
		if err == nil && n%progressLines == 0 {
			err = ctx.Err()
		}
		if err == nil {
			err = w.change(record)
		}
		if err != nil {
			return err
		}
		n++
	}
	return nil
}

func (w *writer) change(record []byte) error {
	key := nodeKey(record)
	dir, name := cutKey(key)
	folder, err := w.folder(dir)
	if err != nil {
		return err
	}
	switch record[len(key)] {
	case isGone:
		_, err = w.end.ExecContext(w.ctx, w.last, folder, name, int64(openEnd))
	case isFolder:
		var child int64
		if child, err = w.folder([]byte(join(string(dir), string(name)))); err == nil {
			_, err = w.begin.ExecContext(w.ctx, folder, name, w.seq, int64(openEnd), child, nil, nil, nil, nil, nil, nil)
		}
	case isFile:
		f := parseFile(record[len(key)+1:])
		_, err = w.begin.ExecContext(w.ctx, folder, name, w.seq, int64(openEnd), nil, f.size, f.sha, f.sealedPath, f.sealedSize, f.sealedSHA, f.extra)
	}
	return err
}

// folder finds or makes the id of a folder.
func (w *writer) folder(dir []byte) (id int64, err error) {
	if id, ok := w.ids[string(dir)]; ok {
		return id, nil
	}
	path := []byte(join(w.storage, string(dir)))
	err = w.findFolder.QueryRowContext(w.ctx, path).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		var result sql.Result
		if result, err = w.addFolder.ExecContext(w.ctx, path); err == nil {
			id, err = result.LastInsertId()
		}
	}
	if err != nil {
		return 0, err
	}
	if w.bytes += len(dir) + 64; w.bytes > maxIDs { // 64 are those of the map
		clear(w.ids)
		w.bytes = 0
	}
	w.ids[string(dir)] = id
	return id, nil
}
