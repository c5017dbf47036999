package faultfs

import (
	"sync"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Faulty shows a folder, and can be told that operations fail. The kernel keeps
// nothing of it but the data of open files.
type Faulty struct {
	fuse.RawFileSystem

	mu     sync.Mutex
	errno  syscall.Errno
	pick   func(n int, op string) bool
	n      int
	failed []string
}

// NewFaulty mounts a view of the folder from on the folder dir until the test
// ends.
//
// The test must not be parallel, nor start a program: to start one, this process
// stands still until the child has closed the files that it has here, for which
// the kernel asks this process.
func NewFaulty(t testing.TB, from, dir string) *Faulty {
	t.Helper()
	t.Setenv("FIRN_TEST_FAULTY", dir) // panics in parallel tests
	root, err := fs.NewLoopbackRoot(from)
	if err != nil {
		t.Fatal(err)
	}
	f := &Faulty{RawFileSystem: fs.NewNodeFS(root, &fs.Options{})}
	server, err := fuse.NewServer(f, dir, &fuse.MountOptions{
		FsName: "firn-faulty", DirectMountStrict: true, DisableReadDirPlus: true,
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
	return f
}

// Fail has operations fail that pick picks, by their number since the call,
// counted from 1, and by what they are: "rename NAME", "read". nil picks none.
func (f *Faulty) Fail(errno syscall.Errno, pick func(n int, op string) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errno, f.pick, f.n, f.failed = errno, pick, 0, nil
}

// Operations is how many there were since Fail was called, and which failed.
func (f *Faulty) Operations() (n int, failed []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n, f.failed
}

func (f *Faulty) op(what string) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	if f.pick == nil || !f.pick(f.n, what) {
		return fuse.OK
	}
	f.failed = append(f.failed, what)
	return fuse.Status(f.errno)
}

func (f *Faulty) Lookup(cancel <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if s := f.op("lookup " + name); !s.Ok() {
		return s
	}
	return f.RawFileSystem.Lookup(cancel, h, name, out)
}

func (f *Faulty) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	if s := f.op("getattr"); !s.Ok() {
		return s
	}
	return f.RawFileSystem.GetAttr(cancel, in, out)
}

func (f *Faulty) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	if s := f.op("setattr"); !s.Ok() {
		return s
	}
	return f.RawFileSystem.SetAttr(cancel, in, out)
}

func (f *Faulty) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	if s := f.op("mkdir " + name); !s.Ok() {
		return s
	}
	return f.RawFileSystem.Mkdir(cancel, in, name, out)
}

func (f *Faulty) Unlink(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	if s := f.op("unlink " + name); !s.Ok() {
		return s
	}
	return f.RawFileSystem.Unlink(cancel, h, name)
}

func (f *Faulty) Rmdir(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	if s := f.op("rmdir " + name); !s.Ok() {
		return s
	}
	return f.RawFileSystem.Rmdir(cancel, h, name)
}

func (f *Faulty) Rename(cancel <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	if s := f.op("rename " + to); !s.Ok() {
		return s
	}
	return f.RawFileSystem.Rename(cancel, in, from, to)
}

func (f *Faulty) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	if s := f.op("create " + name); !s.Ok() {
		return s
	}
	return f.RawFileSystem.Create(cancel, in, name, out)
}

func (f *Faulty) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if s := f.op("open"); !s.Ok() {
		return s
	}
	return f.RawFileSystem.Open(cancel, in, out)
}

func (f *Faulty) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	if s := f.op("read"); !s.Ok() {
		return nil, s
	}
	return f.RawFileSystem.Read(cancel, in, buf)
}

func (f *Faulty) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	if s := f.op("write"); !s.Ok() {
		return 0, s
	}
	return f.RawFileSystem.Write(cancel, in, data)
}

// Writev is asked first, and refused: Write does.
func (f *Faulty) Writev(<-chan struct{}, *fuse.WriteIn, [][]byte) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS
}

func (f *Faulty) Flush(cancel <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	if s := f.op("flush"); !s.Ok() {
		return s
	}
	return f.RawFileSystem.Flush(cancel, in)
}

func (f *Faulty) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	if s := f.op("fsync"); !s.Ok() {
		return s
	}
	return f.RawFileSystem.Fsync(cancel, in)
}

func (f *Faulty) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if s := f.op("opendir"); !s.Ok() {
		return s
	}
	return f.RawFileSystem.OpenDir(cancel, in, out)
}

func (f *Faulty) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	if s := f.op("readdir"); !s.Ok() {
		return s
	}
	return f.RawFileSystem.ReadDir(cancel, in, out)
}

func (f *Faulty) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	if s := f.op("fsync of a folder"); !s.Ok() {
		return s
	}
	return f.RawFileSystem.FsyncDir(cancel, in)
}
