package envelope

import (
	"sync"
	"sync/atomic"

	"github.com/chipster/firn/internal/sha512x2"
)

// bothHashes computes the SHA-512 of a pipeline's blocks and, where it is given
// them, of the sealed chunks: side by side, which takes little longer than one
// alone. So it rather waits for what belongs beside what it has, but never for
// what can only come when it goes on.
type bothHashes struct {
	plainHash, sealedHash *sha512x2.Digest
	done                  func(*sealBlock)

	plain  chan *sealBlock
	sealed chan *packetChunk
	more   chan struct{} // told when a block was framed
	ahead  atomic.Int32  // blocks that were added and are not framed yet: they make chunks
	ended  sync.WaitGroup

	// What is being hashed, and what of it is still to be.
	block     *sealBlock
	chunk     *packetChunk
	blockLeft []byte
	chunkLeft []byte
}

func newBothHashes(plain, sealed *sha512x2.Digest, blocks int, done func(*sealBlock)) *bothHashes {
	h := &bothHashes{
		plainHash: plain, sealedHash: sealed, done: done,
		plain: make(chan *sealBlock, blocks), sealed: make(chan *packetChunk, queuedChunks), more: make(chan struct{}, 1),
	}
	h.ended.Go(h.run)
	return h
}

// add takes a block over, before it is framed.
func (h *bothHashes) add(b *sealBlock) {
	h.ahead.Add(1)
	h.plain <- b
}

func (h *bothHashes) framed() {
	h.ahead.Add(-1)
	select {
	case h.more <- struct{}{}:
	default:
	}
}

// end waits until all is hashed. Nothing may be added any more.
func (h *bothHashes) end() {
	close(h.plain)
	close(h.sealed)
	h.ended.Wait()
}

func (h *bothHashes) run() {
	for h.fetch() {
		n := min(len(h.blockLeft), len(h.chunkLeft))
		switch {
		case n > 0:
			sha512x2.Write2(h.plainHash, h.sealedHash, h.blockLeft[:n], h.chunkLeft[:n])
			h.blockLeft, h.chunkLeft = h.blockLeft[n:], h.chunkLeft[n:]
		case h.chunk != nil:
			h.sealedHash.Write(h.chunkLeft)
			h.chunkLeft = nil
		default:
			n := min(len(h.blockLeft), chunkSize) // chunks may have come then
			h.plainHash.Write(h.blockLeft[:n])
			h.blockLeft = h.blockLeft[n:]
		}
		if h.block != nil && len(h.blockLeft) == 0 {
			h.done(h.block)
			h.block = nil
		}
		if h.chunk != nil && len(h.chunkLeft) == 0 {
			putChunk(h.chunk)
			h.chunk = nil
		}
	}
}

// fetch gets what is there to be hashed: a block, a chunk, or both; false at the
// end of both.
func (h *bothHashes) fetch() bool {
	for plain, sealed := h.plain, h.sealed; ; {
		if h.block == nil && plain != nil {
			select {
			case b, ok := <-plain:
				h.setBlock(b, ok, &plain)
			default:
			}
		}
		if h.chunk == nil && sealed != nil {
			select {
			case c, ok := <-sealed:
				h.setChunk(c, ok, &sealed)
			default:
			}
		}
		switch {
		case h.chunk != nil:
			return true // blocks come before their chunks: none will come soon
		case h.block == nil && plain == nil && sealed == nil:
			return false
		case h.block != nil && (sealed == nil || h.ahead.Load() == 0):
			return true // no chunk comes before the block is given back, maybe
		}
		var b <-chan *sealBlock
		if h.block == nil {
			b = plain
		}
		select {
		case b, ok := <-b:
			h.setBlock(b, ok, &plain)
		case c, ok := <-sealed:
			h.setChunk(c, ok, &sealed)
		case <-h.more:
		}
	}
}

func (h *bothHashes) setBlock(b *sealBlock, ok bool, from *chan *sealBlock) {
	if !ok {
		*from = nil
		return
	}
	h.block, h.blockLeft = b, b.bytes()
}

func (h *bothHashes) setChunk(c *packetChunk, ok bool, from *chan *packetChunk) {
	if !ok {
		*from = nil
		return
	}
	h.chunk, h.chunkLeft = c, c.buf[c.first:maxHeader+c.n]
}
