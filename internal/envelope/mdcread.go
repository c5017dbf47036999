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
	r     io.Reader
	cfb   *cfb.Decrypter
	mdc   hash.Hash
	buf   []byte // decrypted; the last mdcSize bytes may be the code
	start int
	err   error
}

const mdcSize = 2 + sha1.Size

// newMDCReader takes the packet behind its prefix, which openSEIPD has read.
func newMDCReader(sealed *seipd, key *cfb.Key) (*mdcReader, error) {
	m := &mdcReader{r: sealed.body, cfb: key.NewDecrypter([cfb.BlockSize]byte{}), mdc: sha1.New(), buf: make([]byte, 0, 64<<10)}
	var prefix [prefixSize]byte
	m.cfb.Decrypt(prefix[:], sealed.prefix[:])
	if prefix[14] != prefix[16] || prefix[15] != prefix[17] {
		return nil, damaged("openpgp: the beginning of the encrypted data")
	}
	m.mdc.Write(prefix[:])
	return m, nil
}

func (m *mdcReader) Read(p []byte) (int, error) {
	for len(m.buf)-m.start <= mdcSize {
		if m.err != nil {
			return 0, m.err
		}
		m.fill()
	}
	n := copy(p, m.buf[m.start:len(m.buf)-mdcSize])
	m.mdc.Write(p[:n])
	m.start += n
	return n, nil
}

func (m *mdcReader) fill() {
	rest := copy(m.buf[:cap(m.buf)], m.buf[m.start:])
	m.start = 0
	n, err := m.r.Read(m.buf[rest:cap(m.buf)])
	m.buf = m.buf[:rest+n]
	m.cfb.Decrypt(m.buf[rest:], m.buf[rest:])
	if err == io.EOF {
		err = m.verify()
	}
	if err != nil {
		m.err = err
	}
}

// verify compares the code once all that is before it has been handed out.
func (m *mdcReader) verify() error {
	if len(m.buf) > mdcSize {
		return nil // Read hands out the rest and comes again
	}
	if len(m.buf) < mdcSize {
		return damaged("openpgp: the encrypted data has no modification detection code")
	}
	m.mdc.Write(m.buf[:2])
	if m.buf[0] != 0xc0|tagMDC || m.buf[1] != sha1.Size || subtle.ConstantTimeCompare(m.mdc.Sum(nil), m.buf[2:]) == 0 {
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
