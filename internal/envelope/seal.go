package envelope

import (
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha512"
	"hash"
	"io"

	"github.com/chipster/firn/internal/cfb"
)

// Writer seals one file: what is written to it arrives, compressed and
// encrypted, at the writer below. It is not safe for concurrent use; several
// of one Session may work side by side.
type Writer struct {
	plain   hash.Hash
	size    int64
	frame   *frameWriter
	literal *packetWriter // nil where nothing is encrypted, as the next
	cipher  *mdcWriter
	sealed  sumWriter
}

// NewWriter begins a sealed file on w. sizeHint is the plain file's length in
// bytes, or negative where nobody knows it; it only chooses the buffers.
func (s *Session) NewWriter(w io.Writer, sizeHint int64) (*Writer, error) {
	e := &Writer{plain: sha512.New(), sealed: sumWriter{w: w, hash: sha512.New()}}
	if s.key == nil {
		e.frame = newFrameWriter(&e.sealed, sizeHint)
		return e, nil
	}
	if _, err := e.sealed.Write(s.header); err != nil {
		return nil, err
	}
	e.cipher = newMDCWriter(s, newPacketWriter(&e.sealed, tagSEIPD))
	e.literal = newPacketWriter(e.cipher, tagLiteral)
	e.frame = newFrameWriter(e.literal, sizeHint)
	if err := e.cipher.begin(); err != nil {
		return nil, err
	}
	// Binary data, no file name, no date: nothing that the message would tell.
	_, err := e.literal.Write([]byte{'b', 0, 0, 0, 0, 0})
	return e, err
}

// Write seals plain bytes.
func (e *Writer) Write(p []byte) (int, error) {
	e.plain.Write(p)
	e.size += int64(len(p))
	return e.frame.Write(p)
}

// Close ends the sealed file and returns its sums, which are only valid
// without an error. It does not close the writer below. Close must be called
// once, also to give up a file, in which case its result does not matter.
func (e *Writer) Close() (Sums, error) {
	err := e.finish()
	e.frame.release()
	if e.literal != nil {
		e.literal.release()
		e.cipher.out.release()
	}
	if err != nil {
		return Sums{}, err
	}
	sums := Sums{Size: e.size, SealedSize: e.sealed.size}
	e.plain.Sum(sums.SHA512[:0])
	e.sealed.hash.Sum(sums.SealedSHA512[:0])
	return sums, nil
}

func (e *Writer) finish() error {
	if err := e.frame.Close(); err != nil || e.literal == nil {
		return err
	}
	if err := e.literal.Close(); err != nil {
		return err
	}
	return e.cipher.Close()
}

// sumWriter hashes and counts what passes.
type sumWriter struct {
	w    io.Writer
	hash hash.Hash
	size int64
}

func (s *sumWriter) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.hash.Write(p[:n])
	s.size += int64(n)
	return n, err
}

// mdcWriter encrypts the inside of a SEIPD packet, version 1, and ends it with
// the modification detection code: RFC 4880, sections 5.13 and 5.14.
type mdcWriter struct {
	out *packetWriter
	cfb *cfb.Encrypter
	mdc hash.Hash
	buf [4096]byte // ciphertext: what is given to Write must not change
}

func newMDCWriter(s *Session, out *packetWriter) *mdcWriter {
	return &mdcWriter{out: out, cfb: s.key.NewEncrypter([cfb.BlockSize]byte{}), mdc: sha1.New()}
}

// prefixSize is the length of the random block and of its last two bytes again.
const prefixSize = cfb.BlockSize + 2

func (m *mdcWriter) begin() error {
	if _, err := m.out.Write([]byte{1}); err != nil {
		return err
	}
	var prefix [prefixSize]byte
	rand.Read(prefix[:cfb.BlockSize]) // never fails: crypto/rand ends the program instead
	copy(prefix[cfb.BlockSize:], prefix[cfb.BlockSize-2:])
	_, err := m.Write(prefix[:])
	return err
}

func (m *mdcWriter) Write(p []byte) (n int, err error) {
	m.mdc.Write(p)
	for len(p) > 0 {
		c := min(len(p), len(m.buf))
		m.cfb.Encrypt(m.buf[:c], p[:c])
		if _, err := m.out.Write(m.buf[:c]); err != nil {
			return n, err
		}
		n += c
		p = p[c:]
	}
	return n, nil
}

func (m *mdcWriter) Close() error {
	header := []byte{0xc0 | tagMDC, sha1.Size}
	m.mdc.Write(header)
	trailer := m.mdc.Sum(header)
	m.cfb.Encrypt(trailer, trailer)
	if _, err := m.out.Write(trailer); err != nil {
		return err
	}
	return m.out.Close()
}
