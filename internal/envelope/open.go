package envelope

import (
	"bufio"
	"compress/bzip2"
	"compress/flate"
	"compress/zlib"
	"crypto/sha512"
	"fmt"
	"hash"
	"io"
	"math"
	"slices"

	"github.com/chipster/firn/internal/manifest"
)

// Reader reads the plain bytes of a sealed file from its beginning. It is not
// safe for concurrent use.
type Reader struct {
	*ahead
	below []*ahead // the sources before
}

// Open opens the sealed file of an entry. io.EOF says that the file is whole and
// unchanged: all that the envelope can verify, its size, and the SHA-512 of the
// list. It never gives more than the list says. The keys of the Opener are
// tried; ErrKey when none fits.
//
// Decrypting, decoding and hashing run side by side from the second block on.
// Memory is some six blocks, of at most 4 MiB each.
func (o *Opener) Open(sealed io.Reader, e *manifest.Entry) (*Reader, error) {
	r, err := o.newReader(sealed, IsEncrypted(e.SealedPath), e.SealedSize, e.Size)
	if err != nil {
		return nil, err
	}
	v := &verifier{blocks: r.ahead, want: e, sum: sha512.New()}
	r.below = append(r.below, r.ahead)
	r.ahead = newAhead(v.next, 2)
	return r, nil
}

// NewReader opens a sealed file of which no list tells. encrypted says which form
// it must have: a file that should be encrypted is not read when it is not.
func (o *Opener) NewReader(sealed io.Reader, encrypted bool) (*Reader, error) {
	return o.newReader(sealed, encrypted, math.MaxInt64, math.MaxInt64)
}

// newReader takes the sealed file's size, so that small files need little
// memory; nothing else depends on it. By the plain size it gives up on what
// OpenPGP's compression makes endless.
func (o *Opener) newReader(sealed io.Reader, encrypted bool, size, plain int64) (*Reader, error) {
	in := newPosReader(sealed, int(min(size, 128<<10)))
	r := &Reader{}
	d := &decoder{finish: func() error { return nil }}
	if encrypted {
		content, decrypted, err := o.openMessage(in, int(min(size, pieceSize)))
		if err != nil {
			return nil, err
		}
		r.below = append(r.below, decrypted)
		d.frame = newFrameReader(&boundedReader{content, framesBound(plain)})
		d.finish = func() error { return endOf(decrypted, in) }
	} else {
		d.frame = newFrameReader(in)
	}
	r.ahead = newAhead(d.next, 2)
	return r, nil
}

// Close stops what goes on in the background. It must be called, and may be
// called before the end. It does not close the reader below.
func (r *Reader) Close() {
	r.close()
	for _, a := range slices.Backward(r.below) {
		a.close()
	}
}

// decoder is the source that makes blocks of frames.
type decoder struct {
	frame  *frameReader
	finish func() error // verifies what follows the frames
	held   []byte       // decoded; given once another block or the end is known to be good
	begun  bool
	err    error
}

// next gives the block before the one that it decodes. With the end verified, it
// gives the last block; with an error it never does.
func (d *decoder) next(spare []byte) ([]byte, error) {
	for d.err == nil {
		block, err := d.frame.next(spare)
		if err == io.EOF {
			if ferr := d.finish(); ferr != nil {
				err = ferr
			}
		}
		cleared, had := d.held, d.begun
		d.held, d.begun, d.err = block, err == nil, err
		if had && (err == nil || err == io.EOF) {
			return cleared, nil
		}
		spare = nil
	}
	return nil, d.err
}

// verifier is the source that compares the content with the list.
type verifier struct {
	blocks *ahead
	want   *manifest.Entry
	sum    hash.Hash
	n      int64 // bytes so far
}

func (v *verifier) next(spare []byte) ([]byte, error) {
	block, err := v.blocks.next(spare)
	v.sum.Write(block)
	v.n += int64(len(block))
	switch {
	case v.n > v.want.Size:
		return nil, damaged("more than the %d bytes of the list", v.want.Size)
	case err == io.EOF && v.n < v.want.Size:
		return nil, damaged("%d bytes where the list says %d", v.n, v.want.Size)
	case err == io.EOF && manifest.Hash(v.sum.Sum(nil)) != v.want.SHA512:
		return nil, damaged("the SHA-512 is not the one of the list")
	}
	return block, err
}

