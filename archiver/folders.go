package archiver

import (
	lru "container/list"
	"errors"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// folders keeps those folders of the archive open that were used last, so that
// what is done with a file needs no look at the folders above it: on a disk on a
// network each such look is a wait. Each is opened by one name from the one above
// it and never through a symbolic link, so nothing leads out of the archive.
//
// A folder that is left, because others were used since, is removed when what
// moved out of it left it empty. All methods but close may be called at once.
type folders struct {
	disk *disk
	mu   sync.Mutex
	open map[string]*folder
	used lru.List // *folder, the one that was used last in front
}

// maxFolders is how many are kept open, besides those that somebody is at.
const maxFolders = 64

// folder is an open folder, or one that is known not to be there.
type folder struct {
	path    string // below the archive's folder, "." for that one
	users   int
	element *lru.Element

	opening sync.Mutex
	file    *os.File // nil: not opened, or not there
	err     error    // why not

	vacated atomic.Bool // something moved out of it
}

func newFolders(d *disk) *folders { return &folders{disk: d, open: map[string]*folder{}} }

// get opens a folder, and makes it and those above it where it has to be there.
// put gives it back. A folder that is not there is asked for once.
func (f *folders) get(dir string, create bool) (*folder, error) {
	d, err := f.acquire(dir, create)
	if err := f.shrink(maxFolders); err != nil {
		return nil, err
	}
	return d, err
}

func (f *folders) acquire(dir string, create bool) (*folder, error) {
	f.mu.Lock()
	d := f.open[dir]
	if d == nil {
		d = &folder{path: dir}
		d.element = f.used.PushFront(d)
		f.open[dir] = d
	}
	f.used.MoveToFront(d.element)
	d.users++
	f.mu.Unlock()

	d.opening.Lock()
	defer d.opening.Unlock()
	if d.file == nil && (d.err == nil || create) {
		d.file, d.err = f.openFolder(dir, create)
	}
	if d.err != nil {
		f.put(d)
		return nil, d.err
	}
	return d, nil
}

func (f *folders) put(d *folder) {
	f.mu.Lock()
	d.users--
	f.mu.Unlock()
}

func (f *folders) openFolder(dir string, create bool) (*os.File, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	if dir == "." {
		return openAt(f.disk.dir, ".", dir, flags, 0)
	}
	above, err := f.acquire(path.Dir(dir), create)
	if err != nil {
		return nil, err
	}
	defer f.put(above)
	name := path.Base(dir)
	if create {
		f.disk.step("make " + dir)
		err := again(func() error { return unix.Mkdirat(above.fd(), name, dirMode) })
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, &os.PathError{Op: "mkdir", Path: dir, Err: err}
		}
	}
	return openAt(above.file, name, dir, flags, 0)
}

// shrink leaves the folders that were not used for longest, until there are no
// more than most.
func (f *folders) shrink(most int) error {
	for {
		f.mu.Lock()
		d := f.idle(most)
		if d != nil {
			f.forget(d)
		}
		f.mu.Unlock()
		if d == nil {
			return nil
		}
		if err := f.leave(d); err != nil {
			return err
		}
	}
}

func (f *folders) idle(most int) *folder {
	if len(f.open) <= most {
		return nil
	}
	for e := f.used.Back(); e != nil; e = e.Prev() {
		if d := e.Value.(*folder); d.users == 0 {
			return d
		}
	}
	return nil
}

func (f *folders) forget(d *folder) {
	delete(f.open, d.path)
	f.used.Remove(d.element)
}

// leave closes a folder that nobody uses, and removes it if it is of no use.
func (f *folders) leave(d *folder) error {
	if d.file == nil {
		return nil
	}
	if err := d.file.Close(); err != nil {
		return err
	}
	if d.vacated.Load() {
		f.removeEmpty(d.path)
	}
	return nil
}

// removeEmpty removes a folder below a version's, unless something is in it. What
// fails here is left to be tried again, or to lie there: no version needs it gone.
func (f *folders) removeEmpty(dir string) {
	above, err := f.acquire(path.Dir(dir), false)
	if err != nil {
		return
	}
	defer f.put(above)
	f.disk.step("remove-empty " + dir)
	if err := again(func() error { return unix.Unlinkat(above.fd(), path.Base(dir), unix.AT_REMOVEDIR) }); err != nil {
		return
	}
	if strings.Contains(above.path, "/") {
		above.vacated.Store(true)
	}
}

// close leaves all folders, those below before those above. Nobody may use one
// any more.
func (f *folders) close() error {
	for len(f.open) > 0 {
		for _, dir := range slices.Backward(slices.Sorted(maps.Keys(f.open))) {
			d := f.open[dir]
			f.forget(d)
			if err := f.leave(d); err != nil {
				return err
			}
		}
	}
	return nil
}

// abandon closes all folders, and changes nothing.
func (f *folders) abandon() {
	for _, d := range f.open {
		if d.file != nil {
			d.file.Close()
		}
	}
	clear(f.open)
}

func (d *folder) fd() int { return int(d.file.Fd()) }

// size is that of a regular file, or -1 where there is none of that name. That the
// disk does not answer does not mean that there is none.
func (d *folder) size(name string) (int64, error) {
	var st unix.Stat_t
	err := again(func() error { return unix.Fstatat(d.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	switch {
	case err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG:
		return st.Size, nil
	case err == nil, isAbsent(err):
		return -1, nil
	}
	return -1, &os.PathError{Op: "stat", Path: d.path + "/" + name, Err: err}
}

// openFile does not wait for a writer where somebody put a named pipe.
func (d *folder) openFile(name string) (*os.File, error) {
	return openAt(d.file, name, d.path+"/"+name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
}

func (f *folders) create(dir *folder, name string) (*os.File, error) {
	f.disk.step("create " + dir.path + "/" + name)
	return openAt(dir.file, name, dir.path+"/"+name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, fileMode)
}

// move renames a file into a folder below a version's, which is made.
func (f *folders) move(from *folder, name, dir, newName string) error {
	to, err := f.get(dir, true)
	if err != nil {
		return err
	}
	defer f.put(to)
	f.disk.step("rename " + dir + "/" + newName)
	err = again(func() error { return unix.Renameat(from.fd(), name, to.fd(), newName) })
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from.path + "/" + name, New: dir + "/" + newName, Err: err}
	}
	return nil
}

func openAt(dir *os.File, name, path string, flags int, mode uint32) (*os.File, error) {
	fd := -1
	err := again(func() (err error) {
		fd, err = unix.Openat(int(dir.Fd()), name, flags, mode)
		return err
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// again does what a signal interrupted once more: the runtime sends itself many,
// and network file systems end their calls then.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// isAbsent tells errors that say that there is no such file.
func isAbsent(err error) bool { return notExist(err) || isUnplaceable(err) }
