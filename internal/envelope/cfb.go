package envelope

import (
	"crypto/cipher"
	"crypto/subtle"
)

// cfb is OpenPGP's cipher feedback mode with an initial vector of zeros, as
// SEIPD packets use it: C[i] = P[i] xor E(C[i-1]). The standard library's is
// deprecated for new designs; this format is given.
type cfb struct {
	block cipher.Block
	key   [aesBlock]byte // E of the last ciphertext block; used bytes are replaced by ciphertext
	used  int
}

const aesBlock = 16

func newCFB(block cipher.Block) *cfb {
	c := &cfb{block: block}
	block.Encrypt(c.key[:], make([]byte, aesBlock))
	return c
}

// encrypt works in place or from src to dst of the same length.
func (c *cfb) encrypt(dst, src []byte) {
	for len(src) > 0 {
		if c.used == aesBlock {
			c.block.Encrypt(c.key[:], c.key[:])
			c.used = 0
		}
		n := subtle.XORBytes(c.key[c.used:], c.key[c.used:], src)
		copy(dst, c.key[c.used:c.used+n])
		c.used += n
		dst, src = dst[n:], src[n:]
	}
}

// decrypt works in place or from src to dst of the same length.
func (c *cfb) decrypt(dst, src []byte) {
	var in [aesBlock]byte
	for len(src) > 0 {
		if c.used == aesBlock {
			c.block.Encrypt(c.key[:], c.key[:])
			c.used = 0
		}
		n := copy(in[:], src[:min(len(src), aesBlock-c.used)])
		subtle.XORBytes(dst, c.key[c.used:c.used+n], in[:n])
		copy(c.key[c.used:], in[:n])
		c.used += n
		dst, src = dst[n:], src[n:]
	}
}
