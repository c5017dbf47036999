// Package sha512x2 is SHA-512 for two streams at once on one processor. SHA-512
// makes a processor wait, as each of its rounds needs the one before; the rounds
// of a second stream fit into the first one's waiting.
//
// It promises the digests of crypto/sha512 on every processor. On amd64 with
// AVX-512, Write2 takes hardly longer for two streams than Write for one;
// elsewhere both are the standard library's.
package sha512x2

import (
	"crypto/sha512"
	"encoding/binary"
	"hash"
)

// stretch bounds, in blocks, what is done in one go: the scheduler cannot
// interrupt assembly, and the garbage collector may be waiting for all.
const stretch = 64 << 10 / sha512.BlockSize

// implementation is one way to do SHA-512, with the name that tests show.
type implementation struct {
	name    string
	blocks2 bool // with the function of this name, not the standard library
}

// implementations are those that this processor has, the fastest last.
var implementations = append([]implementation{{"standard", false}}, hardwareSHA512()...)

var fastest = implementations[len(implementations)-1]

// SideBySide tells that Write2 takes much less time than two calls of Write.
func SideBySide() bool { return fastest.blocks2 }

// Digest is a hash.Hash of SHA-512. New makes it; the zero value is of no use. It
// is not safe for concurrent use, but different ones are independent. Its methods
// and Write2 keep no reference to what they are given, and allocate nothing
// besides the room that Sum may lack.
type Digest struct {
	standard hash.Hash // does it all if it is not nil

	state  [8]uint64
	length uint64                 // of all that was written
	part   [sha512.BlockSize]byte // the block begun, of which length tells the end
}

var _ hash.Hash = (*Digest)(nil)

// New begins a stream.
func New() *Digest { return fastest.newDigest() }

func (i implementation) newDigest() *Digest {
	d := new(Digest)
	if !i.blocks2 {
		d.standard = sha512.New()
	}
	d.Reset()
	return d
}

// Reset begins a new stream.
func (d *Digest) Reset() {
	if d.standard != nil {
		d.standard.Reset()
		return
	}
	d.state = [8]uint64{
		0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
		0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
	}
	d.length = 0
}

// Size is the length of a digest in bytes.
func (d *Digest) Size() int { return sha512.Size }

// BlockSize is the length of a block in bytes: whole ones are the least work.
func (d *Digest) BlockSize() int { return sha512.BlockSize }

// Write goes on with the stream. It takes all of p, and never returns an error.
func (d *Digest) Write(p []byte) (int, error) {
	if d.standard != nil {
		return d.standard.Write(p)
	}
	rest, full := d.fillPart(p)
	if full {
		alone(&d.state, d.part[:])
	}
	d.writeRest(rest)
	return len(p), nil
}

// Write2 writes p to a and q to b, side by side as far as both have whole blocks,
// and the rest of the longer one alone. It is fastest with slices of about the
// same length; blocks begun by earlier calls are no hindrance. p and q may
// overlap. It panics if a and b are the same.
func Write2(a, b *Digest, p, q []byte) {
	if a == b {
		panic("sha512x2: both streams go to one digest")
	}
	if a.standard != nil || b.standard != nil {
		a.Write(p)
		b.Write(q)
		return
	}
	p, fullA := a.fillPart(p)
	q, fullB := b.fillPart(q)
	switch {
	case fullA && fullB:
		blocks2(&a.state, &b.state, &a.part[0], &b.part[0], 1)
	case fullA:
		alone(&a.state, a.part[:])
	case fullB:
		alone(&b.state, b.part[:])
	}
	for {
		n := min(len(p)/sha512.BlockSize, len(q)/sha512.BlockSize, stretch)
		if n == 0 {
			break
		}
		blocks2(&a.state, &b.state, &p[0], &q[0], n)
		p, q = p[n*sha512.BlockSize:], q[n*sha512.BlockSize:]
	}
	a.writeRest(p)
	b.writeRest(q)
}

// begun says how many bytes there are of the block begun.
func (d *Digest) begun() int { return int(d.length % sha512.BlockSize) }

// fillPart adds what belongs to the block begun, if there is one, and gives back
// the rest. If full, the block is to be hashed before the rest.
func (d *Digest) fillPart(p []byte) (rest []byte, full bool) {
	at := d.begun()
	d.length += uint64(len(p))
	if at == 0 {
		return p, false
	}
	n := copy(d.part[at:], p)
	return p[n:], at+n == sha512.BlockSize
}

// writeRest hashes what fillPart gave back, and begins a block with what is left.
func (d *Digest) writeRest(p []byte) {
	n := len(p) &^ (sha512.BlockSize - 1)
	alone(&d.state, p[:n])
	if n < len(p) {
		copy(d.part[:], p[n:])
	}
}

// alone hashes the whole blocks of one stream, and again those in a state that
// nobody looks at: this takes no longer.
func alone(state *[8]uint64, p []byte) {
	var nobodys [8]uint64
	for len(p) > 0 {
		n := min(len(p)/sha512.BlockSize, stretch)
		blocks2(state, &nobodys, &p[0], &p[0], n)
		p = p[n*sha512.BlockSize:]
	}
}

// Sum appends the digest of all that was written to b. The stream may go on.
func (d *Digest) Sum(b []byte) []byte {
	if d.standard != nil {
		return d.standard.Sum(b)
	}
	// The end is the block begun, a bit, zeros, and the length in bits in 16 bytes,
	// of which eight are enough for 2^61 bytes.
	const room = sha512.BlockSize - 1 - 16
	var end [2 * sha512.BlockSize]byte
	n := copy(end[:], d.part[:d.begun()])
	end[n] = 0x80
	size := sha512.BlockSize
	if n > room {
		size = len(end)
	}
	binary.BigEndian.PutUint64(end[size-8:], d.length<<3)

	state := d.state
	alone(&state, end[:size])
	for _, word := range state {
		b = binary.BigEndian.AppendUint64(b, word)
	}
	return b
}
