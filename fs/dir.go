package fs

import (
	"context"
	"iter"
	"syscall"

	gofuse "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// dirHandle is an open folder. It reads the entries as they are asked for,
// however many there are. The library calls it from one goroutine at a time.
type dirHandle struct {
	list   iter.Seq2[fuse.DirEntry, error] // yields the same each time
	report func(error) syscall.Errno
	next   func() (fuse.DirEntry, error, bool)
	stop   func()
	offset uint64 // how many entries were read
}

var _ = interface {
	gofuse.FileReaddirenter
	gofuse.FileSeekdirer
	gofuse.FileReleasedirer
}((*dirHandle)(nil))

// newDirHandle puts "." and ".." before the list.
func newDirHandle(folder *gofuse.Inode, list iter.Seq2[fuse.DirEntry, error], report func(error) syscall.Errno) *dirHandle {
	self, above := folder.StableAttr(), folder.StableAttr()
	if _, parent := folder.Parent(); parent != nil {
		above = parent.StableAttr()
	}
	d := &dirHandle{report: report, list: func(yield func(fuse.DirEntry, error) bool) {
		if yield(dirEntry(".", self), nil) && yield(dirEntry("..", above), nil) {
			list(yield)
		}
	}}
	d.rewind()
	return d
}

func (d *dirHandle) rewind() {
	if d.stop != nil {
		d.stop()
	}
	d.next, d.stop = iter.Pull2(d.list)
	d.offset = 0
}

// Readdirent returns the next entry, or nil at the end.
func (d *dirHandle) Readdirent(context.Context) (*fuse.DirEntry, syscall.Errno) {
	entry, err, ok := d.next()
	if !ok {
		return nil, 0
	}
	if err != nil {
		return nil, d.report(err)
	}
	d.offset++
	entry.Off = d.offset
	return &entry, 0
}

// Seekdir goes to where an entry said that the next one follows. It reads over
// what lies between, for the numbers are counts.
func (d *dirHandle) Seekdir(ctx context.Context, offset uint64) syscall.Errno {
	if offset < d.offset {
		d.rewind()
	}
	for d.offset < offset {
		entry, errno := d.Readdirent(ctx)
		if errno != 0 || entry == nil {
			return errno
		}
	}
	return 0
}

func (d *dirHandle) Releasedir(context.Context, uint32) { d.stop() }
