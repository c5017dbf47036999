package envelope

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sort"
	"sync"

	"github.com/chipster/firn/internal/manifest"
)

// ReaderAt reads the plain bytes of a sealed file at any place, block by block.
// It is safe for concurrent use.
//
// It promises that whoever was given all blocks of a file has the file that the
// list means, byte for byte, or an error. Blocks alone are checked against the
// list where it has a table of them, which it has where Writer made the file.
// Of other files' blocks, the block's own checksum is checked where there is
// one: a changed bit may go unnoticed by those who read a part, never by those
// who read all.
//
// How much is read to find a block depends on the file: nothing where the list
// has a table; a few bytes of each block, once, where there is none; all that
// comes before where blocks build upon one another. See Streamed.
type ReaderAt struct {
	opener *Opener
	entry  *manifest.Entry
	sealed io.ReaderAt
	layout layout
	table  *BlockTable // nil where the list has none

	mu     sync.Mutex
	blocks []block // nil where they were not looked for yet
	kept   []byte  // an index that was found before
	found  []byte  // one that is new
	damage error   // why they cannot be found
	stream *streamer
	reason string // why there is a stream
	whole  *whole // checks who reads all, where there is no table
	handed bool   // a block that was not verified by itself was handed out
	proved bool   // all was, and the file was verified
}

// block is a block of an lz4 frame.
type block struct {
	plain  int64 // offset of its first plain byte
	at     int64 // of its length in the frames
	length int64 // in the frames, with the four bytes of the length and any checksum
	sum    bool  // there is a checksum
}

// maxBlocks bounds the memory that an index takes: 40 MiB.
const maxBlocks = 1 << 20

// smallFile is up to which size a file without a table is read as one block,
// and checked in every way that there is.
const smallFile = maxBlock

// VerifiesBlocks tells that each block of a file is verified when it is read,
// against the list: those that a table has hashes of, and the one of a small
// file. Else Verified tells.
func VerifiesBlocks(e *manifest.Entry) bool { return e.Blocks != "" || e.Size <= smallFile }

// headSize is read when a file is opened. A packet with a session key for 4,096
// bits takes 524 bytes.
const headSize = 4 << 10

// NewReaderAt opens the sealed file of an entry, which must not be changed
// meanwhile, and reads its beginning. kept is what Index returned for it at
// another time, or nil. The errors are NewReader's.
func (o *Opener) NewReaderAt(sealed io.ReaderAt, e *manifest.Entry, kept []byte) (*ReaderAt, error) {
	return o.newReaderAt(sealed, e, kept, smallFile)
}

// newReaderAt lets tests have small files of many blocks.
func (o *Opener) newReaderAt(sealed io.ReaderAt, e *manifest.Entry, kept []byte, small int64) (*ReaderAt, error) {
	r := &ReaderAt{opener: o, entry: e, sealed: sealed, kept: kept}
	switch {
	case e.Blocks != "":
		return r, r.openTable()
	case e.Size <= small:
		r.blocks = []block{{}}
		return r, nil
	}
	err := r.open(how{})
	if errors.Is(err, errStream) {
		r.useStream(err)
		return r, nil
	}
	r.whole = newWhole(sealed, e)
	return r, err
}

// open begins with a file that has no table.
func (r *ReaderAt) open(h how) error {
	if err := r.openLayout(h); err != nil {
		return err
	}
	f, _, err := r.frame(0)
	if err == nil && f.flags&flagIndepend == 0 {
		err = fmt.Errorf("%w: the blocks of its lz4 frame are linked", errStream)
	}
	if errors.Is(err, ErrDamaged) && !h.walk {
		return r.open(how{walk: true}) // a wrong guess, maybe
	}
	return err
}

// openLayout finds where the frames are. With an error everything stays as it
// was.
func (r *ReaderAt) openLayout(h how) error {
	l := layout{sealed: r.sealed, size: r.entry.SealedSize}
	head := make([]byte, min(headSize, l.size))
	if err := l.read(head, 0); err != nil {
		return err
	}
	l.head = head
	err := l.locate(r.opener, IsEncrypted(r.entry.SealedPath), h)
	if errors.Is(err, ErrDamaged) && l.key != nil && h == (how{}) {
		return r.openLayout(how{walk: true}) // a wrong guess, maybe
	}
	if err == nil {
		r.layout = l
	}
	return err
}

