package envelope

import (
	"encoding/binary"
	"io"
	"sync"
	"sync/atomic"

	"github.com/pierrec/lz4/v4"
)

// The lz4 frame: https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md
const (
	lz4Magic      = 0x184D2204
	lz4Version    = 1 << 6
	flagIndepend  = 1 << 5
	flagBlockSum  = 1 << 4
	flagSize      = 1 << 3
	flagSum       = 1 << 2
	flagDict      = 1 << 0
	uncompressed  = 1 << 31 // in a block's length: stored as it is
	maxBlock      = 4 << 20
	maxSkippable  = 1 << 20 // of a skippable frame: more is none of ours
	skippableMask = 0xFFFFFFF0
	skippable     = 0x184D2A50
)

// blockSizes are the largest plain lengths of a block, by the code that the
// frame's header holds, 4 to 7.
var blockSizes = [...]int{4: 64 << 10, 5: 256 << 10, 6: 1 << 20, 7: maxBlock}

// hugeSize is from where on blocks are of 4 MiB: in smaller files those of
// 1 MiB make reads from the middle cheap, and the table of 64 GiB is 1.7 MB.
const hugeSize = 64 << 30

// isLarge tells whether a file may have more than one block, by the hint of its
// size.
func isLarge(sizeHint int64) bool { return sizeHint < 0 || sizeHint > int64(blockSizes[6]) }

// blockSizeFor picks the smallest block that holds the whole file, as the lz4
// program does, so that small files need little memory on either side.
func blockSizeFor(sizeHint int64) (code byte) {
	switch {
	case sizeHint < 0 || sizeHint > hugeSize:
		return 7
	case isLarge(sizeHint):
		return 6
	}
	for code = 4; sizeHint > int64(blockSizes[code]); code++ {
	}
	return code
}

var (
	bufferPools   [len(blockSizes)]sync.Pool // by the code
	lz4Compressor = sync.Pool{New: func() any { return new(lz4.Compressor) }}
)

// getBuffer lends a buffer of at least size bytes, at most maxBlock.
func getBuffer(size int) *[]byte {
	code := 4
	for size > blockSizes[code] {
		code++
	}
	if b, ok := bufferPools[code].Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, blockSizes[code])
	return &b
}

func putBuffer(b *[]byte) {
	for code := 4; code < len(blockSizes); code++ {
		if len(*b) == blockSizes[code] {
			bufferPools[code].Put(b)
		}
	}
}

// sealBlock is one block of the plain file on its way into the frame.
type sealBlock struct {
	plain  *[]byte
	n      int     // bytes of plain that are filled
	packed *[]byte // nil where the block is stored as it is
	length uint32  // as the frame has it: with the bit for that
	data   []byte  // as the frame has it

	// In a pipeline:
	ready chan struct{} // told once it is packed
	users atomic.Int32  // stages that have not done with it
}

func newSealBlock(code byte) *sealBlock {
	return &sealBlock{plain: getBuffer(blockSizes[code]), ready: make(chan struct{}, 1)}
}

func (b *sealBlock) bytes() []byte { return (*b.plain)[:b.n] }

// pack compresses the block. It may run beside others.
func (b *sealBlock) pack() {
	b.data = b.bytes()
	b.length = uint32(b.n) | uncompressed
	b.packed = getBuffer(b.n)
	c := lz4Compressor.Get().(*lz4.Compressor)
	// A destination shorter than the source: what does not shrink is stored.
	n, err := c.CompressBlock(b.data, (*b.packed)[:b.n-1])
	lz4Compressor.Put(c)
	if err != nil || n == 0 {
		b.unpack()
		return
	}
	b.data = (*b.packed)[:n]
	b.length = uint32(n)
}

// unpack gives back what pack took.
func (b *sealBlock) unpack() {
	if b.packed != nil {
		putBuffer(b.packed)
		b.packed = nil
	}
}

func (b *sealBlock) release() {
	b.unpack()
	putBuffer(b.plain)
	b.plain = nil
}

// frameWriter writes one lz4 frame of independent blocks with a content
// checksum and no content size. It marks where each block begins.
type frameWriter struct {
	w       io.Writer
	lengths []int // of the blocks, as in BlockRow
	scratch [8]byte
}

func (f *frameWriter) begin(w io.Writer, code byte) error {
	f.w, f.lengths = w, f.lengths[:0]
	h := f.scratch[:7]
	binary.LittleEndian.PutUint32(h, lz4Magic)
	h[4] = lz4Version | flagIndepend | flagSum
	h[5] = code << 4
	h[6] = byte(sumXXH32(h[4:6]) >> 8)
	_, err := f.w.Write(h)
	return err
}

// add writes a block that is packed.
func (f *frameWriter) add(b *sealBlock) error {
	f.lengths = append(f.lengths, 4+len(b.data))
	if err := mark(f.w); err != nil {
		return err
	}
	length := f.scratch[:4]
	binary.LittleEndian.PutUint32(length, b.length)
	if _, err := f.w.Write(length); err != nil {
		return err
	}
	_, err := f.w.Write(b.data)
	return err
}

// end writes the end mark, a length of zero, and the content's checksum. It
// does not close the writer below.
func (f *frameWriter) end(checksum uint32) error {
	binary.LittleEndian.PutUint64(f.scratch[:], uint64(checksum)<<32)
	_, err := f.w.Write(f.scratch[:])
	return err
}
