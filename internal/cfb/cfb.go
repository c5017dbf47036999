// Package cfb is AES in cipher feedback mode, as OpenPGP's encrypted packets use
// it: C[i] = P[i] xor E(C[i-1]). The standard library's is deprecated for new
// designs, and slow; this format is given.
//
// It promises the same bytes on every processor, at the speed of its AES
// instructions on amd64 and arm64, and that with them neither time nor memory
// accesses depend on the key or the data. Decryption uses all the processor has,
// as every block needs ciphertext alone; encryption waits for block after block.
//
// It hides nothing of lengths, and authenticates nothing: that is for those
// above. It does not notice buffers that overlap by a part.
package cfb

import (
	"crypto/subtle"
	"fmt"
)

// BlockSize is AES's, in bytes.
const BlockSize = 16

// stretch bounds, in bytes, what is done in one go: the scheduler cannot
// interrupt assembly, and the garbage collector may be waiting for all.
const stretch = 64 << 10

// implementation is one way to do AES, with the name that tests show.
type implementation struct {
	name   string
	expand func(key []byte) engine // key has one of AES's three lengths
}

// engine does whole blocks with one expanded key, for many goroutines at once.
type engine interface {
	// forward replaces the block by E(block).
	forward(block *[BlockSize]byte)
	// encrypt and decrypt go on after the ciphertext block last, and leave the new
	// last one there. dst is src or apart from it, and as long: whole blocks.
	encrypt(last *[BlockSize]byte, dst, src []byte)
	decrypt(last *[BlockSize]byte, dst, src []byte)
	wipe()
}

// implementations are those that this processor has, the fastest last.
var implementations = append([]implementation{portableAES}, hardwareAES()...)

var fastest = implementations[len(implementations)-1]

// Key is an AES key, ready for use. It is safe for concurrent use until Wipe.
type Key struct {
	engine engine // nil: wiped
}

// NewKey takes 16, 24 or 32 bytes, and keeps no reference to them.
func NewKey(key []byte) (*Key, error) { return fastest.newKey(key) }

func (i implementation) newKey(key []byte) (*Key, error) {
	switch len(key) {
	case 16, 24, 32:
		return &Key{engine: i.expand(key)}, nil
	}
	return nil, fmt.Errorf("an AES key of %d bytes", len(key))
}

// Wipe overwrites the key as far as the program can reach it: not what the
// standard library keeps, which works where the processor has no AES
// instructions, nor what the last call left in registers. Nothing may use the
// key any more: it would panic.
func (k *Key) Wipe() {
	if k.engine != nil {
		k.engine.wipe()
		k.engine = nil
	}
}

// stream is where a stream stands. Of the block begun, state has the ciphertext
// of the bytes up to used, and from there on the key stream.
type stream struct {
	key   *Key
	state [BlockSize]byte
	used  int
}

// Encrypter encrypts a stream. It is not safe for concurrent use.
type Encrypter struct{ s stream }

// Decrypter decrypts a stream. It is not safe for concurrent use.
type Decrypter struct{ s stream }

// NewEncrypter begins a stream with an initial vector: zeros in OpenPGP.
func (k *Key) NewEncrypter(iv [BlockSize]byte) *Encrypter {
	return &Encrypter{stream{key: k, state: iv, used: BlockSize}}
}

// NewDecrypter begins a stream with an initial vector; to begin in the middle,
// with the block of ciphertext before.
func (k *Key) NewDecrypter(iv [BlockSize]byte) *Decrypter {
	return &Decrypter{stream{key: k, state: iv, used: BlockSize}}
}

// Encrypt works in place or from src to a dst that does not overlap it. Any
// length goes: the next call continues. It panics if dst is shorter than src.
func (e *Encrypter) Encrypt(dst, src []byte) {
	s := &e.s
	checkRoom(dst, src)
	n := s.encryptPart(dst, src)
	dst, src = dst[n:], src[n:]
	for len(src) >= BlockSize {
		n := min(len(src), stretch) &^ (BlockSize - 1)
		s.key.engine.encrypt(&s.state, dst[:n], src[:n])
		dst, src = dst[n:], src[n:]
	}
	if len(src) > 0 {
		s.beginBlock()
		s.encryptPart(dst, src)
	}
}

// Decrypt works in place or from src to a dst that does not overlap it. Any
// length goes: the next call continues. It panics if dst is shorter than src.
func (d *Decrypter) Decrypt(dst, src []byte) {
	s := &d.s
	checkRoom(dst, src)
	n := s.decryptPart(dst, src)
	dst, src = dst[n:], src[n:]
	for len(src) >= BlockSize {
		n := min(len(src), stretch) &^ (BlockSize - 1)
		s.key.engine.decrypt(&s.state, dst[:n], src[:n])
		dst, src = dst[n:], src[n:]
	}
	if len(src) > 0 {
		s.beginBlock()
		s.decryptPart(dst, src)
	}
}

// checkRoom looks before anything is written, and at lengths: cutting a slice
// goes as far as its capacity.
func checkRoom(dst, src []byte) {
	if len(dst) < len(src) {
		panic("cfb: dst is shorter than src")
	}
}

// beginBlock goes on from a whole block of ciphertext to one of key stream.
func (s *stream) beginBlock() {
	s.key.engine.forward(&s.state)
	s.used = 0
}

// encryptPart does what belongs to the block begun, and says how much that is.
func (s *stream) encryptPart(dst, src []byte) int {
	n := subtle.XORBytes(s.state[s.used:], s.state[s.used:], src)
	copy(dst, s.state[s.used:s.used+n])
	s.used += n
	return n
}

func (s *stream) decryptPart(dst, src []byte) int {
	rest := s.state[s.used:]
	n := min(len(rest), len(src))
	for i, c := range src[:n] { // byte by byte: dst may be src
		dst[i] = c ^ rest[i]
		rest[i] = c
	}
	s.used += n
	return n
}
