package envelope

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/pierrec/lz4/v4"
)

// index finds the blocks of a file without a table: by the index that was kept,
// or by going from block to block, of which it reads the length alone.
func (r *ReaderAt) index(ctx context.Context) error {
	if r.kept != nil {
		blocks, err := r.parseIndex(r.kept)
		if err == nil {
			r.blocks = blocks
			return nil
		}
		r.kept = nil
	}
	blocks, err := r.hop(ctx)
	if errors.Is(err, ErrDamaged) && r.layout.key != nil {
		// It may be that what the layout was guessed from was no length, and
		// looked like one.
		if err = r.openLayout(how{walk: true}); err == nil {
			blocks, err = r.hop(ctx)
		}
	}
	if err != nil {
		return err
	}
	r.blocks, r.found = blocks, formatIndex(blocks)
	return nil
}

// hop goes from block to block. Blocks are taken for full but for a frame's last
// one, which is decoded: if all add up to the size in the list, they were.
func (r *ReaderAt) hop(ctx context.Context) (blocks []block, err error) {
	var plain int64
	for x := int64(0); ; {
		f, next, err := r.frame(x)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if f.flags&flagIndepend == 0 {
			return nil, fmt.Errorf("%w: the blocks of its lz4 frame are linked", errStream)
		}
		begin := len(blocks)
		if blocks, x, err = r.hopFrame(ctx, f, next, blocks, plain); err != nil {
			return nil, err
		}
		if len(blocks) > begin {
			last := &blocks[len(blocks)-1]
			size, err := r.sizeOf(last, f.maxBlock)
			if err != nil {
				return nil, err
			}
			plain = last.plain + size
			if size == 0 {
				blocks = blocks[:len(blocks)-1]
			}
		}
	}
	if plain != r.entry.Size {
		// Either blocks are shorter than they may be, which is unusual and
		// right, or it is not the file of the list.
		return nil, fmt.Errorf("%w: it has blocks of uneven sizes", errStream)
	}
	return blocks, nil
}

// hopFrame goes through a frame whose first block is at x, and returns what is
// behind it.
func (r *ReaderAt) hopFrame(ctx context.Context, f *frameReader, x int64, blocks []block, plain int64) ([]block, int64, error) {
	check := f.flags&flagBlockSum != 0
	for {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		var b [4]byte
		if err := r.layout.readFrames(b[:], x); err != nil {
			return nil, 0, err
		}
		length := binary.LittleEndian.Uint32(b[:])
		if length == 0 {
			x += 4
			if f.flags&flagSum != 0 {
				x += 4
			}
			return blocks, x, nil
		}
		n := int64(length &^ uncompressed)
		if n > int64(f.maxBlock) {
			return nil, 0, damaged("lz4: a block of %d bytes in a frame of at most %d", n, f.maxBlock)
		}
		if len(blocks) == maxBlocks {
			return nil, 0, fmt.Errorf("%w: it has more than %d blocks", errStream, maxBlocks)
		}
		k := block{plain: plain, at: x, length: 4 + n, sum: check}
		if check {
			k.length += 4
		}
		x += k.length
		switch {
		case length&uncompressed == 0:
			plain += int64(f.maxBlock)
		case n == 0:
			continue // nobody reads it
		default:
			plain += n
		}
		blocks = append(blocks, k)
	}
}

// sizeOf decodes a block to learn its size.
func (r *ReaderAt) sizeOf(b *block, most int) (int64, error) {
	packed := make([]byte, b.length)
	if err := r.layout.readFrames(packed, b.at); err != nil {
		return 0, err
	}
	plain, err := unpack(make([]byte, roomFor(len(packed), most, false)), packed, b.sum)
	return int64(len(plain)), err
}

// decodeBlock decodes a block that has its length before it. The bytes that it
// returns may be those of packed.
func decodeBlock(packed []byte, size int, sum bool) ([]byte, error) {
	var dst []byte
	if binary.LittleEndian.Uint32(packed)&uncompressed == 0 {
		dst = make([]byte, size)
	}
	plain, err := unpack(dst, packed, sum)
	if err == nil && len(plain) != size {
		err = damaged("lz4: a block of %d bytes where %d should be", len(plain), size)
	}
	return plain, err
}

func unpack(dst, packed []byte, sum bool) ([]byte, error) {
	length := binary.LittleEndian.Uint32(packed)
	data := packed[4:]
	if sum {
		n := len(data) - 4
		if n < 0 || sumXXH32(data[:n]) != binary.LittleEndian.Uint32(data[n:]) {
			return nil, damaged("lz4: checksum of a block")
		}
		data = data[:n]
	}
	if int(length&^uncompressed) != len(data) {
		return nil, damaged("lz4: a block of %d bytes where %d should be", length&^uncompressed, len(data))
	}
	if length&uncompressed != 0 {
		return data, nil
	}
	n, err := lz4.UncompressBlock(data, dst)
	if err != nil {
		return nil, damaged("lz4: %w", err)
	}
	return dst[:n], nil
}

// formatIndex writes, as unsigned varints, of each block: how far it is from the
// one before, in the file and in the frames, and twice its length, one more
// where it has a checksum. Before them is a checksum of the index, for what is
// kept is a cache.
func formatIndex(blocks []block) []byte {
	p := make([]byte, crc32.Size)
	var last block
	for _, b := range blocks {
		p = binary.AppendUvarint(p, uint64(b.plain-last.plain))
		p = binary.AppendUvarint(p, uint64(b.at-last.at))
		length := uint64(b.length) << 1
		if b.sum {
			length |= 1
		}
		p = binary.AppendUvarint(p, length)
		last = b
	}
	binary.BigEndian.PutUint32(p, crc32.ChecksumIEEE(p[crc32.Size:]))
	return p
}

var errIndex = errors.New("the index does not fit the file")

// parseIndex reads what formatIndex wrote. An index that could not be this
// file's is an error; whether it is, each block shows.
func (r *ReaderAt) parseIndex(p []byte) (blocks []block, err error) {
	if len(p) < crc32.Size || crc32.ChecksumIEEE(p[crc32.Size:]) != binary.BigEndian.Uint32(p) {
		return nil, errIndex
	}
	p = p[crc32.Size:]
	next := func() int64 {
		v, n := binary.Uvarint(p)
		if n <= 0 || v > 1<<60 {
			err, n, v = errIndex, len(p), 0
		}
		p = p[n:]
		return int64(v)
	}
	var last block
	for len(p) > 0 {
		b := block{plain: last.plain + next(), at: last.at + next()}
		length := next()
		b.length, b.sum = length>>1, length&1 != 0
		size := b.plain - last.plain
		if b.length < 4 || b.length > maxBlock+8 || b.at < last.at+last.length || b.at > r.layout.length()-b.length ||
			len(blocks) > 0 && (size <= 0 || size > maxBlock) {
			return nil, errIndex
		}
		blocks = append(blocks, b)
		last = b
	}
	if rest := r.entry.Size - last.plain; len(blocks) == 0 || blocks[0].plain != 0 || rest <= 0 || rest > maxBlock {
		return nil, errIndex
	}
	return blocks, err
}
