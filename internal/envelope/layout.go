package envelope

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/chipster/firn/internal/cfb"
)

// layout says where the lz4 frames lie in a sealed file, and reads from their
// middle. It is safe for concurrent use once it is made.
//
// There are four kinds of offsets. One in the frames is x; the frames are the
// content of a literal packet, from frames on. The literal packet lies in the
// plaintext of an encrypted packet, whose content are a version byte and the
// ciphertext, byte for byte as long as the plaintext. That packet lies in the
// file.
type layout struct {
	sealed io.ReaderAt
	size   int64  // of the sealed file
	head   []byte // its beginning, which is asked for more than once

	key    *cfb.Key // nil: the file is the frames, and nothing of the following
	outer  *chunks  // the encrypted packet in the file
	inner  *chunks  // the literal packet in the plaintext
	frames int64    // in the literal packet's content
}

// read fills p from the file.
func (l *layout) read(p []byte, pos int64) error {
	if pos >= 0 && pos+int64(len(p)) <= int64(len(l.head)) {
		copy(p, l.head[pos:])
		return nil
	}
	n, err := l.sealed.ReadAt(p, pos)
	if n == len(p) {
		return nil
	}
	return cutShort(err)
}

// ciphertext that has to be there to decrypt from a byte on: the rest of its
// block, and the block before.
func cipherStart(at int64) int64 {
	return max(0, at/cfb.BlockSize*cfb.BlockSize-cfb.BlockSize)
}

// versionSize is how long the version is in the encrypted packet, before the
// ciphertext.
const versionSize = 1

// decrypt takes the plaintext from at on out of raw, which begins at position
// pos of the file and holds all that it needs. What it returns is in raw.
func (l *layout) decrypt(raw []byte, pos, at, n int64) ([]byte, error) {
	start := cipherStart(at)
	text := raw[:at+n-start]
	if err := l.outer.extract(text, raw, pos, versionSize+start); err != nil {
		return nil, err
	}
	var iv [cfb.BlockSize]byte
	from := int64(0)
	if at >= cfb.BlockSize {
		from = int64(copy(iv[:], text))
	}
	l.key.NewDecrypter(iv).Decrypt(text[from:], text[from:])
	return text[at-start:], nil
}

// readPlaintext fills p with plaintext of the encrypted packet.
func (l *layout) readPlaintext(p []byte, at int64) error {
	n := int64(len(p))
	if n == 0 {
		return nil
	}
	if at+n > l.outer.length()-versionSize {
		return damaged("openpgp: %w", io.ErrUnexpectedEOF)
	}
	pos := l.outer.at(versionSize + cipherStart(at))
	raw := make([]byte, l.outer.at(versionSize+at+n-1)+1-pos)
	if err := l.read(raw, pos); err != nil {
		return err
	}
	text, err := l.decrypt(raw, pos, at, n)
	copy(p, text)
	return err
}

// length of the frames, as far as the layout tells.
func (l *layout) length() int64 {
	if l.key == nil {
		return l.size
	}
	return l.inner.length() - l.frames
}

// at is the position in the file of a byte of the frames.
func (l *layout) at(x int64) int64 {
	if l.key == nil {
		return x
	}
	return l.outer.at(versionSize + l.inner.at(l.frames+x))
}

// span is what of the file is needed for n > 0 bytes of the frames.
func (l *layout) span(x, n int64) (from, to int64) {
	if l.key == nil {
		return x, x + n
	}
	from = l.outer.at(versionSize + cipherStart(l.inner.at(l.frames+x)))
	return from, l.at(x+n-1) + 1
}

// extract takes n bytes of the frames from x on out of raw, which begins at
// position pos of the file and holds their span. What it returns is in raw.
func (l *layout) extract(raw []byte, pos, x, n int64) ([]byte, error) {
	if l.key == nil {
		return raw[x-pos : x-pos+n], nil
	}
	at := l.inner.at(l.frames + x)
	text, err := l.decrypt(raw, pos, at, l.inner.at(l.frames+x+n-1)+1-at)
	if err != nil {
		return nil, err
	}
	return text[:n], l.inner.extract(text[:n], text, at, l.frames+x)
}

