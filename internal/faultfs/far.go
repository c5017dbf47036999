package faultfs

import (
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Far shows a folder as a server does that is far away: each request takes a while,
// and the kernel remembers for a minute what it was told of names. It counts
// requests by kind.
type Far struct {
	delay time.Duration

	mu     sync.Mutex
	calls  map[string]int
	waited time.Duration
}

// NewFar mounts such a view of the folder from on the folder dir until the test
// ends. The test must not be parallel, as with NewFaulty.
func NewFar(t testing.TB, from, dir string, delay time.Duration) *Far {
	t.Helper()
	f := &Far{delay: delay, calls: map[string]int{}}
	v := view{op: f.op}
	v.mount(t, from, dir, time.Minute)
	return f
}

func (f *Far) op(what string) fuse.Status {
	kind, _, _ := strings.Cut(what, " ")
	began := time.Now()
	time.Sleep(f.delay)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[kind]++
	f.waited += time.Since(began)
	return fuse.OK
}

// Requests is how many there were, by kind and together, and how long all of them
// waited.
func (f *Far) Requests() (kinds map[string]int, all int, waited time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.calls {
		all += n
	}
	return maps.Clone(f.calls), all, f.waited
}
