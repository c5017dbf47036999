package cfb

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
)

// portableAES is the standard library's, block by block.
var portableAES = implementation{"portable", func(key []byte) engine {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // it knows the same lengths
	}
	return portable{block}
}}

type portable struct{ cipher.Block }

func (p portable) forward(block *[BlockSize]byte) { p.Encrypt(block[:], block[:]) }

func (p portable) encrypt(last *[BlockSize]byte, dst, src []byte) {
	for ; len(src) > 0; dst, src = dst[BlockSize:], src[BlockSize:] {
		p.forward(last)
		subtle.XORBytes(last[:], last[:], src)
		copy(dst, last[:])
	}
}

func (p portable) decrypt(last *[BlockSize]byte, dst, src []byte) {
	for ; len(src) > 0; dst, src = dst[BlockSize:], src[BlockSize:] {
		p.forward(last)
		c := [BlockSize]byte(src) // dst may be src
		subtle.XORBytes(dst, last[:], c[:])
		*last = c
	}
}

// wipe can do nothing: the standard library does not let its keys be reached.
func (portable) wipe() {}
