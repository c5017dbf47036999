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
	if err := d.root.Mkdir(tmpDir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	name := path.Join(tmpDir, rand.Text())
	f, err := d.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	t := &tempFile{d: d, f: f, name: name}
	if err := tryLock(f); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), t.drop())
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
		if err = t.d.root.MkdirAll(path.Dir(name), 0o755); err == nil {
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

// sweep removes the temporary files of processes that died, best effort: the
// store may be read-only. An upload may well take longer than a day, but not
// without its lock.
func (d *Dir) sweep() {
	folder, err := d.root.Open(tmpDir)
	if err != nil {
		return
	}
	defer folder.Close()
	names, _ := folder.Readdirnames(-1)
	for _, name := range names {
		name = path.Join(tmpDir, name)
		info, err := d.root.Lstat(name)
		if err != nil || !info.Mode().IsRegular() || time.Since(info.ModTime()) < 24*time.Hour {
			continue
		}
		f, err := d.root.Open(name)
		if err != nil {
			continue
		}
		if tryLock(f) == nil {
			_ = d.root.Remove(name)
		}
		f.Close()
	}
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
