package archiver

import (
	"errors"
	"fmt"
	"syscall"
)

// sync makes files and folders survive a crash: all of the file system with one
// call, which for thousands of small files is far quicker than one for each.
// Linux reports failed writes there since 5.8.
func (d *disk) sync(paths ...string) error {
	d.step("sync")
	err := d.syncfs(int(d.dir.Fd()))
	if isUnsupported(err) {
		return d.fsync(paths...)
	}
	if err != nil {
		return fmt.Errorf("syncing the file system of %s: %w", d.root.Name(), err)
	}
	return nil
}

// syncsAll tells whether sync does all of the file system. Where it does not,
// folders are synced one by one when they are left.
func (d *disk) syncsAll() (bool, error) {
	d.asked.Do(func() {
		err := d.syncfs(int(d.dir.Fd()))
		if d.all = !isUnsupported(err); d.all {
			d.failed = err // which the system tells once
		}
	})
	return d.all, d.failed
}

func isUnsupported(err error) bool {
	return errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.EINVAL)
}

func (d *disk) fsync(paths ...string) error {
	for _, path := range paths {
		f, err := d.root.Open(path)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// isUnplaceable tells errors of one path, which a hostile or odd list can
// cause, from those of the disk, such as a full one.
func isUnplaceable(err error) bool {
	for _, e := range []error{syscall.ENOTDIR, syscall.EISDIR, syscall.EEXIST, syscall.ENOTEMPTY, syscall.ENAMETOOLONG, syscall.EINVAL, syscall.EILSEQ, syscall.ELOOP} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
