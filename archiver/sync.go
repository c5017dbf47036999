package archiver

import (
	"errors"
	"fmt"
	"syscall"
)

// errNotSafe says that what was written may not be on the disk.
var errNotSafe = errors.New("not all may be on the disk")

// sync makes files and folders survive a crash: all of the file system with one
// call, which for thousands of small files is far quicker than one for each.
// Linux reports failed writes there since 5.8.
func (d *disk) sync() error {
	d.step("sync")
	if err := d.syncfs(int(d.dir.Fd())); err != nil {
		return fmt.Errorf("syncing the file system of %s: %w: %w", d.root.Name(), errNotSafe, err)
	}
	return nil
}

// distrust gives up what arrived and was not moved yet, if err is a failed sync,
// of this backup and of all others. The system tells of a failed write once, and
// may go on to show what was written: the next run would take it for whole.
func (d *disk) distrust(err error) error {
	if !errors.Is(err, errNotSafe) {
		return err
	}
	return errors.Join(err, d.removeAll(downloadDir))
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
