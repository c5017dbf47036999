package envelope

import (
	"encoding/binary"
	"io"
	"sync"

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

// blockSizeFor picks the smallest block that holds the whole file, as the lz4
// program does, so that small files need little memory on either side.
func blockSizeFor(size int64) (code byte) {
	for code = 4; code < 7; code++ {
		if size >= 0 && size <= int64(blockSizes[code]) {
			return code
		}
	}
	return 7
}

var (
	blockBuffers  = sync.Pool{New: func() any { b := make([]byte, maxBlock); return &b }}
	smallBuffers  = sync.Pool{New: func() any { b := make([]byte, blockSizes[4]); return &b }}
	lz4Compressor = sync.Pool{New: func() any { return new(lz4.Compressor) }}
)

func getBuffer(size int) *[]byte {
	if size <= blockSizes[4] {
		return smallBuffers.Get().(*[]byte)
	}
	return blockBuffers.Get().(*[]byte)
}

func putBuffer(b *[]byte) {
	if cap(*b) <= blockSizes[4] {
		smallBuffers.Put(b)
		return
	}
	blockBuffers.Put(b)
}

// frameWriter writes one lz4 frame of independent blocks with a content
// checksum and no content size.
type frameWriter struct {
	w        io.Writer
	code     byte
	started  bool
	plain    *[]byte // the block being filled
	n        int
	packed   *[]byte
	checksum *xxh32
}

func newFrameWriter(w io.Writer, sizeHint int64) *frameWriter {
	code := blockSizeFor(sizeHint)
	return &frameWriter{w: w, code: code, plain: getBuffer(blockSizes[code]), packed: getBuffer(blockSizes[code]), checksum: newXXH32()}
}

func (f *frameWriter) Write(p []byte) (n int, err error) {
	f.checksum.write(p)
	for len(p) > 0 {
		if f.n == blockSizes[f.code] {
			if err := f.flush(); err != nil {
				return n, err
			}
		}
		c := copy((*f.plain)[f.n:blockSizes[f.code]], p)
		f.n += c
		n += c
		p = p[c:]
	}
	return n, nil
}

func (f *frameWriter) start() error {
	if f.started {
		return nil
	}
	f.started = true
	var h [7]byte
	binary.LittleEndian.PutUint32(h[:], lz4Magic)
	h[4] = lz4Version | flagIndepend | flagSum
	h[5] = f.code << 4
	h[6] = byte(sumXXH32(h[4:6]) >> 8)
	_, err := f.w.Write(h[:])
	return err
}

func (f *frameWriter) flush() error {
	if err := f.start(); err != nil || f.n == 0 {
		return err
	}
	block := (*f.plain)[:f.n]
	f.n = 0
	c := lz4Compressor.Get().(*lz4.Compressor)
	// A destination shorter than the source: what does not shrink is stored.
	n, err := c.CompressBlock(block, (*f.packed)[:len(block)-1])
	lz4Compressor.Put(c)
	var length [4]byte
	if err != nil || n == 0 {
		binary.LittleEndian.PutUint32(length[:], uint32(len(block))|uncompressed)
	} else {
		block = (*f.packed)[:n]
		binary.LittleEndian.PutUint32(length[:], uint32(n))
	}
	if _, err := f.w.Write(length[:]); err != nil {
		return err
	}
	_, err = f.w.Write(block)
	return err
}

// Close ends the frame. It does not close the writer below.
func (f *frameWriter) Close() error {
	if err := f.flush(); err != nil {
		return err
	}
	var end [8]byte // the end mark, a length of zero, and the checksum
	binary.LittleEndian.PutUint32(end[4:], f.checksum.sum())
	_, err := f.w.Write(end[:])
	return err
}

// release gives the buffers back. The writer cannot be used any more.
func (f *frameWriter) release() {
	putBuffer(f.plain)
	putBuffer(f.packed)
	f.plain, f.packed = nil, nil
}
