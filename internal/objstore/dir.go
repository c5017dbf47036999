package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
	"time"
)

// Dir is a folder as a store: one regular file an object, the key its path. A
// tree of files made by anything else reads as it is; symbolic links and
// special files are no objects, and none leads out of the folder.
//
// Keys that a file system cannot hold are escaped (see keyPath). What it still
// cannot hold is an object "a" beside an object "a/b": writing the second of
// them is an error.
//
// A write survives a crash once it has returned: file and folders are synced.
// What it makes is for its owner and group only, 0640 and 0750.
// Several processes may use one folder.
type Dir struct {
	root *os.Root
	name string
}

var _ Store = (*Dir)(nil)

// OpenDir opens the store in an existing folder. It does not make the folder:
// it may be missing because a disk is not mounted. What killed processes left
// half written more than a day ago is removed.
func OpenDir(name string) (*Dir, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", name, err)
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, fmt.Errorf("open store %s: make the folder first, or mount its disk: %w", abs, dirError(err))
	}
	d := &Dir{root: root, name: abs}
	_, _ = d.sweep(24 * time.Hour) // best effort: the store may be read-only
	return d, nil
}

// String is the file URL of the folder.
func (d *Dir) String() string { return URL{Scheme: "file", Path: d.name}.String() }

// Head describes one object.
func (d *Dir) Head(ctx context.Context, key string) (Object, error) {
	info, _, err := d.stat(ctx, key)
	if err != nil {
		return Object{}, d.fail("look up", key, err)
	}
	return Object{Key: key, Size: info.Size(), Modified: info.ModTime()}, nil
}

// Get reads a range of an object. The reader keeps to the object as it was at
// the call, also when it is replaced or deleted meanwhile.
func (d *Dir) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	r, err := d.get(ctx, key, offset, length)
	if err != nil {
		return nil, d.fail("read", key, err)
	}
	return r, nil
}

func (d *Dir) get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	// Looked at first, because opening a named pipe would block.
	_, name, err := d.stat(ctx, key)
	if err != nil {
		return nil, err
	}
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		length, err = span(info.Size(), offset, length)
	}
	if err == nil {
		_, err = f.Seek(offset, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &fileRange{ctx: ctx, f: f, left: length}, nil
}

// stat finds the regular file of a key.
func (d *Dir) stat(ctx context.Context, key string) (fs.FileInfo, string, error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	name, err := keyPath(key)
	if err != nil {
		return nil, "", err
	}
	info, err := d.root.Lstat(name)
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	return info, name, err
}

// Delete removes objects and the folders that become empty by that.
func (d *Dir) Delete(ctx context.Context, keys ...string) error {
	var errs []error
	for _, key := range keys {
		if err := d.remove(ctx, key); err != nil {
			if err = d.fail("delete", key, err); !errors.Is(err, ErrNotFound) {
				errs = append(errs, err)
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

func (d *Dir) remove(ctx context.Context, key string) error {
	_, name, err := d.stat(ctx, key)
	if err != nil {
		return err
	}
	if err := d.root.Remove(name); err != nil {
		return err
	}
	// Up to the first that holds something else, or is a link to a folder,
	// which Remove would take away whatever the folder holds.
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if info, err := d.root.Lstat(dir); err != nil || !info.IsDir() || d.root.Remove(dir) != nil {
			break
		}
	}
	return nil
}

// fail names the object and translates the error.
func (d *Dir) fail(op, key string, err error) error {
	return fmt.Errorf("%s %q in %s: %w", op, key, d, dirError(err))
}

func dirError(err error) error {
	switch {
	// Below a file there is nothing: as little as in a folder that is missing.
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", ErrDenied, err)
	}
	return err
}

// fileRange reads the left bytes of f. A file that somebody cut is an error,
// not an end.
type fileRange struct {
	ctx  context.Context
	f    *os.File
	left int64
}

func (r *fileRange) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.f.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (r *fileRange) Close() error { return r.f.Close() }
