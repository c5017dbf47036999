package catalog

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"iter"

	"github.com/chipster/firn/internal/extsort"
)

const openColumns = `SELECT f.path, n.name, n.child IS NULL, n.size, n.sha512, n.sealed_size, n.sealed_sha512, n.sealed_path, n.extra `

// What the newest readable version of a storage lists in its root folder, and
// below it. One condition for both would have SQLite sort all of it first.
const (
	openHere  = openColumns + `FROM folders f JOIN nodes n ON n.folder = f.id WHERE f.path = ? AND n.last = ? ORDER BY n.name`
	openBelow = openColumns + `FROM folders f CROSS JOIN nodes n ON n.folder = f.id
		WHERE f.path > ? AND f.path < ? AND n.last = ? ORDER BY f.path, n.name`
)

// openRecords yields what the newest readable version of a storage lists, in
// order. A record is valid until the next.
func openRecords(ctx context.Context, tx *sql.Tx, storage string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		inRange := storageRange(storage)
		if readOpen(ctx, tx, yield, len(storage), openHere, inRange[0], int64(openEnd)) {
			readOpen(ctx, tx, yield, len(storage), openBelow, inRange[1], inRange[2], int64(openEnd))
		}
	}
}

// readOpen yields the records of a query, and tells whether more are wanted.
func readOpen(ctx context.Context, tx *sql.Tx, yield func([]byte, error) bool, storage int, query string, args ...any) bool {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return yield(nil, err)
	}
	defer rows.Close()
	var folder, name, sha, sealedSHA, sealedPath, extra sql.RawBytes
	var file, size, sealedSize any // to scan into a number takes several times as long
	var record []byte
	for rows.Next() {
		if err := rows.Scan(&folder, &name, &file, &size, &sha, &sealedSize, &sealedSHA, &sealedPath, &extra); err != nil {
			return yield(nil, err)
		}
		dir := sql.RawBytes(bytes.TrimPrefix(folder[storage:], []byte("/")))
		if file == int64(1) {
			size, ok := size.(int64)
			sealedSize, ok2 := sealedSize.(int64)
			if !ok || !ok2 {
				return yield(nil, errDamagedRow)
			}
			f := fileRecord{size, sealedSize, sha, sealedSHA, sealedPath, extra}
			record = f.append(appendRecord(record[:0], dir, name, isFile))
		} else {
			record = appendRecord(record[:0], dir, name, isFolder)
		}
		if !yield(record, nil) {
			return false
		}
	}
	return rows.Err() == nil || yield(nil, rows.Err())
}

// diff adds to changes what must be done for the open records to be those of a
// list: first the ends of those that are gone or other nodes by now, then what
// begins. Its error is a *damage where the list has two nodes of one name.
func diff(list, open iter.Seq2[[]byte, error], changes *extsort.Sorter) error {
	pull, stop := iter.Pull2(open)
	defer stop()
	next := func() (record []byte, err error) { // nil at the end
		record, err, _ = pull()
		return record, err
	}
	var last []byte
	old, err := next()
	for record, listErr := range list {
		if err := cmp.Or(err, listErr); err != nil {
			return err
		}
		if twice, err := checkName(last, record); err != nil {
			return err
		} else if twice {
			continue
		}
		last = append(last[:0], record...)
		for ; old != nil && !bytes.Equal(old, record) && bytes.Compare(nodeKey(old), nodeKey(record)) <= 0; old, err = next() {
			if err := changes.Add(nodeKey(old), []byte{isGone}); err != nil {
				return err
			}
		}
		if bytes.Equal(old, record) {
			old, err = next()
		} else if err := changes.Add(record); err != nil {
			return err
		}
	}
	for ; err == nil && old != nil; old, err = next() {
		if err := changes.Add(nodeKey(old), []byte{isGone}); err != nil {
			return err
		}
	}
	return err
}

// checkName compares a record with the one before. A folder may come more than
// once.
func checkName(last, record []byte) (again bool, err error) {
	key := nodeKey(record)
	if !bytes.HasPrefix(last, key) {
		return false, nil
	}
	what := "is listed twice"
	if last[len(key)] == isFolder {
		if record[len(key)] == isFolder {
			return true, nil
		}
		what = "is both a file and a folder"
	}
	dir, name := cutKey(key)
	return false, &damage{err: fmt.Errorf("%q %s", join(string(dir), string(name)), what)}
}
