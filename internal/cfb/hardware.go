//go:build amd64 || arm64

package cfb

import (
	"encoding/binary"
	"math/bits"
)

// hardware is AES with the processor's instructions for one 128-bit register.
type hardware struct {
	rounds   int
	schedule schedule
}

// schedule has the round keys one after another as FIPS-197 makes them, in words
// of little-endian bytes; those that the rounds do not need are zero.
type schedule [4 * (14 + 1)]uint32

// setKey expands in place, so that wipe finds the only copy.
func (h *hardware) setKey(key []byte) {
	h.rounds = len(key)/4 + 6
	h.schedule.expand(key, h.rounds)
}

func newHardware(key []byte) engine {
	h := new(hardware)
	h.setKey(key)
	return h
}

// expand is FIPS-197, section 5.2. What it branches on and where it looks depend
// on the length of the key only.
func (w *schedule) expand(key []byte, rounds int) {
	n := len(key) / 4
	for i := range n {
		w[i] = binary.LittleEndian.Uint32(key[4*i:])
	}
	rcon := uint32(1)
	for i := n; i < 4*(rounds+1); i++ {
		t := w[i-1]
		switch {
		case i%n == 0:
			t = subWord(bits.RotateLeft32(t, -8)) ^ rcon
			rcon = rcon<<1 ^ rcon>>7*0x11b
		case n == 8 && i%n == 4:
			t = subWord(t)
		}
		w[i] = w[i-n] ^ t
	}
}

func (h *hardware) wipe() { clear(h.schedule[:]) }

func (h *hardware) forward(block *[BlockSize]byte) {
	var zeros [BlockSize]byte
	encryptBlocks(h.rounds, &h.schedule, block, zeros[:], zeros[:])
}

func (h *hardware) encrypt(last *[BlockSize]byte, dst, src []byte) {
	encryptBlocks(h.rounds, &h.schedule, last, dst, src)
}

func (h *hardware) decrypt(last *[BlockSize]byte, dst, src []byte) {
	const group = 8 * BlockSize
	whole := len(src) &^ (group - 1)
	decryptEights(h.rounds, &h.schedule, last, dst[:whole], src[:whole])
	dst, src = dst[whole:], src[whole:]
	if len(src) == 0 {
		return
	}
	// Eight blocks at once take hardly longer than one, so the rest is filled up.
	var filled [group]byte
	next := [BlockSize]byte(src[len(src)-BlockSize:])
	copy(filled[:], src)
	decryptEights(h.rounds, &h.schedule, last, filled[:], filled[:])
	copy(dst, filled[:])
	*last = next
}

// subWord is FIPS-197's SubWord, without a table in memory that would tell the
// key by what of it is in the cache.
func subWord(w uint32) uint32

// encryptBlocks is an engine's encrypt.
//
//go:noescape
func encryptBlocks(rounds int, w *schedule, last *[BlockSize]byte, dst, src []byte)

// decryptEights is an engine's decrypt for multiples of eight blocks.
//
//go:noescape
func decryptEights(rounds int, w *schedule, last *[BlockSize]byte, dst, src []byte)
