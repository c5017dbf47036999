package envelope

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// pipeline seals a large file on several processors at once:
//
//	Write -> block -> SHA-512 and xxHash32 of the plain bytes
//	               -> lz4, several at once -> literal packet, SHA-1, cipher -> SHA-512, SHA-256, the writer below
//
// Where nothing is encrypted, the frame goes straight to the writer below.
//
// Memory is maxPacking+2 blocks at most, plain and packed, or fewer where there
// are fewer processors, and queuedChunks chunks: 13 MiB with blocks of 1 MiB, 49
// MiB with those of 4 MiB.
//
// A stage never stops before its queue is closed; once something has failed, it
// only passes things on. So nothing can get stuck.
type pipeline struct {
	code    byte
	free    chan *sealBlock
	unmade  int // blocks that may still be made
	hashing *sealStage[*sealBlock]
	packing *sealStage[*sealBlock]
	framing *sealStage[*sealBlock]
	sealing *sealStage[*packetChunk]
	failure atomic.Pointer[error]
}

const (
	maxPacking   = 4 // lz4 on four processors outruns all the other stages
	queuedChunks = 16
)

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
	p.hashing = newSealStage(1, blocks, func(b *sealBlock) {
		e.hash(b)
		p.done(b)
	})
	p.packing = newSealStage(packing, blocks, func(b *sealBlock) {
		b.pack()
		b.ready <- struct{}{}
	})
	p.framing = newSealStage(1, blocks, func(b *sealBlock) {
		<-b.ready
		p.try(func() error { return e.frame.add(b) })
		b.unpack()
		p.done(b)
	})
	p.sealing = newSealStage(1, queuedChunks, func(c *packetChunk) {
		p.try(func() error { return c.writeTo(&e.sealed) })
		putChunk(c)
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
	p.hashing.queue <- b
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
	p.hashing.end()
	p.packing.end()
	p.framing.end()
	for len(p.free) > 0 {
		(<-p.free).release()
	}
}

// end waits until all is written below.
func (p *pipeline) end() error {
	p.sealing.end()
	return p.err()
}
