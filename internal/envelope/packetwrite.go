package envelope

import (
	"io"
	"sync"
)

// chunkSize is the length of the chunks of the packets that are written. The
// standard asks for 512 or more in the first, and for a power of two.
const (
	chunkSize = 1 << chunkBits
	chunkBits = 16
	partial   = 224 | chunkBits // the length of a chunk that others follow
)

// marker is a layer of a sealed file that wants to know where the frame's
// blocks begin, or passes it on.
type marker interface {
	// mark says that a block begins with the next byte.
	mark() error
}

func mark(w io.Writer) error {
	if m, ok := w.(marker); ok {
		return m.mark()
	}
	return nil
}

// packetChunk is a chunk of a packet with the header before it.
type packetChunk struct {
	buf   [maxHeader + chunkSize]byte
	first int   // of buf, with the header
	n     int   // bytes of content
	marks []int // where in the content blocks begin
}

// maxHeader is the longest header: the tag and a length in five bytes.
const maxHeader = 1 + 5

var chunkPool = sync.Pool{New: func() any { return new(packetChunk) }}

func putChunk(c *packetChunk) {
	c.reset()
	chunkPool.Put(c)
}

func (c *packetChunk) reset() { c.n, c.marks = 0, c.marks[:0] }

// writeTo writes the chunk, and the marks where they belong.
func (c *packetChunk) writeTo(w io.Writer) error {
	from := c.first
	for _, at := range c.marks {
		if _, err := w.Write(c.buf[from : maxHeader+at]); err != nil {
			return err
		}
		if err := mark(w); err != nil {
			return err
		}
		from = maxHeader + at
	}
	if from == maxHeader+c.n {
		return nil
	}
	_, err := w.Write(c.buf[from : maxHeader+c.n])
	return err
}

// packetWriter writes a packet of the new form: one definite length when all
// of it fits into a chunk, else chunks of equal size and the rest.
type packetWriter struct {
	w     io.Writer
	tag   byte
	chunk *packetChunk // being filled
	// hand, where set, takes the chunks over, for somebody else to write them
	// to w.
	hand func(*packetChunk)
	// written tells that the packet's tag is out, with the first chunk.
	written bool
}

func newPacketWriter(w io.Writer, tag byte) *packetWriter {
	p := &packetWriter{}
	p.begin(w, tag)
	return p
}

func (p *packetWriter) begin(w io.Writer, tag byte) {
	*p = packetWriter{w: w, tag: tag, chunk: chunkPool.Get().(*packetChunk)}
}

// space is what of the chunk is free, at least a byte: what is put there counts
// by filled.
func (p *packetWriter) space() ([]byte, error) {
	if p.chunk.n == chunkSize {
		if err := p.flush(partial); err != nil {
			return nil, err
		}
	}
	return p.chunk.buf[maxHeader+p.chunk.n:], nil
}

func (p *packetWriter) filled(n int) { p.chunk.n += n }

func (p *packetWriter) Write(b []byte) (n int, err error) {
	for n < len(b) {
		if p.chunk.n == 0 && p.hand == nil && len(b)-n > chunkSize {
			// A whole chunk that is not the last: need not be copied.
			if err := p.flush(partial); err != nil {
				return n, err
			}
			if _, err := p.w.Write(b[n : n+chunkSize]); err != nil {
				return n, err
			}
			n += chunkSize
			continue
		}
		space, err := p.space()
		if err != nil {
			return n, err
		}
		c := copy(space, b[n:])
		p.filled(c)
		n += c
	}
	return n, nil
}

// mark remembers the place for when the chunk is written. The header of the
// next chunk comes before the mark.
func (p *packetWriter) mark() error {
	if _, err := p.space(); err != nil {
		return err
	}
	p.chunk.marks = append(p.chunk.marks, p.chunk.n)
	return nil
}

// flush writes the chunk with a length before it, and the tag before the first.
func (p *packetWriter) flush(length ...byte) error {
	c := p.chunk
	c.first = maxHeader - len(length)
	copy(c.buf[c.first:], length)
	if !p.written {
		p.written = true
		c.first--
		c.buf[c.first] = 0xc0 | p.tag
	}
	if p.hand != nil {
		p.chunk = chunkPool.Get().(*packetChunk)
		p.hand(c)
		return nil
	}
	err := c.writeTo(p.w)
	c.reset()
	return err
}

// Close writes the last chunk. It does not close the writer below.
func (p *packetWriter) Close() error {
	switch n := p.chunk.n; {
	case n < 192:
		return p.flush(byte(n))
	case n < 8384:
		return p.flush(byte((n-192)>>8)+192, byte(n-192))
	default:
		return p.flush(255, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
}

func (p *packetWriter) release() {
	putChunk(p.chunk)
	p.chunk, p.w, p.hand = nil, nil, nil
}
