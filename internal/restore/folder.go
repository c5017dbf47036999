package restore

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// folder is an open folder of the target. Its methods take the names of what is in
// it, without slashes, and follow no links: nothing else can be reached by them.
type folder struct{ *os.File }

// folder opens a folder in the target, and makes it where it is missing. nil in
// a dry run says that it is missing.
func (r *run) folder(name string) (*folder, error) {
	if r.target == nil {
		return nil, nil
	}
	const flags = os.O_RDONLY | unix.O_DIRECTORY | unix.O_NONBLOCK
	dir, err := r.target.OpenFile(name, flags, 0)
	if errors.Is(err, os.ErrNotExist) {
		if r.DryRun {
			return nil, nil
		}
		if err := r.target.MkdirAll(name, 0o777); err != nil {
			return nil, err
		}
		dir, err = r.target.OpenFile(name, flags, 0)
	}
	if err != nil {
		return nil, err
	}
	return &folder{dir}, nil
}

// at calls the system with the folder, again when a signal interrupted it.
func (d *folder) at(op, name string, call func(fd int) error) error {
	fd := int(d.Fd())
	for {
		err := call(fd)
		switch err {
		case nil:
			return nil
		case unix.EINTR:
			continue
		}
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
}

func (d *folder) lstat(name string) (st unix.Stat_t, err error) {
	err = d.at("lstat", name, func(fd int) error { return unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return st, err
}

// open opens a file, which must not be a link; of a named pipe it waits for
// nobody.
func (d *folder) open(name string, flags int, mode uint32) (file *os.File, err error) {
	err = d.at("open", name, func(at int) error {
		fd, err := unix.Openat(at, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		if err == nil {
			file = os.NewFile(uintptr(fd), name)
		}
		return err
	})
	return file, err
}

// create makes a new file, in place of one that a killed run left. Where it is to
// get a mode, nobody else can open it before.
func (d *folder) create(name string, hasMode bool) (*os.File, error) {
	mode := uint32(0o666)
	if hasMode {
		mode = 0o600
	}
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL
	file, err := d.open(name, flags, mode)
	if errors.Is(err, os.ErrExist) {
		if err = d.remove(name); err == nil {
			file, err = d.open(name, flags, mode)
		}
	}
	return file, err
}

func (d *folder) remove(name string) error {
	return d.at("remove", name, func(fd int) error { return unix.Unlinkat(fd, name, 0) })
}

func (d *folder) rename(from, to string) error {
	return d.at("rename", to, func(fd int) error { return unix.Renameat(fd, from, fd, to) })
}

// setTime sets the time of modification, and leaves that of access.
func (d *folder) setTime(name string, modified unix.Timespec) error {
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, modified}
	return d.at("set the time of", name, func(fd int) error { return unix.UtimesNanoAt(fd, name, times, unix.AT_SYMLINK_NOFOLLOW) })
}
