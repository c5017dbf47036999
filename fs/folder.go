package fs

import (
	"context"
	"iter"
	"syscall"

	gofuse "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/manifest"
)

// maxName is the longest name of a file that Linux knows. What a list has
// beyond it cannot be shown; `firn restore` tells of it.
const maxName = 255

// folderNode is a folder of a version, or the version itself.
type folderNode struct {
	gofuse.Inode
	t       *tree
	version catalog.Version
	path    string // below the version's own folder, which is ""
}

var _ = interface {
	gofuse.NodeGetattrer
	gofuse.NodeLookuper
	gofuse.NodeOpendirHandler
	gofuse.NodeStatfser
}((*folderNode)(nil))

func folderIdentity(v catalog.Version, path string) gofuse.StableAttr {
	return identity(syscall.S_IFDIR, v.Name.String(), path)
}

func fileIdentity(v catalog.Version, path string) gofuse.StableAttr {
	return identity(syscall.S_IFREG, v.Name.String(), path)
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
	found, err := n.t.catalog.Lookup(ctx, n.version, path)
	if err != nil {
		return nil, n.report(err, "look up", path)
	}
	if found.Dir {
		n.t.folderAttr(&out.Attr, n.version.Name.Time())
		return n.NewInode(ctx, &folderNode{t: n.t, version: n.version, path: path}, folderIdentity(n.version, path)), 0
	}
	file := newFileNode(n.t, n.version, &found.Entry)
	file.fill(&out.Attr)
	return n.NewInode(ctx, file, fileIdentity(n.version, path)), 0
}

func (n *folderNode) OpendirHandle(context.Context, uint32) (gofuse.FileHandle, uint32, syscall.Errno) {
	report := func(err error) syscall.Errno { return n.report(err, "list", n.path) }
	const cached = fuse.FOPEN_CACHE_DIR | fuse.FOPEN_KEEP_CACHE
	return newDirHandle(&n.Inode, n.list, report), cached, 0
}

// list yields what is in the folder. The request that begins to read a folder
// has ended when others read on, so its context is the mount's.
func (n *folderNode) list(yield func(fuse.DirEntry, error) bool) {
	for found, err := range n.t.catalog.ReadDir(n.t.ctx, n.version, n.path) {
		if err == nil && len(found.Name) > maxName {
			n.t.log.Warn("left out a name that is too long", "version", n.version.Name.String(), "folder", n.path, "name", manifest.EscapePath(found.Name[:maxName])+"...")
			continue
		}
		identity := fileIdentity
		if found.Dir {
			identity = folderIdentity
		}
		if !yield(dirEntry(found.Name, identity(n.version, join(n.path, found.Name))), err) {
			return
		}
	}
}

func (n *folderNode) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	statfs([]catalog.Version{n.version}, out)
	return 0
}

func dirEntry(name string, id gofuse.StableAttr) fuse.DirEntry {
	return fuse.DirEntry{Name: name, Mode: id.Mode, Ino: id.Ino}
}

func listOf(entries []fuse.DirEntry) iter.Seq2[fuse.DirEntry, error] {
	return func(yield func(fuse.DirEntry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}
