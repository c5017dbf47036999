package fs

import (
	"context"
	"syscall"

	gofuse "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// entries are what is in a folder, one after the other.
type entries interface {
	// next puts the next one into e; false: there is none.
	next(e *fuse.DirEntry) (bool, syscall.Errno)
	rewind()
}

// dirHandle is an open folder. It reads the entries as they are asked for,
// however many there are. The library calls it from one goroutine at a time.
type dirHandle struct {
	entries
	above  [2]fuse.DirEntry // "." and "..", which come first
	offset uint64           // how many entries were read
	entry  fuse.DirEntry    // the last one

	last   []fuse.DirEntry // that were read, up to twice maxLast
	again  int             // how many of them are to be given again
	nobody bool            // knows where it is: see replays
}

// maxLast is how far a folder goes back without being read anew: an answer has
// fewer entries, unless it is one of hundreds of kilobytes.
const maxLast = 4096

var _ = interface {
	gofuse.FileReaddirenter
	gofuse.FileSeekdirer
}((*dirHandle)(nil))

func newDirHandle(folder *gofuse.Inode, list entries) *dirHandle {
	self, above := folder.StableAttr(), folder.StableAttr()
	if _, parent := folder.Parent(); parent != nil {
		above = parent.StableAttr()
	}
	return &dirHandle{entries: list, above: [2]fuse.DirEntry{
		{Name: ".", Mode: self.Mode, Ino: self.Ino}, {Name: "..", Mode: above.Mode, Ino: above.Ino},
	}}
}

// Readdirent returns the next entry, or nil at the end. It is valid until the next
// call: the library copies it.
func (d *dirHandle) Readdirent(context.Context) (*fuse.DirEntry, syscall.Errno) {
	switch {
	case d.nobody:
		return nil, 0
	case d.again > 0:
		d.entry = d.last[len(d.last)-d.again]
		d.again--
		return &d.entry, 0
	}
	if d.offset < uint64(len(d.above)) {
		d.entry = d.above[d.offset]
	} else if ok, errno := d.next(&d.entry); !ok || errno != 0 {
		return nil, errno
	}
	d.offset++
	d.entry.Off = d.offset
	if len(d.last) == 2*maxLast {
		d.last = append(d.last[:0], d.last[maxLast:]...)
	}
	d.last = append(d.last, d.entry)
	return &d.entry, 0
}

// Seekdir goes to where an entry said that the next one follows. It reads over
// what lies between, for the numbers are counts.
func (d *dirHandle) Seekdir(ctx context.Context, offset uint64) syscall.Errno {
	d.again = 0
	if d.nobody = offset == nowhere; d.nobody {
		return 0
	}
	if offset < d.offset && d.offset-offset <= uint64(len(d.last)) {
		d.again = int(d.offset - offset)
		return 0
	}
	if offset < d.offset {
		d.rewind()
		d.offset, d.last = 0, nil
	}
	for d.offset < offset {
		if entry, errno := d.Readdirent(ctx); errno != 0 || entry == nil {
			return errno
		}
	}
	return 0
}

// fewEntries are those of the folders at the top.
type fewEntries struct {
	all  []fuse.DirEntry
	left []fuse.DirEntry
}

func newFewEntries(all []fuse.DirEntry) *fewEntries { return &fewEntries{all, all} }

func (f *fewEntries) rewind() { f.left = f.all }

func (f *fewEntries) next(e *fuse.DirEntry) (bool, syscall.Errno) {
	if len(f.left) == 0 {
		return false, 0
	}
	*e, f.left = f.left[0], f.left[1:]
	return true, 0
}
