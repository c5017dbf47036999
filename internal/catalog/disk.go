package catalog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
)

// stamp tells whether the list of a version is still the one that was read.
type stamp struct {
	name  backupname.Name
	list  string // its file name
	size  int64
	mtime int64 // nanoseconds since 1970
}

// folderNames are the names of all backups that have a folder in the archive,
// with a list or without one, in order. All else in it is somebody else's.
func folderNames(root string) ([]backupname.Name, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("cannot read the archive: %w", err)
	}
	var names []backupname.Name
	for _, e := range entries {
		if name, err := backupname.Parse(e.Name()); err == nil && e.IsDir() {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, backupname.Compare)
	return names, nil
}

// scan finds all versions of the archive, in order.
func scan(root string) ([]stamp, error) {
	names, err := folderNames(root)
	if err != nil {
		return nil, err
	}
	var stamps []stamp
	for _, name := range names {
		if s, ok := statList(root, name); ok {
			stamps = append(stamps, s)
		}
	}
	return stamps, nil
}

// statList finds the list of a folder. A list that is there but cannot be
// looked at is found too: to read it will tell why.
func statList(root string, name backupname.Name) (stamp, bool) {
	for _, list := range manifest.ArchiveInfoNames {
		info, err := os.Lstat(filepath.Join(root, name.String(), list))
		switch {
		case err == nil:
			return stampOf(name, list, info), true
		case !isAbsent(err):
			return stamp{name: name, list: list, size: -1}, true
		}
	}
	return stamp{}, false
}

func stampOf(name backupname.Name, list string, info fs.FileInfo) stamp {
	return stamp{name, list, info.Size(), info.ModTime().UnixNano()}
}

// openList opens a list, and says what exactly was opened.
func openList(root string, s stamp) (io.ReadCloser, stamp, error) {
	// Without O_NONBLOCK, a named pipe would be waited for.
	f, err := os.OpenFile(filepath.Join(root, s.name.String(), s.list), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, s, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a regular file")
	}
	if err != nil {
		return nil, s, errors.Join(err, f.Close())
	}
	return f, stampOf(s.name, s.list, info), nil
}

// isReadable tells whether the whole list can be read, whatever it holds.
func isReadable(root string, s stamp) bool {
	f, _, err := openList(root, s)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, f)
	return err == nil
}

// isAbsent tells that a path leads to no file, rather than to one that cannot
// be read. ESTALE: the folder went away on the server.
func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ESTALE)
}
