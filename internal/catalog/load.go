package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path"
	"strings"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/signature"
)

// damage says why the list of a version is of no use.
type damage struct {
	err   error
	retry bool // the list may be fine, and the disk or the network not
}

func (d *damage) untrusted() bool { return errors.Is(d.err, signature.ErrUntrusted) }

func (d *damage) Error() string { return d.err.Error() }
func (d *damage) Unwrap() error { return d.err }

// The nodes of the version that is being added: first in the order of the list,
// which is none, then sorted. To insert them into an index as they come would
// take twice as long.
const stageSchema = `
CREATE TEMP TABLE IF NOT EXISTS unsorted (
	folder INTEGER NOT NULL, name BLOB NOT NULL, child INTEGER, size INTEGER, sha512 BLOB,
	sealed_path BLOB, sealed_size INTEGER, sealed_sha512 BLOB, extra BLOB
);
CREATE TEMP TABLE IF NOT EXISTS stage (
	folder INTEGER NOT NULL, name BLOB NOT NULL, child INTEGER, size INTEGER, sha512 BLOB,
	sealed_path BLOB, sealed_size INTEGER, sealed_sha512 BLOB, extra BLOB,
	PRIMARY KEY (folder, name)
) WITHOUT ROWID;
CREATE TEMP TABLE IF NOT EXISTS staged_folders (id INTEGER PRIMARY KEY);
`

const clearStage = `
DELETE FROM temp.unsorted; DELETE FROM temp.stage; DELETE FROM temp.staged_folders;
`

// progressLines is how many lines are read between two reports.
const progressLines = 1000

// load stages the list of a version. Its error is a *damage where the list is
// at fault. The stamp is that of the file that was read.
func (c *Catalog) load(ctx context.Context, tx *sql.Tx, s stamp) (Version, stamp, error) {
	v := Version{Name: s.name}
	l, err := newLoader(ctx, tx, s.name.Storage())
	if err != nil {
		return v, s, err
	}
	defer l.close()
	file, s, err := openList(c.root, s)
	if err != nil {
		return v, s, &damage{err, true}
	}
	defer file.Close()
	// A folder is kept by its whole path. Lists that people make take a tenth.
	l.room = 64<<20 + 20*s.size
	for e, err := range c.entries(file, s.name) {
		if err != nil {
			for _, final := range []error{manifest.ErrInvalid, manifest.ErrTruncated, signature.ErrUntrusted} {
				if errors.Is(err, final) {
					return v, s, &damage{err: err}
				}
			}
			return v, s, &damage{err, true}
		}
		if err := l.addFile(&e); err != nil {
			return v, s, err
		}
		v.Files, v.Size, v.SealedSize = v.Files+1, v.Size+e.Size, v.SealedSize+e.SealedSize
		if v.Files%progressLines == 0 {
			if err := ctx.Err(); err != nil {
				return v, s, err
			}
			c.progress(s.name, v.Files)
		}
	}
	c.progress(s.name, v.Files)
	return v, s, sortStage(ctx, tx)
}

