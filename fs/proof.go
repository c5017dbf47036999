package fs

import (
	"sync"
	"sync/atomic"
)

// proof tells how far what was given away of an opening of a file was verified:
// what the kernel cached of it hides from us who reads it later. The zero value
// is that of a file of which each block is verified by itself.
type proof struct {
	handed atomic.Bool // something that was not verified by itself was given away
	whole  atomic.Bool // all was, and all was verified

	mu    sync.Mutex
	size  int64
	seen  []uint64 // a bit a unit of the file that a block begins in
	bytes int64    // of the blocks that are marked
}

// proofUnit is the shortest block that lz4 frames have but at their end. Of two
// that begin in one unit, one does not count: then the file is never known to
// have been read whole, which costs time and no more.
const proofUnit = 64 << 10

func newProof(size int64) *proof { return &proof{size: size} }

// isSafe tells that all of it that was given away was verified.
func (p *proof) isSafe() bool { return !p.handed.Load() || p.whole.Load() }

// hand notes a block that is about to be given away, and that the file's reader
// agreed to it. end is that of a file that is read from its beginning, with
// whose last block all was verified.
func (p *proof) hand(id blockID, end bool) {
	if id.opening == 0 || p.whole.Load() {
		return
	}
	p.handed.Store(true)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen == nil {
		p.seen = make([]uint64, p.size/proofUnit/64+1)
	}
	unit := id.start / proofUnit
	if bit := uint64(1) << (unit % 64); p.seen[unit/64]&bit == 0 {
		p.seen[unit/64] |= bit
		p.bytes += id.length
	}
	if end || p.bytes == p.size {
		p.whole.Store(true)
		p.seen = nil
	}
}
