package fs

import (
	"bytes"
	"context"
	"sync/atomic"
	"syscall"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/chipster/firn/internal/catalog"
)

// preferredIO is the size of the requests that programs are told to make, which
// is also the largest that the kernel makes of them.
const preferredIO = 1 << 20

// fileNode is a file of a version. There can be millions of them in the
// kernel's cache, so it holds no entry of the catalog, and shares what it can.
type fileNode struct {
	gofuse.Inode
	folder      *folderNode
	name        string // shared with the library
	size        int64
	seconds     int64 // of the modification, since 1970
	nanoseconds uint32
	mode        uint32
	cached      atomic.Pointer[atomic.Bool] // openFile.safe of the opening that the kernel's cache may hold bytes of; nil: none yet
}

var _ = interface {
	gofuse.NodeGetattrer
	gofuse.NodeOpener
}((*fileNode)(nil))

func newFileNode(folder *folderNode, found *catalog.Item, name string) *fileNode {
	modified := found.Modified
	if modified.IsZero() {
		modified = folder.version.Name.Time()
	}
	n := &fileNode{folder: folder, name: name, size: found.Size, seconds: modified.Unix(), nanoseconds: uint32(modified.Nanosecond()), mode: 0o444}
	if found.HasMode {
		n.mode = uint32(found.Mode.Perm() &^ 0o222)
	}
	return n
}

func (n *fileNode) path() string { return join(n.folder.path, n.name) }

func (n *fileNode) fill(a *fuse.Attr) {
	a.Mode = syscall.S_IFREG | n.mode
	a.Nlink = 1
	a.Size = uint64(n.size)
	a.Blocks = (a.Size + 511) / 512
	a.Blksize = preferredIO
	n.folder.t.attr(a, time.Unix(n.seconds, int64(n.nanoseconds)))
}

func (n *fileNode) Getattr(_ context.Context, _ gofuse.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.fill(&out.Attr)
	return 0
}

// Open opens the sealed file and holds it until the release: it stays readable
// when it is moved or pruned meanwhile.
func (n *fileNode) Open(ctx context.Context, flags uint32) (gofuse.FileHandle, uint32, syscall.Errno) {
	if flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		return nil, 0, syscall.EROFS
	}
	t, v := n.folder.t, *n.folder.version
	found, err := t.catalog.Lookup(ctx, v, n.path())
	if err == nil && found.Dir {
		err = catalog.ErrChanged
	}
	if err != nil {
		return nil, 0, n.report(err, -1)
	}
	t.keys.opened(t, v, &found.Entry)
	file, err := t.open(ctx, v, &found.Entry)
	if err != nil {
		return nil, 0, n.report(err, -1)
	}
	t.stats.opens.Add(1)
	return &fileHandle{node: n, file: file, window: window{shared: &t.ahead}}, n.cacheFlags(file), 0
}

// cacheFlags lets the kernel keep what it cached of the file before only where
// all that it can have cached was verified, or where it is of the same opening:
// what it answers itself is not counted to who reads the whole file.
func (n *fileNode) cacheFlags(f *openFile) uint32 {
	if before := n.cached.Swap(f.safe); before == nil || before == f.safe || before.Load() {
		return fuse.FOPEN_KEEP_CACHE
	}
	return 0
}

func (n *fileNode) report(err error, at int64) syscall.Errno {
	t := n.folder.t
	errno := t.report(err, "read", n.folder.version.Name.String(), n.path(), at)
	t.stats.fail(errno)
	return errno
}

// fileHandle is an open file.
type fileHandle struct {
	node   *fileNode
	file   *openFile
	window window
	logged atomic.Bool
}

var _ = interface {
	gofuse.FileReader
	gofuse.FileReleaser
}((*fileHandle)(nil))

// maxParts is how many blocks an answer is put together of without copying them.
const maxParts = 64

// Read is called by several goroutines at once: the kernel reads ahead.
func (h *fileHandle) Read(ctx context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	s := &h.node.folder.t.stats
	s.reads.Add(1)
	parts, n, err := h.file.read(ctx, &h.window, off, len(dest))
	if err == nil {
		s.bytesRead.Add(int64(n))
		if len(parts) > maxParts {
			parts = [][]byte{bytes.Join(parts, nil)}
		}
		return fuse.ReadResultVector(parts), 0
	}
	// A short answer would be taken for the end of the file, so what was read
	// before the error is not given. The kernel asks for it page by page.
	errno := errnoOf(err)
	if !isExpected(errno) && h.logged.CompareAndSwap(false, true) {
		return nil, h.node.report(err, off+int64(n))
	}
	s.fail(errno)
	return nil, errno
}

func (h *fileHandle) Release(context.Context) syscall.Errno {
	h.window.close()
	return errnoOf(h.file.release())
}
