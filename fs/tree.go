package fs

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"sync"
	"syscall"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
)

// versionTimeout is how long the kernel keeps what is in a version, which never
// changes. A version that is pruned goes away with its own folder.
const versionTimeout = time.Hour

// tree is what all nodes share.
type tree struct {
	ctx      context.Context // ends with the mount
	catalog  *catalog.Catalog
	opener   *envelope.Opener
	memory   *memory
	versions *versionList
	uid, gid uint32
	log      *slog.Logger

	keyMu sync.Mutex
	keys  map[string]bool // the complaints about keys that were logged
}

// identity makes inode numbers that stay the same from mount to mount. The
// generation makes files whose numbers collide differ all the same.
func identity(mode uint32, version, path string) gofuse.StableAttr {
	sum := sha256.Sum256([]byte(version + "\x00" + path))
	ino := binary.BigEndian.Uint64(sum[:])
	if ino+1 < 3 { // 0 and the last one are reserved, 1 is the root's
		ino += 3
	}
	return gofuse.StableAttr{Mode: mode, Ino: ino, Gen: uint64(binary.BigEndian.Uint32(sum[8:]))}
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
	if isExpected(errno) || errno == syscall.EACCES && !t.isNewKey(err) {
		return errno
	}
	args := []any{"version", version, "path", path}
	if at >= 0 {
		args = append(args, "offset", at)
	}
	t.log.Error("cannot "+doing, append(args, "error", err)...)
	return errno
}

// isNewKey tells whether a missing key was not complained about before. The
// error's text names the key.
func (t *tree) isNewKey(err error) bool {
	t.keyMu.Lock()
	defer t.keyMu.Unlock()
	const enough = 100
	text := err.Error()
	if t.keys[text] || len(t.keys) >= enough {
		return false
	}
	t.keys[text] = true
	return true
}
