package objstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Put writes an object.
func (d *Dir) Put(ctx context.Context, key string, data []byte) error {
	if err := d.put(ctx, key, data); err != nil {
		return d.fail("write", key, err)
	}
	return nil
}

func (d *Dir) put(ctx context.Context, key string, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if key == "" {
		return errNoKey
	}
	t, err := d.newTemp()
	if err != nil {
		return err
	}
	defer t.drop()
	if _, err := t.f.Write(data); err != nil {
		return err
	}
	return t.publish(key)
}

// tempFile is an object before it is one. Its process holds a lock on it until
// it is published or dropped: by that the others know that it is alive.
type tempFile struct {
	d    *Dir
	f    *os.File
	name string // empty once it is published or dropped
}

// startWriting has the disk begin with what was written, which publish then
// waits for less long. It is no more than a hint: not every file system takes it.
func (t *tempFile) startWriting(offset, size int64) {
	_ = unix.SyncFileRange(int(t.f.Fd()), offset, size, unix.SYNC_FILE_RANGE_WRITE)
}

func (d *Dir) newTemp() (*tempFile, error) {
	if err := d.root.Mkdir(tmpDir, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	for {
		t, err := d.tryTemp()
		if err != nil || t != nil {
			return t, err
		}
	}
}

// tryTemp returns nil where a sweep took the file before its lock was on it.
func (d *Dir) tryTemp() (*tempFile, error) {
	name := path.Join(tmpDir, rand.Text())
	f, err := d.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return nil, err
	}
	t := &tempFile{d: d, f: f, name: name}
	err = tryLock(f)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, f.Close() // the sweep has it
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), t.drop())
	}
	if _, err := d.root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil, f.Close()
	}
	return t, nil
}

// publish gives the file its place, for good.
func (t *tempFile) publish(key string) error {
	name, err := keyPath(key)
	if err != nil {
		return err
	}
	if err := t.f.Sync(); err != nil {
		return err
	}
	if err := t.move(name); err != nil {
		return err
	}
	t.name = ""
	return errors.Join(t.d.syncFolders(path.Dir(name)), t.f.Close())
}

func (t *tempFile) move(name string) error {
	var err error
	// Again when a Delete removes a folder that has become empty meanwhile:
	// then it was there for one call and is not for the next.
	for range 20 {
		if err = t.d.root.MkdirAll(path.Dir(name), 0o750); err == nil {
			err = t.d.root.Rename(t.name, name)
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	for _, clash := range []error{syscall.ENOTDIR, syscall.EISDIR, syscall.EEXIST} {
		if errors.Is(err, clash) {
			return fmt.Errorf("a folder cannot hold a file and a folder of one name: %v", err)
		}
	}
	return err
}

// drop removes what was not published.
func (t *tempFile) drop() error {
	if t.name == "" {
		return nil
	}
	err := t.d.root.Remove(t.name)
	t.name = ""
	return errors.Join(err, t.f.Close())
}

// syncFolders makes the names on the way to dir last.
func (d *Dir) syncFolders(dir string) error {
	for ; ; dir = path.Dir(dir) {
		f, err := d.root.Open(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist): // the object was deleted already
		case err != nil:
			return err
		default:
			err = f.Sync()
			f.Close()
			if err != nil {
				return err
			}
		}
		if dir == "." {
			return nil
		}
	}
}

// AbortUploads removes the temporary files of dead processes, of whatever key.
func (d *Dir) AbortUploads(ctx context.Context, prefix string) (int, error) {
	err := ctx.Err()
	if err == nil {
		var n int
		if n, err = d.sweep(0); err == nil {
			return n, nil
		}
	}
	return 0, d.fail("abort uploads of", prefix, err)
}

// sweep removes the temporary files of processes that died, so many as were not
// written to for age. An upload may well take longer than that, but not without
// its lock.
func (d *Dir) sweep(age time.Duration) (n int, err error) {
	folder, err := d.root.Open(tmpDir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer folder.Close()
	names, err := folder.Readdirnames(-1)
	errs := []error{err}
	for _, name := range names {
		swept, err := d.sweepFile(path.Join(tmpDir, name), age)
		if swept {
			n++
		}
		errs = append(errs, err)
	}
	return n, errors.Join(errs...)
}

func (d *Dir) sweepFile(name string, age time.Duration) (swept bool, err error) {
	info, err := d.root.Lstat(name)
	if err == nil && (!info.Mode().IsRegular() || time.Since(info.ModTime()) < age) {
		return false, nil
	}
	var f *os.File
	if err == nil {
		f, err = d.root.Open(name)
	}
	if err == nil {
		defer f.Close()
		err = tryLock(f)
	}
	if err == nil {
		err = d.root.Remove(name)
	}
	// Alive, or published or dropped meanwhile.
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// tryLock locks f for its process, or fails at once if another one has it.
func tryLock(f *os.File) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var locked error
	if err := c.Control(func(fd uintptr) { locked = syscall.Flock(int(fd), syscall.LOCK_EX|syscall.LOCK_NB) }); err != nil {
		return err
	}
	return locked
}
