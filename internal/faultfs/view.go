package faultfs

import (
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// view shows a folder, and asks before each operation whether it is to fail.
type view struct {
	fuse.RawFileSystem
	op func(what string) fuse.Status // "rename NAME", "read"
}

// mount mounts a view of the folder from on the folder dir until the test ends. The
// kernel remembers names and attributes for as long as it is told.
func (v *view) mount(t testing.TB, from, dir string, remember time.Duration) {
	t.Helper()
	t.Setenv("FIRN_TEST_FAULTY", dir) // panics in parallel tests
	root, err := fs.NewLoopbackRoot(from)
	if err != nil {
		t.Fatal(err)
	}
	v.RawFileSystem = fs.NewNodeFS(root, &fs.Options{EntryTimeout: &remember, AttrTimeout: &remember, NegativeTimeout: &remember})
	server, err := fuse.NewServer(v, dir, &fuse.MountOptions{
		FsName: "firn-view", DirectMountStrict: true, DisableReadDirPlus: true,
		DisabledCapabilities: fuse.CAP_PASSTHROUGH, // reads and writes would not come here
	})
	if err != nil {
		t.Fatalf("this test mounts file systems, as root: %v", err)
	}
	go server.Serve()
	cleanUp(t, dir)
	if err := server.WaitMount(); err != nil {
		t.Fatal(err)
	}
}

func (v *view) Lookup(cancel <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if s := v.op("lookup " + name); !s.Ok() {
		return s
	}
	return v.RawFileSystem.Lookup(cancel, h, name, out)
}

func (v *view) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	if s := v.op("getattr"); !s.Ok() {
		return s
	}
	return v.RawFileSystem.GetAttr(cancel, in, out)
}

func (v *view) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	if s := v.op("setattr"); !s.Ok() {
		return s
	}
	return v.RawFileSystem.SetAttr(cancel, in, out)
}

func (v *view) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	if s := v.op("mkdir " + name); !s.Ok() {
		return s
	}
	return v.RawFileSystem.Mkdir(cancel, in, name, out)
}

func (v *view) Unlink(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	if s := v.op("unlink " + name); !s.Ok() {
		return s
	}
	return v.RawFileSystem.Unlink(cancel, h, name)
}

func (v *view) Rmdir(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	if s := v.op("rmdir " + name); !s.Ok() {
		return s
	}
	return v.RawFileSystem.Rmdir(cancel, h, name)
}

func (v *view) Rename(cancel <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	if s := v.op("rename " + to); !s.Ok() {
		return s
	}
	return v.RawFileSystem.Rename(cancel, in, from, to)
}

func (v *view) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	if s := v.op("create " + name); !s.Ok() {
		return s
	}
	return v.RawFileSystem.Create(cancel, in, name, out)
}

func (v *view) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if s := v.op("open"); !s.Ok() {
		return s
	}
	return v.RawFileSystem.Open(cancel, in, out)
}

func (v *view) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	if s := v.op("read"); !s.Ok() {
		return nil, s
	}
	return v.RawFileSystem.Read(cancel, in, buf)
}

func (v *view) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	if s := v.op("write"); !s.Ok() {
		return 0, s
	}
	return v.RawFileSystem.Write(cancel, in, data)
}

// Writev is asked first, and refused: Write does.
func (v *view) Writev(<-chan struct{}, *fuse.WriteIn, [][]byte) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS
}

func (v *view) Flush(cancel <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	if s := v.op("flush"); !s.Ok() {
		return s
	}
	return v.RawFileSystem.Flush(cancel, in)
}

func (v *view) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	if s := v.op("fsync"); !s.Ok() {
		return s
	}
	return v.RawFileSystem.Fsync(cancel, in)
}

func (v *view) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if s := v.op("opendir"); !s.Ok() {
		return s
	}
	return v.RawFileSystem.OpenDir(cancel, in, out)
}

func (v *view) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	if s := v.op("readdir"); !s.Ok() {
		return s
	}
	return v.RawFileSystem.ReadDir(cancel, in, out)
}

func (v *view) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	if s := v.op("fsync of a folder"); !s.Ok() {
		return s
	}
	return v.RawFileSystem.FsyncDir(cancel, in)
}