// frame reads the header of the frame at x, and returns where its first block
// is. io.EOF: there is none any more.
func (r *ReaderAt) frame(x int64) (*frameReader, int64, error) {
	count := &countReader{r: io.NewSectionReader(readerAtFunc(r.layout.readFrames), x, r.layout.length()-x)}
	f := newFrameReader(count)
	if x > 0 {
		f.frames = 1
	}
	for !f.open {
		if err := f.begin(); err != nil {
			return nil, 0, err
		}
	}
	return f, x + count.n, nil
}

// openTable begins with a file whose blocks the list tells.
func (r *ReaderAt) openTable() (err error) {
	if r.table, err = parseBlockTable(r.entry.Blocks); err != nil {
		return damaged("the list: %w", err)
	}
	x := int64(frameHeader)
	for i, row := range r.table.Blocks {
		r.blocks = append(r.blocks, block{plain: int64(i) * int64(r.table.BlockSize), at: x, length: int64(row.Length)})
		x += int64(row.Length)
	}
	if n := len(r.blocks); n == 0 || r.entry.Size <= r.blocks[n-1].plain || r.entry.Size > int64(n)*int64(r.table.BlockSize) {
		return damaged("the list: a table of %d blocks of %d bytes for a file of %d", n, r.table.BlockSize, r.entry.Size)
	}
	if err := r.openLayout(how{frames: x + frameTrailer}); err != nil {
		return err
	}
	f, first, err := r.frame(0)
	if err != nil {
		return err
	}
	if r.layout.length() != x+frameTrailer || first != frameHeader || f.flags != lz4Version|flagIndepend|flagSum || f.maxBlock != r.table.BlockSize {
		return damaged("it is not the file of the list's table of blocks")
	}
	header := make([]byte, r.layout.at(frameHeader))
	if err := r.layout.read(header, 0); err != nil {
		return err
	}
	if hashBlock(header) != r.table.Header {
		return damaged("the hash of its beginning is not the one of the list")
	}
	return nil
}

func hashBlock(p []byte) (h BlockHash) {
	sum := sha256.Sum256(p)
	copy(h[:], sum[:])
	return h
}

// Streamed tells that a file can only be read from its beginning, and why; else
// it is "". It may become so while the file is read.
func (r *ReaderAt) Streamed() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reason
}

// Index is what was found out about where the blocks of a file without a table
// are, once it was; nil where there is nothing new. Who keeps it, and gives it
// to NewReaderAt, saves the search.
func (r *ReaderAt) Index() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.found
}

// Block tells which plain bytes the block has in which the byte off is: off must
// be in the file. The first call may search for all blocks of the file.
func (r *ReaderAt) Block(ctx context.Context, off int64) (start, length int64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.blocks == nil && r.stream == nil {
		if r.damage != nil {
			return 0, 0, r.damage
		}
		if err := r.index(ctx); errors.Is(err, errStream) {
			r.useStream(err)
		} else if err != nil {
			if errors.Is(err, ErrDamaged) {
				r.damage = err
			}
			return 0, 0, err
		}
	}
	if r.stream != nil {
		start = off / streamBlock * streamBlock
		return start, min(streamBlock, r.entry.Size-start), nil
	}
	start, end := r.bounds(r.number(off))
	return start, end - start, nil
}

// number of the block of a plain byte.
func (r *ReaderAt) number(off int64) int {
	return sort.Search(len(r.blocks)-1, func(i int) bool { return r.blocks[i+1].plain > off })
}

func (r *ReaderAt) bounds(i int) (start, end int64) {
	end = r.entry.Size
	if i+1 < len(r.blocks) {
		end = r.blocks[i+1].plain
	}
	return r.blocks[i].plain, end
}

func (r *ReaderAt) useStream(why error) {
	r.stream, r.reason = newStreamer(r), why.Error()
	r.whole = nil // a stream checks by itself
}

// ReadBlock decodes the block that begins with the plain byte start, as Block
// tells. Its bytes must not be changed. Several blocks can be decoded at once.
// Before they are given away, HandOut must agree.
func (r *ReaderAt) ReadBlock(ctx context.Context, start int64) ([]byte, error) {
	r.mu.Lock()
	stream := r.stream
	r.mu.Unlock()
	if stream != nil {
		return stream.read(ctx, start)
	}
	i := r.number(start)
	if r.blocks[i].length == 0 {
		return r.readSmall()
	}
	start, end := r.bounds(i)
	return r.decode(i, end-start)
}

