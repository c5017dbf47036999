package fs

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
)

// cache holds the blocks of all open files, within one budget. Of all who need a
// block at once, one fetches it.
//
// Its lock is never held while a block is fetched.
type cache struct {
	mu sync.Mutex
	budget
	flights map[blockID]*flight
}

// fileID names a sealed file and all that its list says of its content: lists
// that do not agree do not share blocks.
type fileID [sha256.Size]byte

func identify(e *manifest.Entry) fileID {
	return sha256.Sum256(fmt.Appendf(nil, "%d %x %d %x %t %s", e.Size, e.SHA512, e.SealedSize, e.SealedSHA512, envelope.IsEncrypted(e.SealedPath), e.Blocks))
}

// blockID names a block of plain bytes.
type blockID struct {
	file          fileID
	opening       int64 // 0 where a block is verified by itself: see openFile
	start, length int64
}

// flight is a block that is being fetched.
type flight struct {
	id     blockID
	cancel context.CancelFunc
	done   chan struct{}
	block  []byte // valid when done is closed, as the next
	err    error

	// Guarded by the cache's lock.
	waiters int
	ahead   bool // nobody asked for it yet
}

func newCache(max int64, s *stats) *cache {
	return &cache{
		budget:  budget{max: max, blocks: newLRU[blockID, *keptBlock](), idle: newLRU[*openFile, struct{}](), stats: s},
		flights: map[blockID]*flight{},
	}
}

// get returns a block, or the flight that brings it: then await must be called,
// or leave.
func (c *cache) get(f *openFile, id blockID) ([]byte, *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if kept, ok := c.blocks.get(id); ok {
		c.stats.blockHits.Add(1)
		c.countUse(&kept.ahead)
		return kept.bytes, nil
	}
	fl := c.flights[id]
	if fl != nil {
		c.stats.blockHits.Add(1)
		c.countUse(&fl.ahead)
	} else {
		c.stats.blockMisses.Add(1)
		var ctx context.Context
		ctx, fl = c.begin(f, id)
		f.wg.Go(func() {
			r := f.request(id)
			if err := c.reserve(ctx, r); err != nil {
				c.end(fl, nil, err)
				return
			}
			c.fetch(ctx, f, fl, r)
		})
	}
	fl.waiters++
	return nil, fl
}

// countUse counts a block that was fetched ahead when it is asked for first.
func (c *cache) countUse(ahead *bool) {
	if *ahead {
		c.stats.blocksAheadUsed.Add(1)
		*ahead = false
	}
}

func (c *cache) begin(f *openFile, id blockID) (context.Context, *flight) {
	ctx, cancel := context.WithCancel(f.ctx)
	fl := &flight{id: id, cancel: cancel, done: make(chan struct{})}
	c.flights[id] = fl
	return ctx, fl
}

// fetchAhead fetches a block for which nobody waits, unless it is there, or on
// its way. false: there is no room.
func (c *cache) fetchAhead(f *openFile, id blockID) bool {
	c.mu.Lock()
	if _, ok := c.blocks.get(id); ok || c.flights[id] != nil {
		c.mu.Unlock()
		return true
	}
	r := f.request(id)
	if len(c.queue) > 0 || !c.admit(r) {
		c.mu.Unlock()
		return false
	}
	ctx, fl := c.begin(f, id)
	fl.ahead, fl.waiters = true, 1 // itself: it is not given up
	c.mu.Unlock()
	c.stats.blocksAhead.Add(1)
	c.fetch(ctx, f, fl, r)
	return fl.err == nil
}

func (c *cache) fetch(ctx context.Context, f *openFile, fl *flight, r *request) {
	block, err := f.reader.ReadBlock(ctx, fl.id.start)
	if err == nil && int64(len(block)) != fl.id.length {
		err = fmt.Errorf("%w: a block of %d bytes where %d should be", envelope.ErrDamaged, len(block), fl.id.length)
	}
	c.mu.Lock()
	var kept *keptBlock
	if err == nil {
		kept = &keptBlock{block, fl.ahead}
	}
	c.finish(r, fl.id, kept)
	c.mu.Unlock()
	c.end(fl, block, err)
}

func (c *cache) end(fl *flight, block []byte, err error) {
	fl.cancel()
	c.mu.Lock()
	c.forget(fl)
	c.mu.Unlock()
	fl.block, fl.err = block, err
	close(fl.done)
}

// forget a flight, unless another took its place after it was given up.
func (c *cache) forget(fl *flight) {
	if c.flights[fl.id] == fl {
		delete(c.flights, fl.id)
	}
}

// await waits for a flight.
func (c *cache) await(ctx context.Context, fl *flight) ([]byte, error) {
	select {
	case <-fl.done:
		return fl.block, fl.err
	case <-ctx.Done():
		c.leave(fl)
		return nil, ctx.Err()
	}
}

// leave a flight. The last one to do so gives it up.
func (c *cache) leave(fl *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if fl.waiters--; fl.waiters == 0 {
		fl.cancel()
		c.forget(fl)
	}
}

// drop forgets a block.
func (c *cache) drop(id blockID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used -= c.blocks.remove(id)
	c.serve()
}

// dropStream forgets a streamed file that is about to be closed.
func (c *cache) dropStream(f *openFile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used -= c.idle.remove(f)
	c.serve()
}

// usedBytes is how much of the budget is in use.
func (c *cache) usedBytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used
}
