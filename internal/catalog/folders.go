package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/backupname"
)

// ErrNotRegular says that in a file's place is a folder, a link or a special
// file.
var ErrNotRegular = errors.New("it is no regular file")

// Folders opens files of an archive. It keeps the folders open in which it found
// the last ones, so that neighbours are not looked for from the archive's root
// each. It is not safe for concurrent use.
//
// As with an os.Root, nothing outside of the archive is opened. Folders that were
// moved or deleted meanwhile are noticed as soon as a file is not in them.
type Folders struct {
	root *os.Root
	open []openFolder // the one used last comes last
}

type openFolder struct {
	name string // from the root
	file *os.File
}

// maxFolders bounds the open ones. The files of a folder are spread over the
// folders of few versions: most of them over the newest's.
const maxFolders = 8

// NewFolders takes the archive's root folder, which Close does not close.
func NewFolders(root *os.Root) *Folders { return &Folders{root: root} }

// Close closes the folders.
func (f *Folders) Close() {
	for _, o := range f.open {
		_ = o.file.Close()
	}
	f.open = nil
}

// Open opens a file in the folder of a version, and looks at it. It waits for no
// named pipe, and follows no link in the file's place. Errors: ErrNotRegular, and
// the system's.
func (f *Folders) Open(folder backupname.Name, sealedPath string) (*os.File, os.FileInfo, error) {
	name := folder.String() + "/" + sealedPath
	dir, base := path.Split(name)
	dir = dir[:len(dir)-1]
	in, kept, err := f.folder(dir)
	if err != nil {
		return nil, nil, err
	}
	file, err := openIn(in, base, name)
	if kept && isAbsent(err) { // it may be another folder's name by now
		f.forget(dir)
		if in, _, err = f.folder(dir); err == nil {
			file, err = openIn(in, base, name)
		}
	}
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = notRegular(name, info.Mode())
	}
	if err != nil {
		_ = file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

// folder opens a folder, and tells whether it was open.
func (f *Folders) folder(name string) (*os.File, bool, error) {
	if i := slices.IndexFunc(f.open, func(o openFolder) bool { return o.name == name }); i >= 0 {
		o := f.open[i]
		f.open = append(slices.Delete(f.open, i, i+1), o)
		return o.file, true, nil
	}
	file, err := f.root.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, false, err
	}
	if len(f.open) == maxFolders {
		_ = f.open[0].file.Close()
		f.open = slices.Delete(f.open, 0, 1)
	}
	f.open = append(f.open, openFolder{name, file})
	return file, false, nil
}

func (f *Folders) forget(name string) {
	f.open = slices.DeleteFunc(f.open, func(o openFolder) bool {
		if o.name == name {
			_ = o.file.Close()
		}
		return o.name == name
	})
}

// openIn opens what has a name in a folder. That is the name of nothing but what
// is in it: it has no slash, and a link is not followed.
func openIn(dir *os.File, base, name string) (*os.File, error) {
	at := int(dir.Fd())
	for {
		fd, err := unix.Openat(at, base, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		switch err {
		case nil:
			return os.NewFile(uintptr(fd), name), nil
		case unix.EINTR:
			continue
		case unix.ELOOP, unix.ENXIO: // a link; a socket, or a device without a driver
			var st unix.Stat_t
			if serr := unix.Fstatat(at, base, &st, unix.AT_SYMLINK_NOFOLLOW); serr == nil {
				return nil, notRegular(name, modeOf(st.Mode))
			}
		}
		return nil, &fs.PathError{Op: "openat", Path: name, Err: err}
	}
}

// modeOf has the kinds that cannot be opened.
func modeOf(mode uint32) fs.FileMode {
	switch mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return fs.ModeSymlink
	case unix.S_IFSOCK:
		return fs.ModeSocket
	}
	return fs.ModeDevice
}

func notRegular(name string, mode fs.FileMode) error {
	kind := "a special file, " + mode.String()
	switch {
	case mode.IsDir():
		kind = "a folder"
	case mode&fs.ModeSymlink != 0:
		kind = "a symbolic link"
	}
	return fmt.Errorf("%s: %w: %s", name, ErrNotRegular, kind)
}
