package envelope

import (
	"errors"
	"io"

	"github.com/chipster/firn/internal/cfb"
	"github.com/chipster/firn/internal/sha512x2"
)

// Writer seals one file: what is written to it arrives, compressed and
// encrypted, at the writer below. It is not safe for concurrent use; several
// of one Session may work side by side.
//
// A file of at most 1 MiB is sealed by the caller's goroutine. For a larger one,
// or one of unknown size, others help: the writer below is called by one of
// them, though never by two at once, and by none after Close. Memory is about
// 250 KiB and two blocks, of at most 1 MiB; for large files, see pipeline.
//
// The zero value is for Reset.
type Writer struct {
	code     byte // of the block size
	size     int64
	plain    *sha512x2.Digest
	checksum xxh32
	block    *sealBlock // being filled; nil: none

	frame     frameWriter
	encrypted bool
	literal   packetWriter // only where encrypted, as the next two
	cipher    mdcWriter
	seipd     packetWriter
	sealed    sumWriter

	pipe *pipeline // nil: the caller does all
	err  error     // what went wrong first
	sums Sums
}

// NewWriter begins a sealed file on w. sizeHint is the plain file's length in
// bytes, or negative where nobody knows it. It chooses the block size, and may
// be wrong; but where it says that the file has one block, Close makes no table.
func (s *Session) NewWriter(w io.Writer, sizeHint int64) (*Writer, error) {
	e := &Writer{}
	if err := e.Reset(s, w, sizeHint); err != nil {
		return nil, err
	}
	return e, nil
}

var literalBegin = []byte{'b', 0, 0, 0, 0, 0} // binary data, no file name, no date: nothing that the message would tell

var errWiped = errors.New("the session's key is wiped")

// Reset begins another sealed file, as NewWriter does, after Close. It saves
// making everything anew. After an error, only Reset may be called.
func (e *Writer) Reset(s *Session, w io.Writer, sizeHint int64) error {
	if s.wiped.Load() {
		return errWiped
	}
	if e.plain == nil {
		e.plain = sha512x2.New()
	}
	e.plain.Reset()
	e.checksum.reset()
	e.code, e.size, e.encrypted, e.err = blockSizeFor(sizeHint), 0, s.key != nil, nil
	e.sealed.begin(w, isLarge(sizeHint))
	if err := e.beginPackets(s); err != nil {
		e.release()
		return err
	}
	if isLarge(sizeHint) {
		e.pipe = newPipeline(e)
		if e.encrypted {
			e.seipd.hand = func(c *packetChunk) { e.pipe.sealing.queue <- c }
		}
	}
	return nil
}

// beginPackets writes all that comes before the first block.
func (e *Writer) beginPackets(s *Session) error {
	if !e.encrypted {
		return e.frame.begin(&e.sealed, e.code)
	}
	e.seipd.begin(&e.sealed, tagSEIPD)
	e.literal.begin(&e.cipher, tagLiteral)
	if _, err := e.sealed.Write(s.header); err != nil {
		return err
	}
	if err := e.cipher.begin(s, &e.seipd); err != nil {
		return err
	}
	if _, err := e.literal.Write(literalBegin); err != nil {
		return err
	}
	return e.frame.begin(&e.literal, e.code)
}

// Write seals plain bytes. An error of the writer below may come some MiB late.
func (e *Writer) Write(p []byte) (n int, err error) {
	for n < len(p) && e.failed() == nil {
		c := copy(e.space(), p[n:])
		e.filled(c)
		n += c
	}
	return n, e.failed()
}

// ReadFrom seals all that r has. It spares copying what is read.
func (e *Writer) ReadFrom(r io.Reader) (n int64, err error) {
	for e.failed() == nil {
		c, err := r.Read(e.space())
		e.filled(c)
		n += int64(c)
		if err == io.EOF {
			break
		}
		if err != nil {
			return n, err
		}
	}
	return n, e.failed()
}

func (e *Writer) failed() error {
	if e.pipe != nil {
		return e.pipe.err()
	}
	return e.err
}

// space is what of the block is free, at least a byte.
func (e *Writer) space() []byte {
	switch {
	case e.block != nil:
	case e.pipe != nil:
		e.block = e.pipe.block()
	default:
		e.block = newSealBlock(e.code)
	}
	return (*e.block.plain)[e.block.n:blockSizes[e.code]]
}

func (e *Writer) filled(n int) {
	e.block.n += n
	e.size += int64(n)
	if e.block.n == blockSizes[e.code] {
		e.flush()
	}
}

// flush has the block sealed.
func (e *Writer) flush() {
	b := e.block
	if b == nil || b.n == 0 {
		return
	}
	if e.pipe != nil {
		e.block = nil
		e.pipe.send(b)
		return
	}
	e.hash(b)
	b.pack()
	if e.err == nil {
		e.err = e.frame.add(b)
	}
	b.unpack()
	b.n = 0
}

func (e *Writer) hash(b *sealBlock) {
	e.plain.Write(b.bytes())
	e.checksum.write(b.bytes())
}

// Close ends the sealed file and returns its sums, which are only valid
// without an error. It does not close the writer below. Close must be called
// once, also to give up a file, in which case its result does not matter.
func (e *Writer) Close() (Sums, error) {
	e.flush()
	if e.pipe != nil {
		e.pipe.endBlocks()
	}
	err := e.failed()
	if err == nil {
		err = e.endPackets()
	}
	if e.pipe != nil {
		if late := e.pipe.end(); err == nil {
			err = late
		}
	}
	if err == nil {
		e.sums = Sums{Size: e.size, SealedSize: e.sealed.size, Blocks: e.sealed.blockTable(blockSizes[e.code], e.frame.lengths)}
		e.plain.Sum(e.sums.SHA512[:0])
		e.sealed.hash.Sum(e.sums.SealedSHA512[:0])
	}
	e.release()
	if err != nil {
		return Sums{}, err
	}
	return e.sums, nil
}

func (e *Writer) endPackets() error {
	if err := e.frame.end(e.checksum.sum()); err != nil || !e.encrypted {
		return err
	}
	if err := e.literal.Close(); err != nil {
		return err
	}
	return e.cipher.Close()
}

// release gives the buffers back, and lets go of what is not the Writer's own.
func (e *Writer) release() {
	if e.block != nil {
		e.block.release()
		e.block = nil
	}
	if e.encrypted {
		e.literal.release()
		e.seipd.release()
	}
	e.pipe, e.cipher.cfb, e.sealed.w, e.frame.w = nil, cfb.Encrypter{}, nil, nil
}
