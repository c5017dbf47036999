package envelope

import (
	"encoding/binary"
	"math/bits"
)

const (
	prime1 = 2654435761
	prime2 = 2246822519
	prime3 = 3266489917
	prime4 = 668265263
	prime5 = 374761393
)

// xxh32 is the checksum of lz4 frames, xxHash32 with seed 0:
// https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
type xxh32 struct {
	v     [4]uint32
	buf   [16]byte
	n     int // bytes in buf
	total uint64
}

func newXXH32() *xxh32 {
	h := &xxh32{}
	h.reset()
	return h
}

func (h *xxh32) reset() {
	var p1, p2 uint32 = prime1, prime2 // sums wrap around, which constants may not
	*h = xxh32{v: [4]uint32{p1 + p2, p2, 0, -p1}}
}

func (h *xxh32) write(p []byte) {
	h.total += uint64(len(p))
	if h.n > 0 {
		n := copy(h.buf[h.n:], p)
		h.n += n
		p = p[n:]
		if h.n < len(h.buf) {
			return
		}
		h.stripes(h.buf[:])
		h.n = 0
	}
	h.n = copy(h.buf[:], h.stripes(p))
}

// stripes takes as many times 16 bytes as there are and returns the rest. Local
// variables are what the compiler keeps in registers.
func (h *xxh32) stripes(p []byte) (rest []byte) {
	v0, v1, v2, v3 := h.v[0], h.v[1], h.v[2], h.v[3]
	for ; len(p) >= 16; p = p[16:] {
		v0 = round(v0, binary.LittleEndian.Uint32(p[0:]))
		v1 = round(v1, binary.LittleEndian.Uint32(p[4:]))
		v2 = round(v2, binary.LittleEndian.Uint32(p[8:]))
		v3 = round(v3, binary.LittleEndian.Uint32(p[12:]))
	}
	h.v = [4]uint32{v0, v1, v2, v3}
	return p
}

func round(v, lane uint32) uint32 {
	return bits.RotateLeft32(v+lane*prime2, 13) * prime1
}

func (h *xxh32) sum() uint32 {
	var s uint32 = prime5
	if h.total >= 16 {
		s = bits.RotateLeft32(h.v[0], 1) + bits.RotateLeft32(h.v[1], 7) +
			bits.RotateLeft32(h.v[2], 12) + bits.RotateLeft32(h.v[3], 18)
	}
	s += uint32(h.total)
	p := h.buf[:h.n]
	for ; len(p) >= 4; p = p[4:] {
		s = bits.RotateLeft32(s+binary.LittleEndian.Uint32(p)*prime3, 17) * prime4
	}
	for _, b := range p {
		s = bits.RotateLeft32(s+uint32(b)*prime5, 11) * prime1
	}
	s = (s ^ s>>15) * prime2
	s = (s ^ s>>13) * prime3
	return s ^ s>>16
}

func sumXXH32(p []byte) uint32 {
	h := newXXH32()
	h.write(p)
	return h.sum()
}
