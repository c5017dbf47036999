package envelope

import "io"

// chunkSize is the length of the chunks of the packets that are written. The
// standard asks for 512 or more in the first, and for a power of two.
const (
	chunkSize = 1 << chunkBits
	chunkBits = 16
)

// packetWriter writes a packet of the new form: one definite length when all
// of it fits into a chunk, else chunks of equal size and the rest.
type packetWriter struct {
	w   io.Writer
	tag byte
	buf *[]byte // of chunkSize
	n   int
	// written tells that the packet's tag is out, with the first chunk.
	written bool
}

func newPacketWriter(w io.Writer, tag byte) *packetWriter {
	return &packetWriter{w: w, tag: tag, buf: getBuffer(chunkSize)}
}

func (p *packetWriter) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		if p.n == chunkSize {
			if err := p.flush(224 | chunkBits); err != nil {
				return n, err
			}
		}
		c := copy((*p.buf)[p.n:chunkSize], b)
		p.n += c
		n += c
		b = b[c:]
	}
	return n, nil
}

func (p *packetWriter) flush(length ...byte) error {
	if !p.written {
		length = append([]byte{0xc0 | p.tag}, length...)
		p.written = true
	}
	if _, err := p.w.Write(length); err != nil {
		return err
	}
	_, err := p.w.Write((*p.buf)[:p.n])
	p.n = 0
	return err
}

// Close writes the last chunk. It does not close the writer below.
func (p *packetWriter) Close() error {
	switch n := p.n; {
	case n < 192:
		return p.flush(byte(n))
	case n < 8384:
		return p.flush(byte((n-192)>>8)+192, byte(n-192))
	default:
		return p.flush(255, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
}

func (p *packetWriter) release() {
	putBuffer(p.buf)
	p.buf = nil
}
