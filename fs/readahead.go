package fs

import (
	"sync"
	"sync/atomic"
)

// readAhead is what all handles share of reading ahead.
type readAhead struct {
	slots      chan struct{} // held by those who fetch ahead: as many as there are processors
	maxBlocks  int64
	maxBytes   int64        // for all handles
	sequential atomic.Int64 // handles that read straight ahead
}

// overtaking is how far the kernel's requests may be from where the last one
// ended, and still are one reader's that goes straight ahead.
const overtaking = 4 << 20

// newReadAhead takes the number of processors and the cache's size.
func newReadAhead(procs int, cacheBytes int64) readAhead {
	return readAhead{slots: make(chan struct{}, procs), maxBlocks: int64(max(4, 2*procs)), maxBytes: cacheBytes / 2}
}

// window is what one handle wants to have read ahead. It grows while the handle
// reads straight ahead, and is gone when it jumps.
type window struct {
	shared *readAhead

	mu      sync.Mutex
	begun   bool
	next    int64 // behind all that was read since the last jump
	grow    int64 // the window grows when more than this was read
	blocks  int64 // its size
	at, to  int64 // what is still to be fetched
	fetcher int   // how many are at it
	closed  bool
}

// read notes a read from off to end, and block, the length of the block it ends
// in. It returns how many should begin to fetch ahead.
func (w *window) read(off, end, block int64) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case !w.begun || off > w.next+overtaking || end < w.next-overtaking:
		w.begun, w.next, w.grow = true, end, end
		w.resize(0)
	case end > w.grow:
		w.resize(min(max(1, 2*w.blocks), w.shared.maxBlocks))
		w.grow = end + block - 1
	}
	w.next = max(w.next, end)
	if w.blocks == 0 {
		w.at, w.to = 0, 0
		return 0
	}
	w.at = max(w.at, w.next)
	w.to = w.next + min(w.blocks*block, w.shared.maxBytes/max(1, w.shared.sequential.Load())/block*block)
	missing := int((w.to-w.at+block-1)/block) - w.fetcher
	return max(0, missing)
}

func (w *window) resize(blocks int64) {
	if now, before := blocks > 0, w.blocks > 0; now != before {
		w.shared.sequential.Add(map[bool]int64{true: 1, false: -1}[now])
	}
	w.blocks = blocks
}

func (w *window) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.resize(0)
	w.at, w.to, w.closed = 0, 0, true
}

// begin and end bracket a fetcher.
func (w *window) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fetcher++
}

func (w *window) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fetcher--
}

// take returns the next block to fetch.
func (w *window) take(f *openFile) (id blockID, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at >= min(w.to, f.entry.Size) {
		return id, false
	}
	id, err := f.block(w.at)
	if err != nil {
		return id, false
	}
	w.at = id.start + id.length
	return id, true
}

// stop gives up what is still to be fetched.
func (w *window) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.to = w.at
}

// fetchAhead fetches the blocks of a window in the background: those for which
// there are slots. Who waits for a block fetches it himself, and needs none.
func (f *openFile) fetchAhead(w *window, fetchers int) {
	for range fetchers {
		select {
		case w.shared.slots <- struct{}{}:
		default:
			return
		}
		w.begin()
		f.wg.Go(func() {
			defer func() { <-w.shared.slots; w.end() }()
			for id, ok := w.take(f); ok; id, ok = w.take(f) {
				if !f.t.cache.fetchAhead(f, id) {
					w.stop()
					return
				}
			}
		})
	}
}
