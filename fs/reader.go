package fs

import (
	"context"
	"crypto/sha512"
	"fmt"
	"hash"
	"io"
	"math"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
)

const (
	// blockSize is a compromise: what reads at random places waste, and what
	// each block costs to look up and to keep.
	blockSize = 256 << 10
	// keepBehind is how many blocks before the wanted one are kept while a
	// decoder hurries to it. The kernel's requests overtake one another.
	keepBehind = 16
)

// sealedFile is an open sealed file.
type sealedFile interface {
	io.ReaderAt
	io.Closer
}

// plainReader reads the plain bytes of one sealed file at any place. It decodes
// straight ahead and keeps what it decoded in memory's budget; to go back
// behind that it begins anew.
//
// The last block is handed out only when the whole file proved to be what its
// manifest says: size, SHA-512, and the checks of the envelope. Those before it
// are as good as the checks so far.
//
// It is safe for concurrent use. It knows nothing of FUSE.
type plainReader struct {
	memory *memory
	opener *envelope.Opener
	sealed sealedFile
	entry  *manifest.Entry

	turn chan struct{} // held by the one who decodes, who also uses what follows
	bad  int64         // the first block that cannot be decoded, and why
	err  error
}

// newPlainReader takes over the sealed file, which is closed by Close.
func newPlainReader(m *memory, o *envelope.Opener, sealed sealedFile, e *manifest.Entry) *plainReader {
	return &plainReader{memory: m, opener: o, sealed: sealed, entry: e, turn: make(chan struct{}, 1)}
}

// Close must not be called before all reads have returned. What was decoded of
// a damaged file is forgotten: it may be repaired before it is opened again.
func (r *plainReader) Close() error {
	r.memory.take(r, 0)
	if r.err != nil {
		r.memory.dropBlocks(r.entry.SealedSHA512, r.bad)
	}
	return r.sealed.Close()
}

// ReadAt is as io.ReaderAt's, and gives up when ctx ends.
func (r *plainReader) ReadAt(ctx context.Context, p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("read at the negative offset %d", off)
	}
	for n < len(p) {
		at := off + int64(n)
		if at >= r.entry.Size {
			return n, io.EOF
		}
		block, err := r.block(ctx, at/blockSize)
		if err != nil {
			return n, err
		}
		n += copy(p[n:], block[at%blockSize:])
	}
	return n, nil
}

func (r *plainReader) block(ctx context.Context, index int64) ([]byte, error) {
	id := blockID{r.entry.SealedSHA512, index}
	if block := r.memory.block(id); block != nil {
		return block, nil
	}
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if block := r.memory.block(id); block != nil {
		return block, nil // decoded by the one before
	}
	if r.err != nil && index >= r.bad {
		return nil, r.err
	}
	return r.decode(ctx, index)
}

// decode goes on to a block, or begins anew where that lies behind.
func (r *plainReader) decode(ctx context.Context, index int64) (block []byte, err error) {
	cost := decoderCost(r.entry.Size)
	d := r.memory.take(r, cost)
	defer func() { r.memory.rest(r, d, cost) }()
	if d == nil || d.next > index {
		d = &decoder{sum: sha512.New()}
		if d.plain, err = r.opener.NewReader(io.NewSectionReader(r.sealed, 0, math.MaxInt64), envelope.IsEncrypted(r.entry.SealedPath)); err != nil {
			d, r.bad, r.err = nil, 0, err
			return nil, err
		}
	}
	for d.next <= index {
		if err := ctx.Err(); err != nil {
			return nil, err // the decoder stays where it is, for the next try
		}
		at := d.next
		block, err = d.decode(r.entry, index-at >= keepBehind)
		if err != nil {
			d, r.bad, r.err = nil, at, err
			return nil, err
		}
		if index-at < keepBehind {
			r.memory.keepBlock(blockID{r.entry.SealedSHA512, at}, block)
		}
	}
	if d.next*blockSize >= r.entry.Size {
		d = nil // at its end
	}
	return block, nil
}

// decoder is a stream of plain bytes between two blocks.
type decoder struct {
	plain   io.Reader
	next    int64 // index of the block that follows
	sum     hash.Hash
	scratch []byte // for blocks that nobody wants
}

// decoderCost estimates the memory of a decoder: four blocks of an lz4 frame,
// which are small where the file is, and the buffers between.
func decoderCost(size int64) int64 {
	const maxFrameBlock, buffers = 4 << 20, 256 << 10
	return 4*min(size, maxFrameBlock) + buffers
}

// decode decodes the next block. With skip its content is only good until the
// next call.
func (d *decoder) decode(e *manifest.Entry, skip bool) ([]byte, error) {
	size := min(blockSize, e.Size-d.next*blockSize)
	block := d.scratch
	if !skip {
		block = make([]byte, size)
	} else if block == nil {
		d.scratch = make([]byte, blockSize)
		block = d.scratch
	}
	block = block[:size]
	if n, err := io.ReadFull(d.plain, block); err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil, fmt.Errorf("%w: %d bytes where the list says %d", envelope.ErrDamaged, d.next*blockSize+int64(n), e.Size)
	} else if err != nil {
		return nil, err
	}
	d.sum.Write(block)
	d.next++
	if d.next*blockSize < e.Size {
		return block, nil
	}
	return block, d.finish(e)
}

// finish verifies a file of which all bytes have been read.
func (d *decoder) finish(e *manifest.Entry) error {
	switch _, err := io.ReadFull(d.plain, make([]byte, 1)); {
	case err == nil:
		return fmt.Errorf("%w: more than the %d bytes of the list", envelope.ErrDamaged, e.Size)
	case err != io.EOF:
		return err
	}
	if manifest.Hash(d.sum.Sum(nil)) != e.SHA512 {
		return fmt.Errorf("%w: the SHA-512 is not the one of the list", envelope.ErrDamaged)
	}
	return nil
}
