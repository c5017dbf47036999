package archiver

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// sync makes files and folders survive a crash: all of the file system with one
// call, which for thousands of small files is far quicker than one for each.
// Linux reports failed writes there since 5.8.
func (d *disk) sync(paths ...string) error {
	d.step("sync")
	err := unix.Syncfs(int(d.dir.Fd()))
	if errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.EINVAL) {
		return d.fsync(paths...)
	}
	if err != nil {
		return fmt.Errorf("syncing the file system of %s: %w", d.root.Name(), err)
	}
	return nil
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
