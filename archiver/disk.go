package archiver

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/signature"
)

// What is not yet, or no longer, part of a version lies here: on the same file
// system, and beside the versions, where no backup's file can have its name.
const (
	workDir     = ".firn"
	downloadDir = workDir + "/download"     // <backup>/<number of the line>: arrived, not yet safe
	trashDir    = workDir + "/trash"        // <version>: being deleted
	newList     = workDir + "/archive-info" // being written
	fetchedList = workDir + "/backup-info"  // of the backup at work
	lockFile    = workDir + "/lock"

	newSignature = workDir + "/backup-info" + signature.Suffix // being written
)

// Sealed files are nobody's to read but lists hold the names of all files: no one
// but the archiver's own user and group looks in.
const (
	dirMode  = 0o750
	fileMode = 0o640
)

// disk is the archive's folder. All paths are relative to it. It is an os.Root,
// so that no list, package or symbolic link leads out of it, and so that paths
// may be longer than the system takes in one piece.
type disk struct {
	root *os.Root
	dir  *os.File // the root itself
	held *heldLock
	step func(string)

	syncfs func(fd int) error
}

func openDisk(name string, step func(string)) (*disk, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w: make the folder first, or mount its disk", ErrNoArchive, err)
	}
	dir, err := root.Open(".")
	if err != nil {
		root.Close()
		return nil, err
	}
	return &disk{root: root, dir: dir, step: step, syncfs: unix.Syncfs}, nil
}

func (d *disk) close() {
	if d.held != nil {
		d.held.release()
	}
	d.dir.Close()
	d.root.Close()
}

// folders are the names of the archive's folders, by storage and oldest first,
// whether or not they are versions yet.
func (d *disk) folders() (map[string][]backupname.Name, error) {
	entries, err := d.entries(".")
	if err != nil {
		return nil, err
	}
	storages := map[string][]backupname.Name{}
	for _, e := range entries {
		if name, err := backupname.Parse(e.Name()); err == nil && e.IsDir() {
			storages[name.Storage()] = append(storages[name.Storage()], name)
		}
	}
	for _, names := range storages {
		slices.SortFunc(names, backupname.Compare)
	}
	return storages, nil
}

func (d *disk) entries(dir string) ([]fs.DirEntry, error) {
	f, err := d.root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ReadDir(-1)
}

// names lists a folder, which may be missing.
func (d *disk) names(dir string) (names []string, err error) {
	entries, err := d.entries(dir)
	if notExist(err) {
		return nil, nil
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names, err
}

// That the disk does not answer does not mean that there is nothing.

func (d *disk) exists(path string) (bool, error) {
	_, err := d.root.Lstat(path)
	if isAbsent(err) {
		return false, nil
	}
	return err == nil, err
}

func (d *disk) isDir(path string) (bool, error) {
	info, err := d.root.Lstat(path)
	if isAbsent(err) {
		return false, nil
	}
	return err == nil && info.IsDir(), err
}

// regular looks at a regular file. Where there is none, it returns nil.
func (d *disk) regular(path string) (fs.FileInfo, error) {
	info, err := d.root.Lstat(path)
	switch {
	case err == nil && info.Mode().IsRegular():
		return info, nil
	case err == nil, isAbsent(err):
		return nil, nil
	}
	return nil, err
}

// holds tells that there is a regular file of that size and hash.
func (d *disk) holds(ctx context.Context, path string, size int64, hash manifest.Hash) (bool, error) {
	info, err := d.regular(path)
	if info == nil || info.Size() != size {
		return false, err
	}
	f, err := d.root.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return hashIs(ctx, f, hash)
}

// contextReader ends reading when ctx does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// listOf is the path of a version's list, or "" where the folder is no version.
func (d *disk) listOf(name backupname.Name) (string, error) {
	for _, list := range manifest.ArchiveInfoNames {
		path := name.String() + "/" + list
		if info, err := d.regular(path); info != nil || err != nil {
			return path, err
		}
	}
	return "", nil
}

// versions are those of the folders that are versions, in the same order.
func (d *disk) versions(folders []backupname.Name) (versions []backupname.Name, err error) {
	for _, name := range folders {
		list, err := d.listOf(name)
		if err != nil {
			return nil, err
		}
		if list != "" {
			versions = append(versions, name)
		}
	}
	return versions, nil
}

// someEntries is how many of a folder's are in memory.
const someEntries = 1024

// eachEntry reads a folder some entries at a time. They may be removed meanwhile.
func (d *disk) eachEntry(dir string, do func(fs.DirEntry) error) error {
	f, err := d.root.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		entries, err := f.ReadDir(someEntries)
		for _, e := range entries {
			if err := do(e); err != nil {
				return err
			}
		}
		if err != nil {
			return ignoreEOF(err)
		}
	}
}

// bytes sums the sizes of the regular files below a folder.
func (d *disk) bytes(dir string) (total int64, err error) {
	err = d.eachEntry(dir, func(e fs.DirEntry) error {
		path, n := dir+"/"+e.Name(), int64(0)
		if e.IsDir() {
			var err error
			if n, err = d.bytes(path); err != nil {
				return err
			}
		} else if info, err := d.root.Lstat(path); err == nil && info.Mode().IsRegular() {
			n = info.Size()
		}
		total += n
		return nil
	})
	return total, err
}

// sweep removes the folders below one in which no file lies, and tells whether
// that one is empty then.
func (d *disk) sweep(dir string) (empty bool, err error) {
	empty = true
	err = d.eachEntry(dir, func(e fs.DirEntry) error {
		path := dir + "/" + e.Name()
		if e.IsDir() {
			if hollow, err := d.sweep(path); err != nil {
				return err
			} else if hollow {
				d.step("remove-empty " + path)
				return d.root.Remove(path)
			}
		}
		empty = false
		return nil
	})
	return empty, err
}

func (d *disk) mkdirAll(dir string) error {
	d.step("make " + dir)
	return d.root.MkdirAll(dir, dirMode)
}

func (d *disk) create(path string) (*os.File, error) {
	d.step("create " + path)
	return d.root.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
}

func (d *disk) rename(from, to string) error {
	d.step("rename " + to)
	return d.root.Rename(from, to)
}

func (d *disk) removeAll(path string) error {
	if there, err := d.exists(path); !there {
		return err
	}
	d.step("remove " + path)
	return d.root.RemoveAll(path)
}

// removeEmpty removes a folder, unless something is in it.
func (d *disk) removeEmpty(dir string) {
	if is, err := d.isDir(dir); is && err == nil { // a link would be removed whatever it leads to
		d.step("remove-empty " + dir)
		_ = d.root.Remove(dir)
	}
}

// discard deletes a folder such that nobody sees half of it, not even after a
// crash.
func (d *disk) discard(dir string) error {
	if err := d.mkdirAll(trashDir); err != nil {
		return err
	}
	if err := d.rename(dir, trashDir+"/"+dir); err != nil {
		return err
	}
	if err := d.fsync(".", trashDir); err != nil {
		return err
	}
	return d.removeAll(trashDir)
}
