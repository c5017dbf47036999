package fs

import (
	"sync"

	gofuse "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// replays has open folders go back by themselves where a program took only a part
// of an answer. The library would give the rest again from what it keeps, and drops
// without a word what does not fit: so it is when the kernel asks for names alone
// first, and then for names with attributes.
type replays struct {
	fuse.RawFileSystem
	mu   sync.Mutex
	next map[uint64]uint64 // by open folder: the offset behind the last answer
}

// nowhere is an offset that no answer has.
const nowhere = 1 << 62

func newFileSystem(root gofuse.InodeEmbedder, options *gofuse.Options) fuse.RawFileSystem {
	return &replays{RawFileSystem: gofuse.NewNodeFS(root, options), next: map[uint64]uint64{}}
}

func (r *replays) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	r.before(cancel, in)
	defer r.after(in, out)
	return r.RawFileSystem.ReadDir(cancel, in, out)
}

func (r *replays) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	r.before(cancel, in)
	defer r.after(in, out)
	return r.RawFileSystem.ReadDirPlus(cancel, in, out)
}

// before makes the library forget its last answer where this one does not follow it:
// dirHandle knows nowhere, and gives nothing there.
func (r *replays) before(cancel <-chan struct{}, in *fuse.ReadIn) {
	r.mu.Lock()
	next, known := r.next[in.Fh]
	r.mu.Unlock()
	if !known || next == in.Offset {
		return
	}
	away := *in
	away.Offset = nowhere
	_ = r.RawFileSystem.ReadDir(cancel, &away, fuse.NewDirEntryList(nil, nowhere))
}

func (r *replays) after(in *fuse.ReadIn, out *fuse.DirEntryList) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next[in.Fh] = out.Offset
}

func (r *replays) ReleaseDir(in *fuse.ReleaseIn) {
	r.mu.Lock()
	delete(r.next, in.Fh)
	r.mu.Unlock()
	r.RawFileSystem.ReleaseDir(in)
}
