package fs

import (
	"context"
	"slices"

	"github.com/chipster/firn/internal/envelope"
)

// budget shares out the bytes of the mount's cache. What somebody uses was asked
// for before; what nobody uses (blocks that are kept, streamed files that rest)
// goes when others need the room, the longest unused first.
//
// The cache's lock guards it.
type budget struct {
	max    int64
	used   int64 // never above max
	blocks lru[blockID, *keptBlock]
	idle   lru[*openFile, struct{}] // streamed files that hold on to their place
	queue  []*request               // for room, in the order in which they came
	stats  *stats
}

// keptBlock is a block in the cache.
type keptBlock struct {
	bytes []byte
	ahead bool // nobody asked for it yet
}

// request is for the bytes that a fetch takes.
type request struct {
	bytes  int64
	stream *openFile // the file, where it is streamed
	ready  chan struct{}
}

// blockOverhead is what a block takes besides its bytes.
const blockOverhead = 512

// fetchCost is what it takes to fetch a block: what it is decoded from as well.
func fetchCost(id blockID) int64 { return 2 * keptCost(id) }

func keptCost(id blockID) int64 { return id.length + blockOverhead }

// admit takes what a request asks for, if there is room.
func (b *budget) admit(r *request) bool {
	n, rested := r.bytes, false
	if f := r.stream; f != nil && f.decoding == 0 {
		if rested = b.idle.remove(f) > 0; !rested {
			n += envelope.StreamCost
		}
	}
	if !b.makeRoom(n) {
		if rested {
			b.idle.put(r.stream, struct{}{}, envelope.StreamCost)
		}
		return false
	}
	b.used += n
	if r.stream != nil {
		r.stream.decoding++
	}
	return true
}

// makeRoom for n bytes. A stream took far longer to get to its place than a
// block to decode, so blocks go first, down to a quarter.
func (b *budget) makeRoom(n int64) bool {
	for b.used+n > b.max {
		switch {
		case !b.blocks.empty() && (b.blocks.used > b.max/4 || b.idle.empty()):
			b.used -= b.blocks.remove(b.blocks.oldest())
			b.stats.evicted.Add(1)
		case !b.idle.empty():
			f := b.idle.oldest()
			f.reader.Rest()
			b.used -= b.idle.remove(f)
		default:
			return false // all of it is in use
		}
	}
	return true
}

// finish ends what admit began. block is kept, unless it is nil.
func (b *budget) finish(r *request, id blockID, block *keptBlock) {
	b.used -= r.bytes
	if block != nil {
		b.used += keptCost(id) - b.blocks.remove(id)
		b.blocks.put(id, block, keptCost(id))
	}
	if f := r.stream; f != nil {
		if f.decoding--; f.decoding == 0 {
			b.idle.put(f, struct{}{}, envelope.StreamCost)
		}
	}
	b.serve()
}

// serve lets in who waits, first come, first served: else small requests would
// keep a large one waiting for ever.
func (b *budget) serve() {
	for len(b.queue) > 0 && b.admit(b.queue[0]) {
		close(b.queue[0].ready)
		b.queue = slices.Delete(b.queue, 0, 1)
	}
}

// reserve waits for room. The cache's lock is not held.
func (c *cache) reserve(ctx context.Context, r *request) error {
	c.mu.Lock()
	if len(c.queue) == 0 && c.admit(r) {
		c.mu.Unlock()
		return nil
	}
	r.ready = make(chan struct{})
	c.queue = append(c.queue, r)
	c.mu.Unlock()
	select {
	case <-r.ready:
		return nil
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.queue, r); i >= 0 {
		c.queue = slices.Delete(c.queue, i, i+1)
		c.serve()
		return ctx.Err()
	}
	return nil // it was let in just now
}
