package envelope

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// BlockTable says where the blocks of a sealed file are, and what hash each of
// them has: what is needed to read from the middle and trust it. The file is one
// lz4 frame of independent blocks. It is cut before each block: the first piece
// is all that comes before the first block, the last one holds the last block
// and all that comes behind.
//
// A block's hash begins pieceContext bytes before its piece: to decrypt a block
// of the cipher takes the one before.
type BlockTable struct {
	BlockSize int        // plain bytes of each block but the last
	Header    BlockHash  // of the piece before the first block
	Blocks    []BlockRow // one a block
}

// BlockRow is one block of a BlockTable.
type BlockRow struct {
	Length int       // bytes in the lz4 frame, with the four of the length
	Hash   BlockHash // of the sealed file's piece
}

// BlockHash is the first half of a SHA-256, of sealed bytes. Who could find two
// pieces of one hash would have to choose what encryption makes random.
type BlockHash [sha256.Size / 2]byte

const pieceContext = 40

const (
	frameHeader  = 7 // bytes of an lz4 frame of Writer's before the first block
	frameTrailer = 8 // and behind the last one
)

// String is the table's text in a list's column: base64, without padding, of
// the block size, the header's hash, and each block's length and hash; numbers
// are unsigned varints.
func (t *BlockTable) String() string {
	b := binary.AppendUvarint(nil, uint64(t.BlockSize))
	b = append(b, t.Header[:]...)
	for i := range t.Blocks {
		b = binary.AppendUvarint(b, uint64(t.Blocks[i].Length))
		b = append(b, t.Blocks[i].Hash[:]...)
	}
	return base64.RawStdEncoding.EncodeToString(b)
}

// parseBlockTable reads what String writes.
func parseBlockTable(s string) (*BlockTable, error) {
	b, err := base64.RawStdEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("table of blocks: %w", err)
	}
	cut := func(limit int) (n int, h BlockHash) {
		v, size := binary.Uvarint(b)
		if err != nil || size <= 0 || v > uint64(limit) || len(b) < size+len(h) {
			err = fmt.Errorf("table of blocks: no length and hash at byte %d from the end", len(b))
			return 0, h
		}
		copy(h[:], b[size:])
		b = b[size+len(h):]
		return int(v), h
	}
	t := &BlockTable{}
	t.BlockSize, t.Header = cut(maxBlock)
	for len(b) > 0 && err == nil {
		var row BlockRow
		row.Length, row.Hash = cut(maxBlock + 4)
		if row.Length <= 4 && err == nil {
			err = fmt.Errorf("table of blocks: block %d is empty", len(t.Blocks))
		}
		t.Blocks = append(t.Blocks, row)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}
