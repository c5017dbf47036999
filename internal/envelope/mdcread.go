package envelope

import (
	"crypto/sha1"
	"crypto/subtle"
	"fmt"
	"hash"
	"io"

	"github.com/chipster/firn/internal/cfb"
)

// mdcReader decrypts the inside of a SEIPD packet. Its io.EOF says that the
// modification detection code was right.
type mdcReader struct {
	r    io.Reader
	cfb  *cfb.Decrypter
	mdc  hash.Hash
	size int    // of the pieces
	tail []byte // decrypted; if nothing follows, it is the code
	err  error
}

const (
	mdcSize   = 2 + sha1.Size
	pieceSize = 256 << 10 // of decrypted bytes, at most
)

// newMDCReader takes the packet behind its prefix, which openSEIPD has read.
func newMDCReader(sealed *seipd, key *cfb.Key, size int) (*mdcReader, error) {
	m := &mdcReader{r: sealed.body, cfb: key.NewDecrypter([cfb.BlockSize]byte{}), mdc: sha1.New(), size: max(size, 4*mdcSize), tail: make([]byte, 0, mdcSize)}
	var prefix [prefixSize]byte
	m.cfb.Decrypt(prefix[:], sealed.prefix[:])
	if prefix[14] != prefix[16] || prefix[15] != prefix[17] {
		return nil, damaged("openpgp: the beginning of the encrypted data")
	}
	m.mdc.Write(prefix[:])
	return m, nil
}

// next is a source.
func (m *mdcReader) next(spare []byte) ([]byte, error) {
	if m.err != nil {
		return nil, m.err
	}
	buf := spare[:cap(spare)]
	if len(buf) == 0 {
		buf = make([]byte, m.size)
	}
	n := copy(buf, m.tail)
	for n < len(buf) && m.err == nil {
		var read int
		read, m.err = m.r.Read(buf[n:])
		m.cfb.Decrypt(buf[n:n+read], buf[n:n+read])
		n += read
	}
	content := buf[:max(0, n-mdcSize)]
	m.tail = append(m.tail[:0], buf[len(content):n]...)
	m.mdc.Write(content)
	if m.err == io.EOF {
		m.err = m.verify()
	}
	if len(content) == 0 {
		return nil, m.err
	}
	return content, nil
}

// verify compares the code once all that is before it has been hashed.
func (m *mdcReader) verify() error {
	if len(m.tail) < mdcSize {
		return damaged("openpgp: the encrypted data has no modification detection code")
	}
	m.mdc.Write(m.tail[:2])
	if m.tail[0] != 0xc0|tagMDC || m.tail[1] != sha1.Size || subtle.ConstantTimeCompare(m.mdc.Sum(nil), m.tail[2:]) == 0 {
		return damaged("openpgp: the modification detection code is wrong")
	}
	return io.EOF
}

// refuse explains the packets of a message that are not read.
func refuse(tag byte) error {
	switch tag {
	case tagSED:
		return fmt.Errorf("%w: encrypted without modification detection", ErrUnsupported)
	case tagAEAD:
		return fmt.Errorf("%w: AEAD encryption of GnuPG 2.3, seal with gpg --rfc4880", ErrUnsupported)
	case tagLiteral, tagCompressed:
		return damaged("openpgp: the message is not encrypted")
	}
	return fmt.Errorf("%w: openpgp packet of type %d", ErrUnsupported, tag)
}
