package faultfs

import (
	"sync"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Faulty shows a folder, and can be told that operations fail. The kernel keeps
// nothing of it but the data of open files.
type Faulty struct {
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
	f := &Faulty{}
	v := view{op: f.op}
	v.mount(t, from, dir, 0)
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
