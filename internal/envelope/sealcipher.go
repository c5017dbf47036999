package envelope

import (
	"crypto/rand"
	"crypto/sha1"
	"hash"

	"github.com/chipster/firn/internal/cfb"
)

// mdcWriter encrypts the inside of a SEIPD packet, version 1, and ends it with
// the modification detection code: RFC 4880, sections 5.13 and 5.14.
type mdcWriter struct {
	out     *packetWriter
	cfb     cfb.Encrypter
	mdc     hash.Hash
	scratch [2 + sha1.Size]byte // at least prefixSize
}

// prefixSize is the length of the random block and of its last two bytes again.
const prefixSize = cfb.BlockSize + 2

func (m *mdcWriter) begin(s *Session, out *packetWriter) error {
	m.out = out
	m.cfb = *s.key.NewEncrypter([cfb.BlockSize]byte{})
	if m.mdc == nil {
		m.mdc = sha1.New()
	}
	m.mdc.Reset()
	m.scratch[0] = 1 // the version
	if _, err := m.out.Write(m.scratch[:1]); err != nil {
		return err
	}
	prefix := m.scratch[:prefixSize]
	rand.Read(prefix[:cfb.BlockSize]) // never fails: crypto/rand ends the program instead
	copy(prefix[cfb.BlockSize:], prefix[cfb.BlockSize-2:])
	_, err := m.Write(prefix)
	return err
}

// Write encrypts to where the packet is made: what it is given may be the
// caller's and must not change.
func (m *mdcWriter) Write(p []byte) (n int, err error) {
	m.mdc.Write(p)
	for n < len(p) {
		space, err := m.out.space()
		if err != nil {
			return n, err
		}
		c := min(len(p)-n, len(space))
		m.cfb.Encrypt(space[:c], p[n:n+c])
		m.out.filled(c)
		n += c
	}
	return n, nil
}

func (m *mdcWriter) mark() error { return m.out.mark() }

func (m *mdcWriter) Close() error {
	header := append(m.scratch[:0], 0xc0|tagMDC, sha1.Size)
	m.mdc.Write(header)
	trailer := m.mdc.Sum(header)
	m.cfb.Encrypt(trailer, trailer)
	if _, err := m.out.Write(trailer); err != nil {
		return err
	}
	return m.out.Close()
}