// openMessage reads a message up to the content of its literal packet. decrypted
// is what that packet is in.
func (o *Opener) openMessage(in *posReader, piece int) (content io.Reader, decrypted *ahead, err error) {
	sealed, key, err := o.openSEIPD(in)
	if err != nil {
		return nil, nil, err
	}
	inner, err := newMDCReader(sealed, key, piece)
	if err != nil {
		return nil, nil, err
	}
	decrypted = newAhead(inner.next, 4)
	content, err = openLiteral(decrypted, true)
	if err != nil {
		decrypted.close()
	}
	return content, decrypted, err
}

// endOf reads what follows the literal packet: that (padding, say) is of no
// interest, but the code at the end of all is.
func endOf(decrypted *ahead, in *posReader) error {
	if _, err := io.Copy(io.Discard, decrypted); err != nil {
		return err
	}
	if _, err := in.ReadByte(); err != io.EOF {
		if err == nil {
			err = damaged("openpgp: bytes behind the message")
		}
		return err
	}
	return nil
}

// openLiteral finds the literal packet, inside a compressed one where gpg was
// not told otherwise.
func openLiteral(r byteReader, mayCompress bool) (io.Reader, error) {
	for {
		tag, b, err := readHeader(r)
		if err != nil {
			return nil, cutShort(err)
		}
		switch {
		case tag == tagLiteral:
			_, err := skipLiteralHeader(b)
			return b, err
		case tag == tagCompressed && mayCompress:
			plain, err := decompress(b)
			if err != nil {
				return nil, err
			}
			return openLiteral(bufio.NewReaderSize(plain, 64<<10), false)
		case (tag == tagMarker || tag == tagPadding) && mayCompress: // nobody compresses them
			if _, err := io.Copy(io.Discard, b); err != nil {
				return nil, err
			}
		default:
			return nil, unexpected(tag)
		}
	}
}

func unexpected(tag byte) error {
	return fmt.Errorf("%w: openpgp packet of type %d inside the encrypted data", ErrUnsupported, tag)
}

// skipLiteralHeader returns how long it was.
func skipLiteralHeader(b *body) (int64, error) {
	h := make([]byte, 2) // format, length of the file name
	if _, err := io.ReadFull(b, h); err != nil {
		return 0, cutShort(err)
	}
	const date = 4
	rest := int64(h[1]) + date
	if _, err := io.CopyN(io.Discard, b, rest); err != nil {
		return 0, cutShort(err)
	}
	return int64(len(h)) + rest, nil
}

// decompress opens a compressed packet: RFC 4880, section 5.6.
func decompress(b *body) (io.Reader, error) {
	r := bufio.NewReader(b)
	algorithm, err := r.ReadByte()
	if err != nil {
		return nil, cutShort(err)
	}
	switch algorithm {
	case 0:
		return r, nil
	case 1:
		return damagedReader{flate.NewReader(r)}, nil
	case 2:
		z, err := zlib.NewReader(r)
		if err != nil {
			return nil, damaged("openpgp: zlib: %w", err)
		}
		return damagedReader{z}, nil
	case 3:
		return damagedReader{bzip2.NewReader(r)}, nil
	}
	return nil, fmt.Errorf("%w: openpgp compression algorithm %d", ErrUnsupported, algorithm)
}

// framesBound is far more than the frames of a file take, whoever makes them.
func framesBound(plain int64) int64 {
	const room = 16 << 20
	return min(plain, (math.MaxInt64-room)/4)*4 + room
}

// boundedReader fails when more is read than may be: a megabyte of a compressed
// packet can be a gigabyte of frames in which is nothing.
type boundedReader struct {
	r    io.Reader
	left int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, damaged("lz4: frames that are far longer than what they hold")
	}
	return n, err
}

// damagedReader makes a decompressor's errors ErrDamaged. (It may also have
// been the store below that failed; that error stays visible in the chain.)
type damagedReader struct{ r io.Reader }

func (d damagedReader) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	if err != nil && err != io.EOF {
		err = damaged("openpgp: compressed packet: %w", err)
	}
	return n, err
}
