package main

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// mount shows the archive, and returns when it can be read.
func mount(l *lists, mountpoint string) (*fuse.Server, error) {
	forever := 365 * 24 * time.Hour // nothing changes
	server, err := fs.Mount(mountpoint, &archive{folder{modified: l.time(0)}, l}, &fs.Options{
		EntryTimeout: &forever, AttrTimeout: &forever,
		UID: uint32(os.Getuid()), GID: uint32(os.Getgid()),
		RootStableAttr: &fs.StableAttr{Ino: fuse.FUSE_ROOT_ID},
		MountOptions: fuse.MountOptions{
			Name: "scale", FsName: "scale", Options: []string{"ro"},
			MaxWrite:      1 << 20, // bounds reads as well
			DisableXAttrs: true,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("cannot mount on %s: %w", mountpoint, err)
	}
	return server, nil
}

// folder is that of a version.
type folder struct {
	fs.Inode
	modified time.Time
}

var _ fs.NodeGetattrer = (*folder)(nil)

func (f *folder) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Nlink = 2
	out.SetTimes(&f.modified, &f.modified, &f.modified)
	return fs.OK
}

// archive is the folder that those of the versions are in.
type archive struct {
	folder
	lists *lists
}

var _ fs.NodeOnAdder = (*archive)(nil)

func (a *archive) OnAdd(ctx context.Context) {
	for v := range a.lists.versions {
		modified := a.lists.time(v)
		version := a.NewPersistentInode(ctx, &folder{modified: modified}, fs.StableAttr{Mode: syscall.S_IFDIR})
		list := a.NewPersistentInode(ctx, &list{lists: a.lists, version: v}, fs.StableAttr{Mode: syscall.S_IFREG})
		version.AddChild("archive-info", list, false)
		a.AddChild(a.lists.name(v), version, false)
	}
}

// list is the file archive-info of a version.
type list struct {
	fs.Inode
	lists   *lists
	version int
}

var (
	_ fs.NodeGetattrer = (*list)(nil)
	_ fs.NodeOpener    = (*list)(nil)
	_ fs.NodeReader    = (*list)(nil)
)

func (n *list) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	modified := n.lists.time(n.version)
	out.Nlink, out.Size = 1, uint64(n.lists.size())
	out.SetTimes(&modified, &modified, &modified)
	return fs.OK
}

func (n *list) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_KEEP_CACHE, fs.OK
}

func (n *list) Read(_ context.Context, _ fs.FileHandle, dest []byte, offset int64) (fuse.ReadResult, syscall.Errno) {
	from := min(offset, n.lists.size())
	to := min(from+int64(len(dest)), n.lists.size())
	return fuse.ReadResultData(n.lists.appendRange(dest[:0], n.version, from, to)), fs.OK
}
