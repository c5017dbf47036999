package fs

import (
	"context"
	"encoding/json"
	"io"
	"sync/atomic"
	"syscall"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// statsName is a file of the mount's own in its root folder. It is not listed:
// who copies the folder does not want it.
const statsName = ".firn-stats"

// stats count what the mount does. The zero value is ready for use.
type stats struct {
	opens, reads, bytesRead                              atomic.Int64
	blockHits, blockMisses, blocksAhead, blocksAheadUsed atomic.Int64
	sealedBytesRead, evicted, keysAhead, streamedFiles   atomic.Int64
	errors                                               [256]atomic.Int64 // by errno
}

// Stats are what a mount did since it was made, and what it holds now.
type Stats struct {
	Opens           int64            `json:"opens"`
	Reads           int64            `json:"reads"`
	BytesRead       int64            `json:"bytesRead"`       // of plain data
	BlockHits       int64            `json:"blockHits"`       // blocks that were there, or on their way
	BlockMisses     int64            `json:"blockMisses"`     // blocks that a reader had to wait for
	BlocksAhead     int64            `json:"blocksAhead"`     // fetched before somebody asked
	BlocksAheadUsed int64            `json:"blocksAheadUsed"` // of them, those that somebody read then
	SealedBytesRead int64            `json:"sealedBytesRead"` // from the archive
	Evicted         int64            `json:"evicted"`         // blocks
	CacheBytes      int64            `json:"cacheBytes"`
	CacheLimit      int64            `json:"cacheLimit"` // bytes
	OpenFiles       int              `json:"openFiles"`
	StreamedFiles   int64            `json:"streamedFiles"` // open ones that are read from the beginning
	KeysAhead       int64            `json:"keysAhead"`     // keys of files that were opened before somebody asked
	Errors          map[string]int64 `json:"errors"`        // what programs were told, by its name: EIO
}

// Stats are the numbers of now. They may be asked for concurrently, and after
// the end of the mount.
func (s *Server) Stats() Stats { return s.tree.numbers() }

func (s *stats) fail(errno syscall.Errno) {
	if int(errno) < len(s.errors) {
		s.errors[errno].Add(1)
	}
}

func (t *tree) numbers() Stats {
	s := &t.stats
	r := Stats{
		Opens: s.opens.Load(), Reads: s.reads.Load(), BytesRead: s.bytesRead.Load(),
		BlockHits: s.blockHits.Load(), BlockMisses: s.blockMisses.Load(),
		BlocksAhead: s.blocksAhead.Load(), BlocksAheadUsed: s.blocksAheadUsed.Load(),
		SealedBytesRead: s.sealedBytesRead.Load(), Evicted: s.evicted.Load(),
		CacheBytes: t.cache.usedBytes(), CacheLimit: t.cache.max,
		OpenFiles: t.files.count(), StreamedFiles: s.streamedFiles.Load(), KeysAhead: s.keysAhead.Load(),
		Errors: map[string]int64{},
	}
	for errno := range s.errors {
		if n := s.errors[errno].Load(); n > 0 {
			r.Errors[unix.ErrnoName(syscall.Errno(errno))] = n
		}
	}
	return r
}

// countReads counts what is read of a sealed file.
type countReads struct {
	io.ReaderAt
	bytes *atomic.Int64
}

func (c countReads) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, off)
	c.bytes.Add(int64(n))
	return n, err
}

// statsNode is the file of the mount's numbers: those of when it was opened.
type statsNode struct {
	gofuse.Inode
	t *tree
}

var _ = interface {
	gofuse.NodeGetattrer
	gofuse.NodeOpener
}((*statsNode)(nil))

func (n *statsNode) fill(a *fuse.Attr) {
	a.Mode = syscall.S_IFREG | 0o444
	a.Nlink = 1
	n.t.attr(a, time.Now())
}

func (n *statsNode) Getattr(_ context.Context, _ gofuse.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.fill(&out.Attr)
	out.SetTimeout(refreshInterval)
	return 0
}

// Open takes the numbers. Nobody knows their length before, so the kernel must
// ask for them until they end, and must not cache them.
func (n *statsNode) Open(_ context.Context, flags uint32) (gofuse.FileHandle, uint32, syscall.Errno) {
	if flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		return nil, 0, syscall.EROFS
	}
	text, err := json.MarshalIndent(n.t.numbers(), "", "  ")
	if err != nil {
		return nil, 0, n.t.report(err, "read", "", statsName, -1)
	}
	return &statsHandle{append(text, '\n')}, fuse.FOPEN_DIRECT_IO, 0
}

type statsHandle struct{ text []byte }

var _ gofuse.FileReader = (*statsHandle)(nil)

func (h *statsHandle) Read(_ context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	rest := h.text[min(max(0, off), int64(len(h.text))):]
	return fuse.ReadResultData(rest[:min(len(rest), len(dest))]), 0
}
