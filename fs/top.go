package fs

import (
	"context"
	"slices"
	"syscall"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/catalog"
)

// rootNode is the folder of the storages.
type rootNode struct {
	gofuse.Inode
	t *tree
}

var _ = interface {
	gofuse.NodeGetattrer
	gofuse.NodeLookuper
	gofuse.NodeOpendirHandler
	gofuse.NodeStatfser
}((*rootNode)(nil))

func (n *rootNode) Getattr(ctx context.Context, _ gofuse.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.t.folderAttr(&out.Attr, newest(n.t.versions.get(ctx)))
	out.SetTimeout(refreshInterval)
	return 0
}

// newest is the time of the newest version.
func newest(versions []catalog.Version) (at time.Time) {
	for _, v := range versions {
		if v.Name.Time().After(at) {
			at = v.Name.Time()
		}
	}
	return at
}

func (n *rootNode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*gofuse.Inode, syscall.Errno) {
	out.SetEntryTimeout(refreshInterval)
	out.SetAttrTimeout(refreshInterval)
	if name == statsName {
		node := &statsNode{t: n.t}
		node.fill(&out.Attr)
		return n.NewInode(ctx, node, nodeID{}.child(statsName).attr(syscall.S_IFREG)), 0
	}
	versions := n.t.versions.of(ctx, name)
	if len(versions) == 0 {
		return nil, syscall.ENOENT
	}
	n.t.folderAttr(&out.Attr, newest(versions))
	return n.NewInode(ctx, &storageNode{t: n.t, storage: name}, storageID(name).attr(syscall.S_IFDIR)), 0
}

func (n *rootNode) OpendirHandle(ctx context.Context, _ uint32) (gofuse.FileHandle, uint32, syscall.Errno) {
	var entries []fuse.DirEntry
	for _, v := range n.t.versions.get(ctx) {
		storage := v.Name.Storage()
		if len(entries) == 0 || entries[len(entries)-1].Name != storage {
			entries = append(entries, dirEntry(storage, storageID(storage).attr(syscall.S_IFDIR)))
		}
	}
	return newDirHandle(&n.Inode, newFewEntries(entries)), 0, 0
}

func (n *rootNode) Statfs(ctx context.Context, out *fuse.StatfsOut) syscall.Errno {
	statfs(n.t.versions.get(ctx), out)
	return 0
}

// statfs shows a full disk of all that the versions hold.
func statfs(versions []catalog.Version, out *fuse.StatfsOut) {
	const unit = 4096
	for _, v := range versions {
		out.Blocks += uint64(v.Size+unit-1) / unit
		out.Files += uint64(v.Files)
	}
	out.Bsize, out.Frsize, out.NameLen = unit, unit, maxName
}

// storageNode is the folder of a storage's versions.
type storageNode struct {
	gofuse.Inode
	t       *tree
	storage string
}

var _ = interface {
	gofuse.NodeGetattrer
	gofuse.NodeLookuper
	gofuse.NodeOpendirHandler
}((*storageNode)(nil))

func (n *storageNode) Getattr(ctx context.Context, _ gofuse.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.t.folderAttr(&out.Attr, newest(n.t.versions.of(ctx, n.storage)))
	out.SetTimeout(refreshInterval)
	return 0
}

func (n *storageNode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*gofuse.Inode, syscall.Errno) {
	out.SetEntryTimeout(refreshInterval)
	versions := n.t.versions.of(ctx, n.storage)
	if name == catalog.Latest && len(versions) > 0 {
		link := &latestNode{t: n.t, target: versions[len(versions)-1].Name}
		link.fill(&out.Attr)
		return n.NewInode(ctx, link, latestIdentity(link.target)), 0
	}
	i := slices.IndexFunc(versions, func(v catalog.Version) bool { return v.Name.TimeText() == name })
	if i < 0 {
		return nil, syscall.ENOENT
	}
	v := versions[i]
	n.t.folderAttr(&out.Attr, v.Name.Time())
	return n.NewInode(ctx, newVersionNode(n.t, v), versionID(&v).attr(syscall.S_IFDIR)), 0
}

func (n *storageNode) OpendirHandle(ctx context.Context, _ uint32) (gofuse.FileHandle, uint32, syscall.Errno) {
	var entries []fuse.DirEntry
	versions := n.t.versions.of(ctx, n.storage)
	for _, v := range versions {
		entries = append(entries, dirEntry(v.Name.TimeText(), versionID(&v).attr(syscall.S_IFDIR)))
	}
	if len(versions) > 0 {
		entries = append(entries, dirEntry(catalog.Latest, latestIdentity(versions[len(versions)-1].Name)))
	}
	return newDirHandle(&n.Inode, newFewEntries(entries)), 0, 0
}

// latestNode is the symbolic link to the newest version, readable or not: who
// asks for the latest is not to get an older one without a word. For another
// version it is another file, so the kernel may keep what it says, and need not ask
// for each file below it.
type latestNode struct {
	gofuse.Inode
	t      *tree
	target backupname.Name
}

var _ = interface {
	gofuse.NodeGetattrer
	gofuse.NodeReadlinker
}((*latestNode)(nil))

func latestIdentity(target backupname.Name) gofuse.StableAttr {
	return storageID(target.Storage()).child(catalog.Latest + "/" + target.TimeText()).attr(syscall.S_IFLNK)
}

func (n *latestNode) fill(a *fuse.Attr) {
	a.Mode = syscall.S_IFLNK | 0o777
	a.Nlink = 1
	a.Size = uint64(len(n.target.TimeText()))
	n.t.attr(a, n.target.Time())
}

func (n *latestNode) Getattr(_ context.Context, _ gofuse.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.fill(&out.Attr)
	return 0
}

func (n *latestNode) Readlink(context.Context) ([]byte, syscall.Errno) {
	return []byte(n.target.TimeText()), 0
}