// readSmall reads all of a small file.
func (r *ReaderAt) readSmall() ([]byte, error) {
	all, err := r.openWhole()
	if err != nil {
		return nil, err
	}
	defer all.Close()
	p := make([]byte, r.entry.Size)
	if _, err := io.ReadFull(all, p); err != nil && len(p) > 0 {
		return nil, cutShort(err)
	}
	return p, all.verify()
}

// decode decodes block i, of size plain bytes.
func (r *ReaderAt) decode(i int, size int64) ([]byte, error) {
	b := &r.blocks[i]
	from, to := r.layout.span(b.at, b.length)
	if r.table != nil {
		from, to = r.piece(i)
	}
	// What is stored needs no other place than the one that it is read to.
	var raw []byte
	stored := 4 + size
	if b.sum {
		stored += 4
	}
	if b.length == stored {
		raw = make([]byte, to-from)
	} else {
		buf := sealedBuffers.Get().(*bytes.Buffer)
		defer sealedBuffers.Put(buf)
		buf.Reset()
		buf.Grow(int(to - from))
		raw = buf.AvailableBuffer()[:to-from]
	}
	if err := r.layout.read(raw, from); err != nil {
		return nil, err
	}
	if r.table != nil && hashBlock(raw) != r.table.Blocks[i].Hash {
		return nil, damaged("the hash of block %d is not the one of the list", i)
	}
	packed, err := r.layout.extract(raw, from, b.at, b.length)
	if err != nil {
		return nil, err
	}
	return decodeBlock(packed, int(size), b.sum)
}

var sealedBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// piece is what the hash of block i is of.
func (r *ReaderAt) piece(i int) (from, to int64) {
	to = r.layout.size
	if i+1 < len(r.blocks) {
		to = r.layout.at(r.blocks[i+1].at)
	}
	return max(0, r.layout.at(r.blocks[i].at)-pieceContext), to
}

// HandOut must be called before any bytes of a block are given to those who
// read the file, each time. When with this block all of the file is given away,
// it returns only after all of it was checked. An error is about the file, not
// the block.
func (r *ReaderAt) HandOut(ctx context.Context, start int64) error {
	r.mu.Lock()
	if r.stream != nil {
		// The last block was decoded only because the file is right.
		r.handed = true
		r.proved = r.proved || r.entry.Size-start <= streamBlock
	}
	if r.whole == nil {
		r.mu.Unlock()
		return nil
	}
	r.handed = true
	w, i := r.whole, r.number(start)
	next, complete := w.handOut(i, len(r.blocks))
	sealed := r.entry.SealedSize
	if next < len(r.blocks) {
		sealed = r.layout.at(r.blocks[next].at)
	}
	r.mu.Unlock()
	if !complete {
		w.follow(sealed)
		return nil
	}
	if err := w.wait(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	r.proved = true
	r.mu.Unlock()
	return nil
}

// Verified tells that all that was handed out so far was verified: each block
// by itself, or, once all blocks were handed out, the file.
func (r *ReaderAt) Verified() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.proved || !r.handed
}

// ReadAt is io.ReaderAt's, and keeps no block: each call decodes what it needs.
func (r *ReaderAt) ReadAt(p []byte, off int64) (n int, err error) {
	ctx := context.Background()
	if off < 0 {
		return 0, fmt.Errorf("read at the negative offset %d", off)
	}
	for {
		at := off + int64(n)
		if at >= r.entry.Size && r.entry.Size > 0 {
			return n, io.EOF
		}
		if n == len(p) {
			return n, nil
		}
		// An empty file has a block all the same: there is something to check.
		start, _, err := r.Block(ctx, at)
		if err != nil {
			return n, err
		}
		block, err := r.ReadBlock(ctx, start)
		if err != nil {
			return n, err
		}
		if err := r.HandOut(ctx, start); err != nil {
			return n, err
		}
		if r.entry.Size == 0 {
			return n, io.EOF
		}
		n += copy(p[n:], block[at-start:])
	}
}

// Close stops what goes on in the background, and gives back what Rest does.
// Nothing may be read any more. It does not close the sealed file.
func (r *ReaderAt) Close() {
	if r.whole != nil {
		r.whole.close()
	}
	r.Rest()
}

// Rest gives back the memory that a streamed file takes between two blocks. The
// next block that is read begins anew.
func (r *ReaderAt) Rest() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stream != nil {
		r.stream.rest()
	}
}
