package catalog

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
)

// lock keeps two processes from creating or deleting a database at once: SQLite
// guards what is in the file, not the file.
func lock(path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// remove deletes a database; what is not firn's is set aside instead.
func remove(path string) error {
	if own, err := isOwn(path); err != nil {
		return err
	} else if !own {
		if err := os.Rename(path, path+".damaged"); err != nil {
			return err
		}
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// isOwn tells by SQLite's header, whose bytes 68 to 71 are the application's id.
// No file at all and an empty one are firn's too.
func isOwn(path string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	var header [72]byte
	switch n, err := io.ReadFull(f, header[:]); err {
	case nil:
		return binary.BigEndian.Uint32(header[68:]) == applicationID, nil
	case io.EOF, io.ErrUnexpectedEOF:
		return n == 0, nil
	default:
		return false, err
	}
}

// connector makes the connections of a database.
type connector struct {
	driver.Connector
	db *database
}

// pool opens no connection yet.
func (db *database) pool(parameters ...string) (*sql.DB, error) {
	u := url.URL{Scheme: "file", OmitHost: true, Path: db.path, RawQuery: "_pragma=busy_timeout(5000)"}
	for _, p := range parameters {
		u.RawQuery += "&" + p
	}
	base, err := sqlite.NewConnector(u.String())
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector{base, db}), nil
}

// Connect makes sure that all connections are to one file.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err == nil && c.db.file != nil {
		if err = c.db.check(); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return conn, err
}

// check tells whether the file is still the one that was opened.
func (db *database) check() error {
	now, err := os.Lstat(db.path)
	if err != nil || !os.SameFile(now, db.file) {
		return errReplaced
	}
	return nil
}