// sortStage ends the loading. SQLite sorts on disk, in bounded memory.
func sortStage(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO temp.stage SELECT * FROM temp.unsorted ORDER BY folder, name`)
	if sqliteCode(err) != sqlite3.SQLITE_CONSTRAINT {
		return err
	}
	var folder, name []byte
	var isFolder bool
	if err := tx.QueryRowContext(ctx, `SELECT (SELECT path FROM folders WHERE id = folder), name, count(child) > 0 FROM temp.unsorted
		GROUP BY folder, name HAVING count(*) > 1 LIMIT 1`).Scan(&folder, &name, &isFolder); err != nil {
		return err
	}
	_, dir, _ := strings.Cut(string(folder), "/") // behind the storage
	what := "is listed twice"
	if isFolder {
		what = "is both a file and a folder"
	}
	return &damage{err: fmt.Errorf("%q %s", join(dir, string(name)), what)}
}

// loader fills the staging table.
type loader struct {
	ctx     context.Context
	storage string

	insert, findFolder, insertFolder, insertStaged *sql.Stmt

	ids   map[string]int64 // of folders that are staged
	bytes int              // that the paths in it take
	room  int64            // for the paths of folders that are new in the database
}

// maxPathBytes bounds what the paths of folders take in memory.
const maxPathBytes = 8 << 20

func newLoader(ctx context.Context, tx *sql.Tx, storage string) (*loader, error) {
	if _, err := tx.ExecContext(ctx, stageSchema+clearStage); err != nil {
		return nil, err
	}
	// The driver starts a goroutine a statement for a context that can end. It
	// is asked between the lines instead.
	l := &loader{ctx: context.WithoutCancel(ctx), storage: storage, ids: map[string]int64{}}
	for stmt, text := range map[**sql.Stmt]string{
		&l.insert:       `INSERT INTO temp.unsorted VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		&l.findFolder:   `SELECT id FROM folders WHERE path = ?`,
		&l.insertFolder: `INSERT INTO folders (path) VALUES (?)`,
		&l.insertStaged: `INSERT INTO temp.staged_folders VALUES (?) ON CONFLICT DO NOTHING`,
	} {
		var err error
		if *stmt, err = tx.PrepareContext(l.ctx, text); err != nil {
			l.close()
			return nil, err
		}
	}
	return l, nil
}

// close ends the statements, without which the transaction could not be rolled
// back to its savepoint.
func (l *loader) close() {
	for _, stmt := range []*sql.Stmt{l.insert, l.findFolder, l.insertFolder, l.insertStaged} {
		if stmt != nil {
			_ = stmt.Close()
		}
	}
}

func (l *loader) addFile(e *manifest.Entry) error {
	dir, name := path.Split(l.storage + "/" + e.Path)
	folder, err := l.folder(strings.TrimSuffix(dir, "/"))
	if err == nil {
		_, err = l.insert.ExecContext(l.ctx, folder, []byte(name), nil, e.Size, e.SHA512[:],
			[]byte(e.SealedPath), e.SealedSize, e.SealedSHA512[:], []byte(e.ExtraColumns()))
	}
	return err
}

// folder makes sure that a folder and all above it are staged, once each.
func (l *loader) folder(full string) (id int64, err error) {
	if id, ok := l.ids[full]; ok {
		return id, nil
	}
	if id, err = l.folderID(full); err != nil {
		return 0, err
	}
	result, err := l.insertStaged.ExecContext(l.ctx, id)
	if err != nil {
		return 0, err
	}
	added, err := result.RowsAffected()
	if err != nil {
		return 0, err
	}
	if added > 0 && full != l.storage {
		dir, name := path.Split(full)
		parent, err := l.folder(strings.TrimSuffix(dir, "/"))
		if err != nil {
			return 0, err
		}
		if _, err := l.insert.ExecContext(l.ctx, parent, []byte(name), id, nil, nil, nil, nil, nil, nil); err != nil {
			return 0, err
		}
	}
	if l.bytes += len(full); l.bytes > maxPathBytes {
		clear(l.ids)
		l.bytes = len(full)
	}
	l.ids[full] = id
	return id, nil
}

// folderID finds or makes the id of a path.
func (l *loader) folderID(full string) (id int64, err error) {
	err = l.findFolder.QueryRowContext(l.ctx, []byte(full)).Scan(&id)
	if !errors.Is(err, sql.ErrNoRows) {
		return id, err
	}
	if l.room -= int64(len(full)); l.room < 0 {
		return 0, &damage{err: errors.New("its folders lie so deep in one another that their paths are far longer than the list")}
	}
	result, err := l.insertFolder.ExecContext(l.ctx, []byte(full))
	if err != nil {
		return 0, err
	}
	return result.LastInsertId()
}