// readFrames fills p with bytes of the frames.
func (l *layout) readFrames(p []byte, x int64) error {
	n := int64(len(p))
	if n == 0 {
		return nil
	}
	if x+n > l.length() {
		return damaged("lz4: %w", io.ErrUnexpectedEOF)
	}
	from, to := l.span(x, n)
	raw := make([]byte, to-from)
	if err := l.read(raw, from); err != nil {
		return err
	}
	got, err := l.extract(raw, from, x, n)
	copy(p, got)
	return err
}

// errStream says that a file can only be read from its beginning.
var errStream = errors.New("it can only be read from its beginning")

// how to find the chunks of packets.
type how struct {
	// frames is the length of the frames where it is known and Writer made the
	// file, else 0. Then nothing but the file's beginning is read.
	frames int64
	// walk from chunk to chunk, since a guess proved wrong.
	walk bool
}

func (h how) find(f firstChunk, read func(p []byte, pos int64) error, end, length int64) (*chunks, error) {
	switch {
	case h.frames > 0:
		c := f.of(length)
		if c.length() != length {
			return nil, damaged("openpgp: a packet of %d bytes where the list's table of blocks asks for %d", c.length(), length)
		}
		return c, nil
	case h.walk:
		return f.walk(read, end)
	}
	return f.find(read, end)
}

// literalHeader is how long Writer makes it: format, no file name, no date.
const literalHeader = 6

// locate finds the frames of a sealed file. An encrypted one's key comes from o.
// errStream: something lies between that would have to be decoded.
func (l *layout) locate(o *Opener, encrypted bool, h how) error {
	if !encrypted {
		return nil
	}
	in := newPosReader(io.NewSectionReader(readerAtFunc(l.read), 0, l.size), 512)
	sealed, key, err := o.openSEIPD(in)
	if err != nil {
		return err
	}
	l.key = key
	length := versionSize + prefixSize + 1 + packetLength(literalHeader+h.frames) + mdcSize
	if l.outer, err = h.find(firstChunkOf(&sealed.first, sealed.pos, l.size), l.read, l.size, length); err != nil {
		return orStream(err)
	}
	if l.outer.end() != l.size {
		return damaged("openpgp: the encrypted data does not end with the file")
	}
	end := l.outer.length() - versionSize - mdcSize
	inside := newPosReader(io.NewSectionReader(readerAtFunc(l.readPlaintext), prefixSize, max(0, end-prefixSize)), 512)
	for {
		tag, b, err := readHeader(inside.Reader)
		if err != nil {
			return cutShort(err)
		}
		first := firstChunkOf(b, prefixSize+inside.pos(), end)
		switch tag {
		case tagLiteral:
			if l.frames, err = skipLiteralHeader(b); err != nil {
				return err
			}
			if l.inner, err = h.find(first, l.readPlaintext, end, l.frames+h.frames); err != nil {
				return orStream(err)
			}
			if l.inner.end() > end || l.inner.length() < l.frames {
				return damaged("openpgp: %w", io.ErrUnexpectedEOF)
			}
			return nil
		case tagMarker, tagPadding:
			if _, err := io.Copy(io.Discard, b); err != nil {
				return err
			}
		case tagCompressed:
			return fmt.Errorf("%w: OpenPGP's own compression lies around the lz4 frame", errStream)
		default:
			return unexpected(tag)
		}
	}
}

func orStream(err error) error {
	if errors.Is(err, errTooMany) {
		return fmt.Errorf("%w: its chunks are of too many sizes", errStream)
	}
	return err
}

// readerAtFunc reads p whole or fails.
type readerAtFunc func(p []byte, pos int64) error

func (f readerAtFunc) ReadAt(p []byte, pos int64) (int, error) {
	if err := f(p, pos); err != nil {
		return 0, err
	}
	return len(p), nil
}

// posReader knows where it is.
type posReader struct {
	*bufio.Reader
	count countReader
}

type countReader struct {
	r io.Reader
	n int64
}

func (c *countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func newPosReader(r io.Reader, size int) *posReader {
	p := &posReader{count: countReader{r: r}}
	p.Reader = bufio.NewReaderSize(&p.count, size)
	return p
}

func (p *posReader) pos() int64 { return p.count.n - int64(p.Buffered()) }
