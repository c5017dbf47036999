package envelope

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/pierrec/lz4/v4"
)

// frameReader reads lz4 frames block by block: any number of them, with
// skippable frames between, as the lz4 program does. Its errors wrap
// ErrDamaged, but for those of the reader below.
type frameReader struct {
	r      io.Reader
	frames int // data frames begun
	open   bool

	flags    byte
	maxBlock int
	size     uint64 // by the header; only with flagSize
	read     uint64 // plain bytes of this frame
	checksum *xxh32
	packed   []byte
	dict     []byte // at least the last 64 KiB of the frame, where blocks are linked
}

const dictSize = 64 << 10

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: r, checksum: newXXH32()}
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrDamaged, fmt.Errorf(format, args...))
}

// next decodes a block into dst, which is grown where needed, and returns it.
// At the end of the last frame, all of whose checksums held, it is io.EOF.
func (f *frameReader) next(dst []byte) ([]byte, error) {
	for {
		if !f.open {
			if err := f.begin(); err != nil {
				return nil, err
			}
			continue
		}
		length, err := f.uint32()
		if err != nil {
			return nil, err
		}
		if length != 0 {
			// Without the empty ones: a file can be made of nothing else.
			block, err := f.block(dst, length)
			if len(block) > 0 || err != nil {
				return block, err
			}
			dst = block
			continue
		}
		if err := f.end(); err != nil {
			return nil, err
		}
	}
}

func (f *frameReader) full(p []byte) error {
	_, err := io.ReadFull(f.r, p)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return damaged("lz4: %w", io.ErrUnexpectedEOF)
	}
	return err
}

func (f *frameReader) uint32() (uint32, error) {
	var b [4]byte
	err := f.full(b[:])
	return binary.LittleEndian.Uint32(b[:]), err
}

// begin reads the header of the next data frame. Between two frames, the end
// of the input is the end.
func (f *frameReader) begin() error {
	var m [4]byte
	if n, err := io.ReadFull(f.r, m[:]); err == io.EOF && f.frames > 0 {
		return io.EOF
	} else if err == io.EOF || err == io.ErrUnexpectedEOF {
		return damaged("lz4: %d bytes where a frame was to begin", n)
	} else if err != nil {
		return err
	}
	switch magic := binary.LittleEndian.Uint32(m[:]); {
	case magic == lz4Magic:
	case magic&skippableMask == skippable:
		return f.skip()
	default:
		return damaged("lz4: %08x is not the beginning of a frame", magic)
	}
	h := make([]byte, 2, 15)
	if err := f.full(h); err != nil {
		return err
	}
	f.flags = h[0]
	code := h[1] >> 4
	if f.flags&^(flagIndepend|flagBlockSum|flagSize|flagSum) != lz4Version || h[1]&^0x70 != 0 || code < 4 {
		if f.flags&flagDict != 0 {
			return fmt.Errorf("%w: the lz4 frame needs a dictionary", ErrUnsupported)
		}
		return damaged("lz4: header %02x %02x", h[0], h[1])
	}
	if f.flags&flagSize != 0 {
		h = h[:10]
		if err := f.full(h[2:]); err != nil {
			return err
		}
		f.size = binary.LittleEndian.Uint64(h[2:])
	}
	var sum [1]byte
	if err := f.full(sum[:]); err != nil {
		return err
	}
	if byte(sumXXH32(h)>>8) != sum[0] {
		return damaged("lz4: checksum of the header")
	}
	f.maxBlock = blockSizes[code]
	f.open, f.read, f.dict = true, 0, f.dict[:0]
	f.frames++
	f.checksum.reset()
	return nil
}

func (f *frameReader) skip() error {
	n, err := f.uint32()
	if err != nil {
		return err
	}
	if n > maxSkippable {
		return damaged("lz4: a skippable frame of %d bytes", n)
	}
	if _, err = io.CopyN(io.Discard, f.r, int64(n)); err == io.EOF {
		err = damaged("lz4: %w", io.ErrUnexpectedEOF)
	}
	return err
}

func (f *frameReader) block(dst []byte, length uint32) ([]byte, error) {
	stored := length&uncompressed != 0
	n := int(length &^ uncompressed)
	if n > f.maxBlock {
		return nil, damaged("lz4: a block of %d bytes in a frame of at most %d", n, f.maxBlock)
	}
	room := roomFor(n, f.maxBlock, stored)
	if cap(dst) < room {
		dst = make([]byte, room)
	}
	dst = dst[:room]
	packed := dst[:n]
	if !stored {
		if cap(f.packed) < n {
			f.packed = make([]byte, min(f.maxBlock, n+n/4)) // they differ a little
		}
		packed = f.packed[:n]
	}
	if err := f.full(packed); err != nil {
		return nil, err
	}
	if f.flags&flagBlockSum != 0 {
		if want, err := f.uint32(); err != nil {
			return nil, err
		} else if sumXXH32(packed) != want {
			return nil, damaged("lz4: checksum of a block")
		}
	}
	if !stored {
		var err error
		if n, err = lz4.UncompressBlockWithDict(packed, dst, f.dict[max(0, len(f.dict)-dictSize):]); err != nil {
			return nil, damaged("lz4: %w", err)
		}
	}
	f.account(dst[:n])
	return dst[:n], nil
}

// roomFor is what n bytes of a block can become: a frame of tiny blocks must not
// take the largest there may be for each.
func roomFor(n, maxBlock int, stored bool) int {
	if stored {
		return n
	}
	const most = 255 // times its size
	return min(maxBlock, most*n)
}

func (f *frameReader) account(block []byte) {
	f.read += uint64(len(block))
	if f.flags&flagSum != 0 {
		f.checksum.write(block)
	}
	if f.flags&flagIndepend != 0 {
		return
	}
	f.dict = append(f.dict, block[max(0, len(block)-dictSize):]...)
	if len(f.dict) > 2*dictSize { // not with every block, which may be tiny
		f.dict = append(f.dict[:0], f.dict[len(f.dict)-dictSize:]...)
	}
}

func (f *frameReader) end() error {
	f.open = false
	if f.flags&flagSum != 0 {
		if want, err := f.uint32(); err != nil {
			return err
		} else if f.checksum.sum() != want {
			return damaged("lz4: checksum of the content")
		}
	}
	if f.flags&flagSize != 0 && f.size != f.read {
		return damaged("lz4: %d bytes where the header says %d", f.read, f.size)
	}
	return nil
}
