package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	// schemaVersion changes with the schema and with what its rows mean.
	schemaVersion = 3
	// applicationID marks the file as firn's, so that no other is deleted.
	applicationID = 0x6669726e
)

// Paths and names are BLOBs since they can hold any bytes, and compare as bytes.
//
// A folder's path begins with the storage, "file-storage/ab": that puts all
// folders of a storage, and all below a folder, into one range. A node is a
// file, or a folder where child is set. It is listed by the versions of its
// storage whose seq is from first to last; last is openEnd while the newest
// readable version lists it.
const schema = `
CREATE TABLE versions (
	name TEXT PRIMARY KEY, storage TEXT NOT NULL, seq INTEGER NOT NULL,
	list TEXT NOT NULL, list_size INTEGER NOT NULL, list_mtime INTEGER NOT NULL,
	files INTEGER NOT NULL, size INTEGER NOT NULL, sealed_size INTEGER NOT NULL,
	damaged TEXT NOT NULL, untrusted INTEGER NOT NULL, retry INTEGER NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX versions_seq ON versions (storage, seq);
CREATE TABLE folders (id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE);
CREATE TABLE nodes (
	folder INTEGER NOT NULL, name BLOB NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
	child INTEGER, size INTEGER, sha512 BLOB,
	sealed_path BLOB, sealed_size INTEGER, sealed_sha512 BLOB, extra BLOB,
	PRIMARY KEY (folder, name, first)
) WITHOUT ROWID;
CREATE TABLE block_indexes (age INTEGER PRIMARY KEY, sealed_sha512 BLOB NOT NULL UNIQUE, content BLOB NOT NULL);
`

var (
	errReplaced   = errors.New("the database was deleted or replaced by another process")
	errDamagedRow = errors.New("a row of the catalog holds what it cannot")
	errSchema     = errors.New("the catalog is of another version of firn")
	errForeign    = errors.New("the file is a database of another program; choose another path")
)

// database is one open file. Reads and writes have connections of their own, so
// that a long write keeps no reader waiting.
type database struct {
	path        string
	file        os.FileInfo // tells whether another process replaced it
	read, write *sql.DB
	lookup      *sql.Stmt
	list        *sql.Stmt
	names       *sql.Stmt
	items       *sql.Stmt
	item        *sql.Stmt
	sealed      *sql.Stmt
}

// openDatabase opens or creates a database. One that is damaged or of another
// schema is replaced by an empty one.
func openDatabase(ctx context.Context, path string, log *slog.Logger) (*database, error) {
	unlock, err := lock(path)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		// A log that outlived its database would be played into the new one.
		if err := remove(path); err != nil {
			return nil, err
		}
	}
	db, err := connect(ctx, path)
	if !isCorrupt(err) && !errors.Is(err, errSchema) {
		return db, err
	}
	log.Warn("the catalog cannot be used; building it anew", "path", path, "error", err)
	if err := remove(path); err != nil {
		return nil, err
	}
	return connect(ctx, path)
}

// replace closes a damaged database and opens a new one in its place.
func (db *database) replace(ctx context.Context, log *slog.Logger) (*database, error) {
	unlock, err := lock(db.path)
	if err != nil {
		return nil, err
	}
	if now, err := os.Lstat(db.path); err == nil && os.SameFile(now, db.file) {
		err = remove(db.path)
		if err != nil {
			unlock()
			return nil, err
		}
	}
	unlock()
	fresh, err := openDatabase(ctx, db.path, log)
	if err == nil {
		_ = db.close() // nothing of it is needed
	}
	return fresh, err
}

func connect(ctx context.Context, path string) (_ *database, err error) {
	// SQLite makes its other files as accessible as this one: it has the names of
	// all files of all versions.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	db := &database{path: path}
	defer func() {
		if err != nil {
			_ = db.close()
		}
	}()
	if db.write, err = db.pool("_txlock=immediate", "_pragma=synchronous(normal)",
		"_pragma=cache_size(-8192)", "_pragma=journal_size_limit(67108864)"); err != nil {
		return nil, err
	}
	db.write.SetMaxOpenConns(1) // a second writer would only wait for the first
	if err = db.prepareFile(ctx); err != nil {
		return nil, err
	}
	if db.file, err = os.Lstat(path); err != nil {
		return nil, err
	}
	if db.read, err = db.pool("_pragma=query_only(1)", "_pragma=cache_size(-4096)"); err != nil {
		return nil, err
	}
	db.read.SetMaxOpenConns(8) // bounds the memory of the page caches
	db.read.SetMaxIdleConns(8)
	for stmt, text := range map[**sql.Stmt]string{&db.lookup: lookupSQL, &db.list: listSQL, &db.names: namesSQL, &db.items: itemsSQL, &db.item: itemSQL, &db.sealed: sealedSQL} {
		if *stmt, err = db.read.PrepareContext(ctx, text); err != nil {
			return nil, err
		}
	}
	return db, nil
}

// prepareFile creates the schema in an empty file and refuses what is none of
// this version's.
func (db *database) prepareFile(ctx context.Context) error {
	var id, version, tables int64
	err := db.write.QueryRowContext(ctx, `SELECT a.application_id, u.user_version, (SELECT count(*) FROM sqlite_schema)
		FROM pragma_application_id a, pragma_user_version u`).Scan(&id, &version, &tables)
	switch {
	case err != nil:
		return err
	case tables == 0 && id == 0:
		err = db.createSchema(ctx)
	case id != applicationID:
		return fmt.Errorf("%s: %w", db.path, errForeign)
	case version != schemaVersion:
		return errSchema
	}
	if err == nil {
		// Last, so that the application's id is in the file itself by now.
		_, err = db.write.ExecContext(ctx, "PRAGMA journal_mode = WAL")
	}
	return err
}

func (db *database) createSchema(ctx context.Context) error {
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer rollback(tx)
	mark := fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d;", applicationID, schemaVersion)
	if _, err := tx.ExecContext(ctx, mark+schema); err != nil {
		return err
	}
	return tx.Commit()
}

// rollback ends a transaction that was not committed; after a commit it does
// nothing.
func rollback(tx *sql.Tx) { _ = tx.Rollback() }

func (db *database) close() error {
	var err error
	for _, stmt := range []*sql.Stmt{db.lookup, db.list, db.names, db.items, db.item, db.sealed} {
		if stmt != nil {
			err = errors.Join(err, stmt.Close())
		}
	}
	for _, pool := range []*sql.DB{db.read, db.write} {
		if pool != nil {
			err = errors.Join(err, pool.Close())
		}
	}
	return err
}

// isCorrupt tells that only another database can help.
func isCorrupt(err error) bool {
	code := sqliteCode(err)
	return code == sqlite3.SQLITE_CORRUPT || code == sqlite3.SQLITE_NOTADB || errors.Is(err, errReplaced) || errors.Is(err, errDamagedRow)
}

func isBusy(err error) bool { return sqliteCode(err) == sqlite3.SQLITE_BUSY }

// sqliteCode is the primary result code, or 0.
func sqliteCode(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & 0xff
	}
	return 0
}
