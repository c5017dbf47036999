package envelope

import (
	"bufio"
	"compress/bzip2"
	"compress/flate"
	"compress/zlib"
	"fmt"
	"io"
)

// Reader reads the plain bytes of a sealed file from its beginning. It is not
// safe for concurrent use.
type Reader struct {
	frame  *frameReader
	finish func() error // verifies what follows the frame
	ready  []byte       // decoded and cleared to be handed out
	next   []byte       // decoded; handed out once another block or the end is known to be good
	spare  []byte
	err    error
}

// NewReader opens a sealed file. encrypted says which form it must have: a
// file that should be encrypted is not read when it is not. The keys of the
// Opener are tried; ErrKey when none fits. Blocks are decoded as they are
// read: memory is at most three of them, 4 MiB each.
func (o *Opener) NewReader(r io.Reader, encrypted bool) (*Reader, error) {
	in := newPosReader(r, 64<<10)
	if !encrypted {
		return &Reader{frame: newFrameReader(in), finish: func() error { return nil }}, nil
	}
	content, finish, err := o.openMessage(in)
	if err != nil {
		return nil, err
	}
	return &Reader{frame: newFrameReader(content), finish: finish}, nil
}

// Read returns plain bytes. io.EOF says that the file is whole and unchanged.
func (r *Reader) Read(p []byte) (n int, err error) {
	for len(r.ready) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.advance()
	}
	n = copy(p, r.ready)
	r.ready = r.ready[n:]
	return n, nil
}

// advance clears the block before the one that it decodes. With the end
// verified, the last block is cleared; with an error it never is.
func (r *Reader) advance() {
	block, err := r.frame.next(r.spare)
	if err == io.EOF {
		if ferr := r.finish(); ferr != nil {
			err = ferr
		}
	}
	switch {
	case err == nil:
		r.ready, r.next, r.spare = r.next, block, r.ready[:0]
	case err == io.EOF:
		r.ready, r.next, r.err = r.next, nil, io.EOF
	default:
		r.next, r.err = nil, err
	}
}

// openMessage reads a message up to the content of its literal packet. finish
// is called when that content has been read to its end: it reads the rest and
// verifies the modification detection code.
func (o *Opener) openMessage(in *posReader) (content io.Reader, finish func() error, err error) {
	sealed, block, err := o.openSEIPD(in)
	if err != nil {
		return nil, nil, err
	}
	inner, err := newMDCReader(sealed, block)
	if err != nil {
		return nil, nil, err
	}
	decrypted := bufio.NewReaderSize(inner, 64<<10)
	content, err = openLiteral(decrypted, true)
	if err != nil {
		return nil, nil, err
	}
	return content, func() error {
		// What follows the literal packet (padding, say) is of no interest,
		// but the code at the end of all is.
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
	}, nil
}

// openLiteral finds the literal packet, inside a compressed one where gpg was
// not told otherwise.
func openLiteral(r *bufio.Reader, mayCompress bool) (io.Reader, error) {
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
		case tag == tagMarker || tag == tagPadding:
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
