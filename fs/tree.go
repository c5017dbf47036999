package fs

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
)

// versionTimeout is how long the kernel keeps what is in a version, which never
// changes. A version that is pruned goes away with its own folder.
const versionTimeout = time.Hour

// tree is what all nodes share.
type tree struct {
	ctx      context.Context // ends with the mount
	catalog  *catalog.Catalog
	opener   *envelope.Opener
	cache    *cache
	files    openFiles
	ahead    readAhead
	keys     keysAhead
	stats    stats
	versions *versionList
	wanted   atomic.Int64 // in how many folders to give away attributes: see folderHandle
	uid, gid uint32
	log      *slog.Logger
	wg       sync.WaitGroup // what goes on in the background

	saidMu sync.Mutex
	said   map[string]bool // what was logged and is not to be again
}

// indexPatience is how long the catalog may take to keep an index, also when the
// mount ends.
const indexPatience = 5 * time.Second

// keepIndex saves the search for the blocks of a file the next time.
func (t *tree) keepIndex(e *manifest.Entry, index []byte) {
	t.wg.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), indexPatience)
		defer cancel()
		if err := t.catalog.KeepBlockIndex(ctx, e.SealedSHA512, index); err != nil {
			t.log.Debug("cannot keep where the blocks of a file are", "path", e.Path, "error", err)
		}
	})
}

// nodeID names what the mount shows, by its path. Inode numbers made of it stay
// the same from mount to mount, and the generation makes files whose numbers
// collide differ all the same.
type nodeID [16]byte

// child is what is in a folder. One hash serves both listings and lookups: with
// names of usual lengths it takes a single block.
func (id nodeID) child(name string) (c nodeID) {
	var room [128]byte
	sum := sha256.Sum256(append(append(room[:0], id[:]...), name...))
	copy(c[:], sum[:])
	return c
}

func (id nodeID) inode() uint64 {
	ino := binary.BigEndian.Uint64(id[:])
	if ino+1 < 3 { // 0 and the last one are reserved, 1 is the root's
		ino += 3
	}
	return ino
}

func (id nodeID) attr(mode uint32) gofuse.StableAttr {
	return gofuse.StableAttr{Mode: mode, Ino: id.inode(), Gen: binary.BigEndian.Uint64(id[8:])}
}

// The numbers of all else begin with those of the folders at the top.
func storageID(storage string) nodeID { return nodeID{}.child(storage) }

func versionID(v *catalog.Version) nodeID {
	return storageID(v.Name.Storage()).child(v.Name.TimeText())
}

func (t *tree) folderAttr(a *fuse.Attr, modified time.Time) {
	a.Mode = syscall.S_IFDIR | 0o555
	// 1 says that nobody counted the folders in it: programs that take the
	// number for a count of them would not look for more.
	a.Nlink = 1
	t.attr(a, modified)
}

func (t *tree) attr(a *fuse.Attr, modified time.Time) {
	a.Owner = fuse.Owner{Uid: t.uid, Gid: t.gid}
	a.SetTimes(&modified, &modified, &modified)
}

// report logs an error, and returns what to tell the program. at is an offset,
// or negative.
func (t *tree) report(err error, doing, version, path string, at int64) syscall.Errno {
	errno := errnoOf(err)
	// The text of an error about a key names the key.
	if isExpected(errno) || errno == syscall.EACCES && !t.isNew(err.Error()) {
		return errno
	}
	args := []any{"version", version, "path", path}
	if at >= 0 {
		args = append(args, "offset", at)
	}
	t.log.Error("cannot "+doing, append(args, "error", err)...)
	return errno
}

// isNew tells that something was not logged before, and is worth it.
func (t *tree) isNew(what string) bool {
	t.saidMu.Lock()
	defer t.saidMu.Unlock()
	const enough = 100
	if t.said[what] || len(t.said) >= enough {
		return false
	}
	if t.said == nil {
		t.said = map[string]bool{}
	}
	t.said[what] = true
	return true
}
