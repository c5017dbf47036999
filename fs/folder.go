package fs

import (
	"context"
	"syscall"

	gofuse "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/manifest"
)

// maxName is the longest name of a file that Linux knows. What a list has
// beyond it cannot be shown; `firn restore` tells of it.
const maxName = 255

// folderNode is a folder of a version, or the version itself. All that are below
// share its version.
type folderNode struct {
	gofuse.Inode
	t       *tree
	version *catalog.Version
	path    string // below the version's own folder, which is ""
	id      nodeID
}

var _ = interface {
	gofuse.NodeGetattrer
	gofuse.NodeLookuper
	gofuse.NodeOpendirHandler
	gofuse.NodeStatfser
}((*folderNode)(nil))

func newVersionNode(t *tree, v catalog.Version) *folderNode {
	return &folderNode{t: t, version: &v, id: versionID(&v)}
}

func join(folder, name string) string {
	if folder == "" {
		return name
	}
	return folder + "/" + name
}

func (n *folderNode) report(err error, doing, path string) syscall.Errno {
	return n.t.report(err, doing, n.version.Name.String(), path, -1)
}

func (n *folderNode) Getattr(_ context.Context, _ gofuse.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.t.folderAttr(&out.Attr, n.version.Name.Time())
	return 0
}

func (n *folderNode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*gofuse.Inode, syscall.Errno) {
	path := join(n.path, name)
	found, err := n.t.catalog.Item(ctx, *n.version, path)
	if err != nil {
		return nil, n.report(err, "look up", path)
	}
	if !found.Dir {
		n.t.wanted.Store(foldersWanted)
	}
	return n.child(ctx, &found, name, out), 0
}

// child makes the inode of what was found. The name is kept for as long as the
// kernel knows the file: it is the one that the library keeps as well.
func (n *folderNode) child(ctx context.Context, found *catalog.Item, name string, out *fuse.EntryOut) *gofuse.Inode {
	id := n.id.child(name)
	if found.Dir {
		n.t.folderAttr(&out.Attr, n.version.Name.Time())
		return n.NewInode(ctx, &folderNode{t: n.t, version: n.version, path: join(n.path, name), id: id}, id.attr(syscall.S_IFDIR))
	}
	file := newFileNode(n, found, name)
	file.fill(&out.Attr)
	return n.NewInode(ctx, file, id.attr(syscall.S_IFREG))
}

func (n *folderNode) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	statfs([]catalog.Version{*n.version}, out)
	return 0
}

func (n *folderNode) OpendirHandle(context.Context, uint32) (gofuse.FileHandle, uint32, syscall.Errno) {
	list := &folderEntries{folder: n, list: n.t.catalog.List(*n.version, n.path), attributes: n.t.wanted.Load() > 0}
	const cached = fuse.FOPEN_CACHE_DIR | fuse.FOPEN_KEEP_CACHE
	return &folderHandle{dirHandle: newDirHandle(&n.Inode, list), list: list}, cached, 0
}

// folderEntries are what is in a folder of a version.
type folderEntries struct {
	folder *folderNode
	list   *catalog.Listing
	page   []catalog.Item
	read   int           // how many of the page were read
	before string        // the name before the last one that was read; "": there is none
	failed syscall.Errno // what ended it, until it is rewound

	attributes bool // are in the page
}

func (f *folderEntries) rewind() {
	f.list.After("")
	f.page, f.read, f.before, f.failed = nil, 0, "", 0
}

func (f *folderEntries) next(e *fuse.DirEntry) (bool, syscall.Errno) {
	item, errno := f.item()
	if item == nil {
		return false, errno
	}
	e.Name, e.Mode, e.Ino = item.Name, syscall.S_IFREG, f.folder.id.child(item.Name).inode()
	if item.Dir {
		e.Mode = syscall.S_IFDIR
	}
	return true, 0
}

// item reads the next one; nil: there is none. The request that begins to read a
// folder has ended when others read on, so the context is the mount's.
func (f *folderEntries) item() (*catalog.Item, syscall.Errno) {
	n := f.folder
	for {
		if f.failed != 0 {
			return nil, f.failed
		}
		if f.read > 0 {
			f.before = f.page[f.read-1].Name
		}
		if f.read == len(f.page) {
			page, err := f.list.Next(n.t.ctx, f.attributes)
			f.page, f.read = page, 0
			if err != nil {
				f.failed = n.report(err, "list", n.path)
				continue
			}
			if len(page) == 0 {
				return nil, 0
			}
		}
		f.read++
		item := &f.page[f.read-1]
		if len(item.Name) <= maxName {
			return item, 0
		}
		n.t.log.Warn("left out a name that is too long", "version", n.version.Name.String(), "folder", n.path, "name", manifest.EscapePath(item.Name[:maxName])+"...")
	}
}

// last is the item that was read last, with its attributes: from now on the pages
// have them.
func (f *folderEntries) last() (*catalog.Item, syscall.Errno) {
	item := &f.page[f.read-1]
	if f.attributes || item.Dir {
		return item, 0
	}
	name := item.Name
	f.attributes = true
	f.list.After(f.before)
	f.page, f.read = nil, 0
	item, errno := f.item()
	if errno == 0 && (item == nil || item.Name != name) {
		errno = syscall.ESTALE // the version was replaced
		f.failed = errno
	}
	return item, errno
}

// foldersWanted is in how many folders the attributes of files are given away
// with the names, after somebody looked a file up.
const foldersWanted = 16

// folderHandle is an open folder of a version.
type folderHandle struct {
	*dirHandle
	list  *folderEntries
	given bool // files are, with their attributes
}

var _ gofuse.FileLookuper = (*folderHandle)(nil)

// Lookup gives the kernel what it asks for with the names that it reads, so that it
// need not look them up one by one. It asks for it in each folder that is
// opened, since it cannot know yet whether somebody wants it; later on in a
// folder, only where somebody does. So that `find` does not fill the memory of
// both sides with files that nobody looks at, files are left out until somebody
// looked one up, in this folder or in one of the last ones.
func (h *folderHandle) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*gofuse.Inode, syscall.Errno) {
	f := h.list
	if f.read == 0 || f.page[f.read-1].Name != name { // an answer that was not used up is given again
		if !h.given && f.folder.t.wanted.Load() <= 0 {
			return nil, syscall.ENOSYS
		}
		return f.folder.Lookup(ctx, name, out)
	}
	if !h.given && !f.page[f.read-1].Dir {
		if f.folder.t.wanted.Add(-1) < 0 {
			return nil, syscall.ENOSYS
		}
		h.given = true
	}
	item, errno := f.last()
	if errno != 0 {
		return nil, errno
	}
	return f.folder.child(ctx, item, name, out), 0
}

func dirEntry(name string, id gofuse.StableAttr) fuse.DirEntry {
	return fuse.DirEntry{Name: name, Mode: id.Mode, Ino: id.Ino}
}
