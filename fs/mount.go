// Package fs mounts the versions of an archive as folders of plain files.
//
// The root holds a folder for each storage, that one for each version, named by
// its time, and "latest", a symbolic link. Below are the files as they were
// backed up, read-only. New versions appear, and pruned ones vanish, without a
// new mount.
//
// It promises that a file that is read to its end is what was backed up, or
// that the read fails; that an open file stays readable when the archiver moves
// or prunes it; and that memory is bounded by options, not by the archive, but
// for some 600 bytes for each file that the kernel remembers: those that somebody
// looked at, until it needs the room.
// Reads at one place and another of a file are as good as its list: with a table
// of blocks they are verified one by one, without one when all was read.
//
// A file is read block by block. Blocks are cached, each is fetched once
// however many wait for it, and those that lie ahead of who reads straight on are
// fetched before they are asked for.
//
// It knows nothing of owners, which lists do not have, and of extended
// attributes.
package fs

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	gofuse "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
)

// DefaultCacheBytes holds some hundred blocks. A file that can only be read from
// its beginning takes as much as 24 of them.
const DefaultCacheBytes = 256 << 20

// minCacheBytes is a streamed file and a block of it, or four of the largest
// blocks.
const minCacheBytes = 32 << 20

// Options of a mount. Archive, Catalog, Opener and Mountpoint are required.
type Options struct {
	Archive    string           // folder of the archive, which the mountpoint must be apart from
	Catalog    *catalog.Catalog // of the archive; stays open until the mount has ended
	Opener     *envelope.Opener
	Mountpoint string           // an empty folder
	AllowOther bool             // other users may look into the mount
	Storage    string           // show this storage alone; "" is all
	Version    *catalog.Version // show this version at the root; nil is all
	// CacheBytes bounds the decoded data in memory over all open files; the
	// garbage collector lets the process grow to twice that. 0 is
	// DefaultCacheBytes; less than 32 MiB is 32 MiB.
	CacheBytes int64
	// Logger hears of what programs are told as EIO or EACCES. Nil is
	// slog.Default.
	Logger *slog.Logger
}

func (o *Options) applyDefaults() {
	if o.CacheBytes == 0 {
		o.CacheBytes = DefaultCacheBytes
	}
	o.CacheBytes = max(o.CacheBytes, minCacheBytes)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}

// Mount mounts, and returns when the mount can be read.
func Mount(o Options) (*Server, error) {
	o.applyDefaults()
	mountpoint, err := filepath.Abs(o.Mountpoint)
	if err != nil {
		return nil, err
	}
	if err := checkMountpoint(o.Mountpoint, o.Archive); err != nil {
		return nil, fmt.Errorf("cannot mount on %s: %w", o.Mountpoint, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t := &tree{
		ctx: ctx, catalog: o.Catalog, opener: o.Opener,
		ahead: newReadAhead(runtime.GOMAXPROCS(0), o.CacheBytes), keys: newKeysAhead(),
		versions: &versionList{ctx: ctx, catalog: o.Catalog, storage: o.Storage, log: o.Logger},
		uid:      uint32(os.Geteuid()), gid: uint32(os.Getegid()), log: o.Logger,
	}
	t.cache = newCache(o.CacheBytes, &t.stats)
	s := &Server{mountpoint: mountpoint, tree: t, cancel: cancel}
	if err = t.versions.load(); err == nil {
		s.fuse, err = serve(t, mountpoint, o)
	}
	if err != nil {
		s.end()
		return nil, fmt.Errorf("cannot mount on %s: %w", o.Mountpoint, err)
	}
	if _, err := os.Stat(o.Mountpoint); err != nil {
		_ = s.Detach()
		s.Wait()
		return nil, fmt.Errorf("the mount does not answer: %w", err)
	}
	s.raiseReadAhead()
	return s, nil
}

func serve(t *tree, mountpoint string, o Options) (*fuse.Server, error) {
	options := fuseOptions(o)
	server, err := fuse.NewServer(newFileSystem(rootOf(t, o), options), mountpoint, &options.MountOptions)
	if err != nil {
		return nil, err
	}
	go server.Serve()
	return server, server.WaitMount()
}

func rootOf(t *tree, o Options) gofuse.InodeEmbedder {
	if o.Version != nil {
		return newVersionNode(t, *o.Version)
	}
	return &rootNode{t: t}
}

func fuseOptions(o Options) *gofuse.Options {
	timeout := versionTimeout
	options := &gofuse.Options{
		EntryTimeout: &timeout, AttrTimeout: &timeout, NegativeTimeout: &timeout,
		NullPermissions: true,
		RootStableAttr:  &gofuse.StableAttr{Ino: fuse.FUSE_ROOT_ID},
		Logger:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelWarn),
	}
	options.MountOptions = fuse.MountOptions{
		Name: "firn", FsName: o.Archive,
		AllowOther: o.AllowOther,
		Options:    []string{"default_permissions"}, // the kernel checks modes
		MaxWrite:   preferredIO,                     // bounds reads as well
		// Reads that wait for blocks count; the default of 12 would let a few
		// large files keep all others waiting.
		MaxBackground: 32,
		// When the kernel drops a large cache it sends a storm of notes, each
		// in a buffer of its own.
		MaxInflightRequestBytes: 64 << 20,
		DisableXAttrs:           true,
		EnableSymlinkCaching:    true, // see latestNode
		// Reads are answered from memory: there is nothing to splice, and a
		// reply of 1 MiB and its header is more than a pipe holds.
		DisableSplice: true,
		// Attributes may come with names: what the kernel decides by itself, and
		// what folderHandle gives then. See docs/performance.md for the others.
		ExtraCapabilities: fuse.CAP_READDIRPLUS_AUTO,
		Logger:            options.Logger,
	}
	if os.Geteuid() == 0 {
		options.DirectMountStrict = true
		options.DirectMountFlags = syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_RDONLY
	} else {
		options.Options = append(options.Options, "ro")
	}
	return options
}
