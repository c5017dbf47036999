package uploader

import (
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// storage is the folder that is backed up. Paths below it may be longer than
// the system takes at once: they are opened in steps.
type storage struct{ root *os.File }

func openStorage(name string) (*storage, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("storage: %s is not a folder", name)
	}
	root, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	return &storage{root}, nil
}

func (s *storage) Close() error { return s.root.Close() }

// step is how much of a path is opened at once: less than Linux's PATH_MAX of
// 4,096 bytes.
const step = 4000

// open opens a file or folder for reading, following links. It does not wait
// for a writer at the other end, should a file have become a named pipe.
func (s *storage) open(path string) (*os.File, error) {
	fd, err := s.openFD(path)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// openFD is open, for who closes the descriptor himself.
func (s *storage) openFD(path string) (int, error) {
	root := int(s.root.Fd())
	dir, rest := root, path
	for len(rest) > step {
		cut := strings.LastIndexByte(rest[:step], '/')
		if cut < 0 {
			return -1, &fs.PathError{Op: "open", Path: path, Err: unix.ENAMETOOLONG}
		}
		next, err := openat(dir, rest[:cut], unix.O_PATH|unix.O_DIRECTORY)
		if dir != root {
			unix.Close(dir)
		}
		if err != nil {
			return -1, &fs.PathError{Op: "open", Path: path, Err: err}
		}
		dir, rest = next, rest[cut+1:]
	}
	fd, err := openat(dir, rest, unix.O_RDONLY|unix.O_NONBLOCK)
	if dir != root {
		unix.Close(dir)
	}
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

func openat(dir int, path string, flags int) (fd int, err error) {
	if path == "" {
		path = "."
	}
	err = retry(func() (err error) {
		fd, err = unix.Openat(dir, path, flags|unix.O_CLOEXEC, 0)
		return err
	})
	return fd, err
}
