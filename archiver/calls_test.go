package archiver

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/chipster/firn/internal/faultfs"
)

// farDisk shows a folder as a server does that is far away: each request takes a
// while, and the kernel remembers for a minute what it was told of names. It
// counts requests by kind.
type farDisk struct {
	fuse.RawFileSystem
	delay time.Duration

	mu     sync.Mutex
	calls  map[string]int
	waited time.Duration // by all requests
}

func newFarDisk(t testing.TB, from, dir string, delay time.Duration) *farDisk {
	t.Helper()
	root, err := fs.NewLoopbackRoot(from)
	must(t, err)
	minute := time.Minute
	far := &farDisk{delay: delay, calls: map[string]int{}, RawFileSystem: fs.NewNodeFS(root, &fs.Options{
		EntryTimeout: &minute, AttrTimeout: &minute, NegativeTimeout: &minute,
	})}
	server, err := fuse.NewServer(far, dir, &fuse.MountOptions{FsName: "firn-far", DirectMountStrict: true, DisableReadDirPlus: true,
		DisabledCapabilities: fuse.CAP_PASSTHROUGH})
	if err != nil {
		t.Fatalf("this test mounts file systems, as root: %v", err)
	}
	go server.Serve()
	t.Cleanup(func() { faultfs.Unmount(t, dir) })
	must(t, server.WaitMount())
	return far
}

func (f *farDisk) call(kind string) {
	began := time.Now()
	time.Sleep(f.delay)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[kind]++
	f.waited += time.Since(began)
}

func (f *farDisk) Lookup(c <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	f.call("lookup")
	return f.RawFileSystem.Lookup(c, h, name, out)
}

func (f *farDisk) GetAttr(c <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	f.call("getattr")
	return f.RawFileSystem.GetAttr(c, in, out)
}

func (f *farDisk) SetAttr(c <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	f.call("setattr")
	return f.RawFileSystem.SetAttr(c, in, out)
}

func (f *farDisk) Mkdir(c <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	f.call("mkdir")
	return f.RawFileSystem.Mkdir(c, in, name, out)
}

func (f *farDisk) Unlink(c <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	f.call("unlink")
	return f.RawFileSystem.Unlink(c, h, name)
}

func (f *farDisk) Rmdir(c <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	f.call("rmdir")
	return f.RawFileSystem.Rmdir(c, h, name)
}

func (f *farDisk) Rename(c <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	f.call("rename")
	return f.RawFileSystem.Rename(c, in, from, to)
}

func (f *farDisk) Create(c <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	f.call("create")
	return f.RawFileSystem.Create(c, in, name, out)
}

func (f *farDisk) Open(c <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	f.call("open")
	return f.RawFileSystem.Open(c, in, out)
}

func (f *farDisk) Read(c <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	f.call("read")
	return f.RawFileSystem.Read(c, in, buf)
}

func (f *farDisk) Write(c <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	f.call("write")
	return f.RawFileSystem.Write(c, in, data)
}

// Writev is asked first, and refused: Write does.
func (f *farDisk) Writev(<-chan struct{}, *fuse.WriteIn, [][]byte) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS
}

func (f *farDisk) Flush(c <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	f.call("flush")
	return f.RawFileSystem.Flush(c, in)
}

func (f *farDisk) OpenDir(c <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	f.call("opendir")
	return f.RawFileSystem.OpenDir(c, in, out)
}

func (f *farDisk) ReadDir(c <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	f.call("readdir")
	return f.RawFileSystem.ReadDir(c, in, out)
}

// count is what was called since the last count.
func (f *farDisk) count() (calls map[string]int, all int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls, f.calls = f.calls, map[string]int{}
	for _, n := range calls {
		all += n
	}
	return calls, all
}

// farNight is an archive on a far disk with a version of carried files, 50 a
// folder, and in the bucket a backup that carries them and has some new ones.
func farNight(t *testing.T, carried, added int, delay time.Duration) (*world, *farDisk) {
	t.Helper()
	dir := t.TempDir()
	faultfs.Tmpfs(t, dir, "")
	w := openWorld(t, filepath.Join(dir, "bucket"), filepath.Join(dir, "root"))
	u := &nightly{w, "fs", map[string]string{}}
	file := func(i int) string { return fmt.Sprintf("d%d/e%03d/f%05d", i/50%7, i/50, i) }
	for i := range carried {
		u.plain[file(i)] = "old"
	}
	u.backup(t)
	w.run(t)
	for i := range added {
		u.plain[file(carried+i)] = "new"
	}
	w.now = w.now.Add(time.Hour)
	u.backup(t)
	far := filepath.Join(dir, "far")
	must(t, os.Mkdir(far, 0o755))
	disk := newFarDisk(t, w.root, far, delay)
	w.root = far
	return w, disk
}

// What a disk on a network is asked for each file. In what a folder takes there is
// making it, opening it, and removing it from where its files came.
func TestCallsForEachFile(t *testing.T) {
	const carried, added = 1000, 300
	calls := func(carried, added int) int {
		w, disk := farNight(t, carried, added, 0)
		report := w.run(t)
		if b := report.Backups[0]; b.Carried != carried || b.New != added {
			t.Fatalf("%+v", b)
		}
		kinds, all := disk.count()
		t.Logf("%d carried, %d new: %d requests: %v", carried, added, all, kinds)
		w.checkArchive(t)
		return all
	}
	none := calls(carried, 0)
	empty := calls(50, 0)
	if each := float64(none-empty) / (carried - 50); each > 3.25 {
		t.Errorf("%.2f requests for a carried file", each)
	}
	if each := float64(calls(carried, added)-none) / added; each > 6.5 {
		t.Errorf("%.2f requests for a new file", each)
	}
}

// Several files are asked for at once: a night takes less than its requests one
// after the other. Renames do come one after the other, for the system lets no two
// from folder to folder through.
func TestFarDisk(t *testing.T) {
	const carried, delay = 500, 3 * time.Millisecond
	w, disk := farNight(t, carried, 0, delay)
	began := time.Now()
	w.run(t)
	took := time.Since(began)
	_, requests := disk.count()
	t.Logf("%d carried files, %d requests of %s (really %s): %s, so a million take %s", carried, requests, delay,
		disk.waited/time.Duration(requests), took.Round(time.Millisecond), (took * 1_000_000 / carried).Round(time.Minute))
	if took > disk.waited {
		t.Errorf("requests that took %s took %s together", disk.waited, took)
	}
}
