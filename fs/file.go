package fs

import (
	"context"
	"errors"
	"io"
	iofs "io/fs"
	"sync/atomic"
	"syscall"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
)

// preferredIO is the size of the requests that programs are told to make, which
// is also the largest that the kernel makes of them.
const preferredIO = 1 << 20

// fileNode is a file of a version. There can be millions of them in the
// kernel's cache, so it holds no entry of the catalog.
type fileNode struct {
	gofuse.Inode
	t        *tree
	version  catalog.Version
	path     string
	size     int64
	modified time.Time
	mode     iofs.FileMode
	damaged  atomic.Bool // what the kernel cached of it may be wrong
}

var _ = interface {
	gofuse.NodeGetattrer
	gofuse.NodeOpener
}((*fileNode)(nil))

func newFileNode(t *tree, v catalog.Version, e *manifest.Entry) *fileNode {
	n := &fileNode{t: t, version: v, path: e.Path, size: e.Size, modified: e.Modified, mode: 0o444}
	if e.HasMode {
		n.mode = e.Mode.Perm() &^ 0o222
	}
	if n.modified.IsZero() {
		n.modified = v.Name.Time()
	}
	return n
}

func (n *fileNode) fill(a *fuse.Attr) {
	a.Mode = syscall.S_IFREG | uint32(n.mode)
	a.Nlink = 1
	a.Size = uint64(n.size)
	a.Blocks = (a.Size + 511) / 512
	a.Blksize = preferredIO
	n.t.attr(a, n.modified)
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
	found, err := n.t.catalog.Lookup(ctx, n.version, n.path)
	if err == nil && found.Dir {
		err = catalog.ErrChanged
	}
	if err != nil {
		return nil, 0, n.report(err, -1)
	}
	sealed, err := n.t.catalog.OpenSealed(ctx, n.version, &found.Entry)
	if err != nil {
		return nil, 0, n.report(err, -1)
	}
	cache := uint32(fuse.FOPEN_KEEP_CACHE)
	if n.damaged.Load() {
		cache = 0
	}
	return &fileHandle{node: n, reader: newPlainReader(n.t.memory, n.t.opener, sealed, &found.Entry)}, cache, 0
}

func (n *fileNode) report(err error, at int64) syscall.Errno {
	return n.t.report(err, "read", n.version.Name.String(), n.path, at)
}

// fileHandle is an open file.
type fileHandle struct {
	node   *fileNode
	reader *plainReader
	logged atomic.Bool
}

var _ = interface {
	gofuse.FileReader
	gofuse.FileReleaser
}((*fileHandle)(nil))

// Read is called by several goroutines at once: the kernel reads ahead.
func (h *fileHandle) Read(ctx context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n, err := h.reader.ReadAt(ctx, dest, off)
	if err == nil || err == io.EOF {
		return fuse.ReadResultData(dest[:n]), 0
	}
	if errors.Is(err, envelope.ErrDamaged) {
		h.node.damaged.Store(true)
	}
	// A short answer would be taken for the end of the file, so what was read
	// before the error is not given. The kernel asks for it page by page.
	errno := errnoOf(err)
	if !isExpected(errno) && h.logged.CompareAndSwap(false, true) {
		h.node.report(err, off+int64(n))
	}
	return nil, errno
}

func (h *fileHandle) Release(context.Context) syscall.Errno {
	return errnoOf(h.reader.Close())
}
