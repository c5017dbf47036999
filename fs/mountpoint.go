package fs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrMountpoint says that nothing can be mounted on a folder.
var ErrMountpoint = errors.New("unfit mountpoint")

// checkMountpoint tells why nothing can be mounted on dir, or nil. With the
// archive in the mount or the mount in the archive, whoever reads one would wait
// for himself.
func checkMountpoint(dir, archive string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, unix.ENOTCONN):
		return fmt.Errorf("%w: a mount of a program that died is in its place; take it down: fusermount3 -u %s", ErrMountpoint, dir)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%w: it is not a folder", ErrMountpoint)
	}
	if inside, err := isInside(dir, archive); err != nil {
		return err
	} else if inside {
		return fmt.Errorf("%w: it lies in the archive %s", ErrMountpoint, archive)
	}
	if inside, err := isInside(archive, dir); err != nil {
		return err
	} else if inside {
		return fmt.Errorf("%w: the archive %s lies in it", ErrMountpoint, archive)
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if names, err := f.Readdirnames(1); err == nil {
		return fmt.Errorf("%w: it is not empty, it has %q in it", ErrMountpoint, names[0])
	} else if err != io.EOF {
		return err
	}
	return nil
}

// isInside tells whether dir is outer or below it, through whatever links.
func isInside(dir, outer string) (bool, error) {
	want, err := os.Stat(outer)
	if err != nil {
		return false, err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return false, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return false, err
	}
	for {
		info, err := os.Stat(dir)
		if err != nil {
			return false, err
		}
		if os.SameFile(info, want) {
			return true, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return false, nil
		}
		dir = parent
	}
}
