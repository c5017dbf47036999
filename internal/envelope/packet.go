package envelope

import (
	"encoding/binary"
	"io"
)

// Packet tags of RFC 4880, section 4.3, as far as they can be in a message.
const (
	tagPKESK      = 1
	tagSKESK      = 3
	tagCompressed = 8
	tagSED        = 9
	tagMarker     = 10
	tagLiteral    = 11
	tagSEIPD      = 18
	tagMDC        = 19
	tagAEAD       = 20
	tagPadding    = 21
)

// body is the content of a packet, its lengths taken out. Read returns io.EOF
// at the packet's end, and ErrDamaged where the input ends before it.
type body struct {
	r       byteReader
	left    int64 // of the current chunk
	partial bool  // more chunks follow
	open    bool  // an old packet without a length: all the rest
}

// readHeader reads the header of a packet. io.EOF says that there is none.
func readHeader(r byteReader) (tag byte, b *body, err error) {
	first, err := r.ReadByte()
	if err != nil {
		return 0, nil, err
	}
	b = &body{r: r}
	switch {
	case first&0x80 == 0:
		return 0, nil, damaged("openpgp: %02x is not the beginning of a packet", first)
	case first&0x40 != 0:
		return first & 0x3f, b, b.nextLength()
	case first&3 == 3:
		b.open = true
		return first & 0x3f >> 2, b, nil
	default:
		var n [4]byte
		length := n[4-1<<(first&3):]
		if _, err := io.ReadFull(r, length); err != nil {
			return 0, nil, cutShort(err)
		}
		b.left = int64(binary.BigEndian.Uint32(n[:]))
		return first & 0x3f >> 2, b, nil
	}
}

func cutShort(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return damaged("openpgp: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// nextLength reads a length of the new form: of a packet, or of a chunk.
func (b *body) nextLength() error {
	first, err := b.r.ReadByte()
	if err != nil {
		return cutShort(err)
	}
	b.partial = false
	switch {
	case first < 192:
		b.left = int64(first)
	case first < 224:
		second, err := b.r.ReadByte()
		if err != nil {
			return cutShort(err)
		}
		b.left = int64(first-192)<<8 + int64(second) + 192
	case first < 255:
		b.partial = true
		b.left = 1 << (first & 0x1f)
	default:
		var n [4]byte
		if _, err := io.ReadFull(b.r, n[:]); err != nil {
			return cutShort(err)
		}
		b.left = int64(binary.BigEndian.Uint32(n[:]))
	}
	return nil
}

func (b *body) Read(p []byte) (int, error) {
	if b.open {
		return b.r.Read(p)
	}
	for b.left == 0 {
		if !b.partial {
			return 0, io.EOF
		}
		if err := b.nextLength(); err != nil {
			return 0, err
		}
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if err != nil {
		err = cutShort(err)
	}
	return n, err
}
