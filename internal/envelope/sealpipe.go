package envelope

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/chipster/firn/internal/sha512x2"
)

// pipeline seals a large file on several processors at once:
//
//	Write -> block -> lz4, several at once -> xxHash32, literal packet, SHA-1, cipher -> SHA-256, the writer below
//	               -> SHA-512 of the plain bytes, and beside it that of the sealed ones  <-
//
// Where the processor cannot compute two SHA-512 in little more time than one,
// that of the sealed bytes is the last stage's. Where nothing is encrypted, the
// frame goes straight to the writer below.
//
// Memory is maxPacking+2 blocks at most, plain and packed, or fewer where there
// are fewer processors, and twice queuedChunks chunks: 14 MiB with blocks of 1
// MiB, 50 MiB with those of 4 MiB.
//
// A stage never stops before its queue is closed; once something has failed, it
// only passes things on. So nothing can get stuck.
type pipeline struct {
	code    byte
	free    chan *sealBlock
	unmade  int // blocks that may still be made
	packing *sealStage[*sealBlock]
	framing *sealStage[*sealBlock]
	sealing *sealStage[*packetChunk]
	hashing *bothHashes
	failure atomic.Pointer[error]
}

const (
	maxPacking   = 4 // lz4 on four processors outruns all the other stages
	queuedChunks = 16
)

// hashSideBySide is a variable for tests.
var hashSideBySide = sha512x2.SideBySide()

// sealStage calls a function for each thing that is sent to it, in goroutines of
// its own; with one of them, in order.
type sealStage[T any] struct {
	queue chan T
	ended sync.WaitGroup
}

func newSealStage[T any](goroutines, queue int, do func(T)) *sealStage[T] {
	s := &sealStage[T]{queue: make(chan T, queue)}
	for range goroutines {
		s.ended.Go(func() {
			for v := range s.queue {
				do(v)
			}
		})
	}
	return s
}

// end waits until all that was sent is done.
func (s *sealStage[T]) end() {
	close(s.queue)
	s.ended.Wait()
}

// newPipeline runs the parts of a Writer. They are its own until Close has
// waited for it.
func newPipeline(e *Writer) *pipeline {
	packing := min(runtime.GOMAXPROCS(0), maxPacking)
	blocks := packing + 2 // one being filled, one in the frame
	p := &pipeline{code: e.code, unmade: blocks, free: make(chan *sealBlock, blocks)}
	p.hashing = newBothHashes(e.plain, e.sealed.hash, blocks, p.done)
	p.packing = newSealStage(packing, blocks, func(b *sealBlock) {
		b.pack()
		b.ready <- struct{}{}
	})
	p.framing = newSealStage(1, blocks, func(b *sealBlock) {
		<-b.ready
		e.checksum.write(b.bytes())
		p.try(func() error { return e.frame.add(b) })
		b.unpack()
		p.done(b)
		p.hashing.framed()
	})
	e.sealed.hashedApart = e.encrypted && hashSideBySide
	p.sealing = newSealStage(1, queuedChunks, func(c *packetChunk) {
		p.try(func() error { return c.writeTo(&e.sealed) })
		if e.sealed.hashedApart {
			p.hashing.sealed <- c
		} else {
			putChunk(c)
		}
	})
	return p
}

// try does what a stage is for, unless something has failed before.
func (p *pipeline) try(do func() error) {
	if p.err() != nil {
		return
	}
	if err := do(); err != nil {
		p.failure.CompareAndSwap(nil, &err)
	}
}

// err is the first error of a stage.
func (p *pipeline) err() error {
	if err := p.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// block is an empty block. It waits for one where all are on their way.
func (p *pipeline) block() *sealBlock {
	select {
	case b := <-p.free:
		return b
	default:
	}
	if p.unmade > 0 {
		p.unmade--
		return newSealBlock(p.code)
	}
	return <-p.free
}

// send takes over a block that is filled. The queues hold all blocks that there
// are: it never waits.
func (p *pipeline) send(b *sealBlock) {
	b.users.Store(2)
	p.hashing.add(b)
	p.packing.queue <- b
	p.framing.queue <- b
}

// done says that a stage needs the block no more.
func (p *pipeline) done(b *sealBlock) {
	if b.users.Add(-1) == 0 {
		b.n = 0
		p.free <- b
	}
}

// endBlocks waits until all blocks are in the frame.
func (p *pipeline) endBlocks() {
	p.packing.end()
	p.framing.end()
}

// end waits until all is written below, and hashed.
func (p *pipeline) end() error {
	p.sealing.end()
	p.hashing.end()
	for len(p.free) > 0 {
		(<-p.free).release()
	}
	return p.err()
}
