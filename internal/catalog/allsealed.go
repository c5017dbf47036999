package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"sort"
	"strings"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
)

// Sealed is a sealed file with the versions that list it: First, Last and all
// readable ones of its storage between them.
type Sealed struct {
	manifest.Entry // as Last lists it; Backup is Last, in whose folder it should lie

	First, Last backupname.Name
	Newest      bool // Last is the newest version that can be read
}

// The files of a storage's root folder, and those of the folders below it: one
// condition for both would have SQLite sort all of them first.
const (
	sealedHere = `SELECT f.path, n.first, n.last, ` + nodeColumns + ` FROM folders f JOIN nodes n ON n.folder = f.id
		WHERE f.path = ? AND n.child IS NULL ORDER BY n.name, n.first`
	sealedBelow = `SELECT f.path, n.first, n.last, ` + nodeColumns + ` FROM folders f CROSS JOIN nodes n ON n.folder = f.id
		WHERE f.path > ? AND f.path < ? AND n.child IS NULL ORDER BY f.path, n.name, n.first`
)

// AllSealed yields every sealed file of a storage once, with the versions that
// list it, in the order of Files, those of one path oldest first. A file that
// is listed, then not, then again is yielded twice. What only damaged versions
// list is not known. A storage that is not there has none. The first error ends
// it.
//
// All that is yielded is of one moment, whatever Refresh does meanwhile. So one
// of the few connections to the database is held until the iteration ends;
// other methods may be called before.
func (c *Catalog) AllSealed(ctx context.Context, storage string) iter.Seq2[Sealed, error] {
	return func(yield func(Sealed, error) bool) {
		if err := c.allSealed(ctx, storage, yield); err != nil {
			yield(Sealed{}, fmt.Errorf("sealed files of %s: %w", storage, err))
		}
	}
}

func (c *Catalog) allSealed(ctx context.Context, storage string, yield func(Sealed, error) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var tx *sql.Tx
	// Only the beginning is inside of use: whoever is called by yield would wait
	// for those who wait to mend the database, and these for the end of use.
	err := c.use(ctx, func(db *database) (err error) {
		tx, err = db.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
		return err
	})
	if err != nil {
		return err
	}
	defer rollback(tx)
	all, err := records(ctx, tx)
	if err != nil {
		return err
	}
	w := &sealedWalk{storage: storage, yield: yield}
	for _, r := range all {
		if r.name.Storage() == storage && r.Damaged == "" {
			w.readable = append(w.readable, r)
		}
	}
	inRange := storageRange(storage)
	if more, err := w.read(ctx, tx, sealedHere, inRange[0]); err != nil || !more {
		return orDone(ctx, err)
	}
	more, err := w.read(ctx, tx, sealedBelow, inRange[1:]...)
	if err == nil && more && w.held {
		yield(w.last, nil)
	}
	return orDone(ctx, err)
}

// orDone prefers the end of ctx, which shows as many an error of the database.
func orDone(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// sealedWalk is one iteration.
type sealedWalk struct {
	storage  string
	readable []record // versions, oldest first
	yield    func(Sealed, error) bool

	last  Sealed // read and not yet yielded: the next row may continue it
	held  bool
	until int // the version in readable that last ends with
}

// read yields the rows of a query. It returns false when no more are wanted.
func (w *sealedWalk) read(ctx context.Context, tx *sql.Tx, query string, args ...any) (bool, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	var r row
	var path sql.RawBytes
	var first, last int64
	fields := append([]any{&path, &first, &last}, r.nodeFields()...)
	for rows.Next() {
		if err := rows.Scan(fields...); err != nil {
			return false, err
		}
		// The versions around the row that are left, and can be read.
		from := sort.Search(len(w.readable), func(i int) bool { return w.readable[i].seq >= first })
		to := sort.Search(len(w.readable), func(i int) bool { return w.readable[i].seq > last }) - 1
		if from > to {
			continue
		}
		v := w.readable[to].Version
		n, err := r.node(v, strings.TrimPrefix(string(path[len(w.storage):]), "/"))
		if err != nil {
			return false, err
		}
		s := Sealed{Entry: n.Entry, First: w.readable[from].name, Last: v.Name, Newest: to == len(w.readable)-1}
		if w.held && w.until+1 == from && sameSealed(&w.last.Entry, &s.Entry) {
			s.First = w.last.First // only its details changed
		} else if w.held && !w.yield(w.last, nil) {
			return false, nil
		}
		w.last, w.held, w.until = s, true, to
	}
	return true, rows.Err()
}

// sameSealed tells that two entries stand for the same sealed file, whatever
// their details say.
func sameSealed(a, b *manifest.Entry) bool {
	return a.Path == b.Path && a.Size == b.Size && a.SHA512 == b.SHA512 &&
		a.SealedPath == b.SealedPath && a.SealedSize == b.SealedSize && a.SealedSHA512 == b.SealedSHA512
}
