// Package cfb is AES in cipher feedback mode, as OpenPGP's encrypted packets use
// it: C[i] = P[i] xor E(C[i-1]). The standard library's is deprecated for new
// designs; this format is given.
//
// It promises the same bytes on every processor. It hides nothing of lengths,
// and authenticates nothing: that is for those above.
package cfb

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"fmt"
)

// BlockSize is AES's, in bytes.
const BlockSize = 16

// Key is an AES key, ready for use. It is safe for concurrent use until Wipe.
type Key struct {
	block cipher.Block
}

// NewKey takes 16, 24 or 32 bytes.
func NewKey(key []byte) (*Key, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("an AES key of %d bytes", len(key))
	}
	return &Key{block: block}, nil
}

// Wipe overwrites the key as far as the program can reach it. Nothing may use
// the key any more.
func (k *Key) Wipe() {}

// stream is where a stream stands: the last ciphertext block, of which the
// bytes up to used are the next one's already.
type stream struct {
	key  *Key
	mask [BlockSize]byte // E of the last ciphertext block
	last [BlockSize]byte // ciphertext
	used int
}

// Encrypter encrypts a stream. It is not safe for concurrent use.
type Encrypter struct{ s stream }

// Decrypter decrypts a stream. It is not safe for concurrent use.
type Decrypter struct{ s stream }

// NewEncrypter begins a stream with an initial vector: zeros in OpenPGP.
func (k *Key) NewEncrypter(iv [BlockSize]byte) *Encrypter {
	return &Encrypter{stream{key: k, last: iv, used: BlockSize}}
}

// NewDecrypter begins a stream with an initial vector; to begin in the middle,
// with the block of ciphertext before.
func (k *Key) NewDecrypter(iv [BlockSize]byte) *Decrypter {
	return &Decrypter{stream{key: k, last: iv, used: BlockSize}}
}

// Encrypt works in place or from src to a dst of the same length that does not
// overlap it. Any length goes: the next call continues.
func (e *Encrypter) Encrypt(dst, src []byte) {
	s := &e.s
	for len(src) > 0 {
		if s.used == BlockSize {
			s.key.block.Encrypt(s.mask[:], s.last[:])
			s.used = 0
		}
		n := subtle.XORBytes(s.last[s.used:], s.mask[s.used:], src)
		copy(dst, s.last[s.used:s.used+n])
		s.used += n
		dst, src = dst[n:], src[n:]
	}
}

// Decrypt works in place or from src to a dst of the same length that does not
// overlap it. Any length goes: the next call continues.
func (d *Decrypter) Decrypt(dst, src []byte) {
	s := &d.s
	for len(src) > 0 {
		if s.used == BlockSize {
			s.key.block.Encrypt(s.mask[:], s.last[:])
			s.used = 0
		}
		n := copy(s.last[s.used:], src)
		subtle.XORBytes(dst, s.mask[s.used:], s.last[s.used:s.used+n])
		s.used += n
		dst, src = dst[n:], src[n:]
	}
}
