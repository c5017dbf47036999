package envelope

import (
	"crypto/sha256"
	"hash"
	"io"

	"github.com/chipster/firn/internal/sha512x2"
)

// sumWriter hashes and counts what passes, and each piece of it between marks
// where a table of blocks is wanted.
type sumWriter struct {
	w     io.Writer
	hash  *sha512x2.Digest
	size  int64
	table bool

	hashedApart bool // somebody else hashes what passes

	piece  hash.Hash // nil as long as no table was wanted
	pieces []BlockHash
	sum    [sha256.Size]byte
	last   []byte // the last bytes, at most pieceContext: the next piece's hash begins with them
}

func (s *sumWriter) begin(w io.Writer, table bool) {
	s.w, s.size, s.table, s.hashedApart, s.pieces, s.last = w, 0, table, false, s.pieces[:0], s.last[:0]
	if s.hash == nil {
		s.hash = sha512x2.New()
	}
	s.hash.Reset()
	if table && s.piece == nil {
		s.piece = sha256.New()
	}
	if table {
		s.piece.Reset()
	}
}

func (s *sumWriter) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if !s.hashedApart {
		s.hash.Write(p[:n])
	}
	if s.table {
		s.piece.Write(p[:n])
		s.last = append(s.last, p[max(0, n-pieceContext):n]...)
		s.last = append(s.last[:0], s.last[max(0, len(s.last)-pieceContext):]...)
	}
	s.size += int64(n)
	return n, err
}

// mark ends a piece. The next one's hash begins a little before it.
func (s *sumWriter) mark() error {
	if s.table {
		s.pieces = append(s.pieces, BlockHash(s.piece.Sum(s.sum[:0])[:len(BlockHash{})]))
		s.piece.Reset()
		s.piece.Write(s.last)
	}
	return nil
}

// blockTable is the table's text, once all is written; "" for a file of one
// block. lengths are those of the blocks.
func (s *sumWriter) blockTable(blockSize int, lengths []int) string {
	if !s.table || len(lengths) < 2 {
		return ""
	}
	s.mark()
	t := BlockTable{BlockSize: blockSize, Header: s.pieces[0], Blocks: make([]BlockRow, len(lengths))}
	for i, n := range lengths {
		t.Blocks[i] = BlockRow{Length: n, Hash: s.pieces[i+1]}
	}
	return t.String()
}
