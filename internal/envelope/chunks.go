package envelope

import (
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
	"sort"
)

// chunks says where the content of a packet lies in what holds the packet: the
// file, or the plaintext of the packet around it. Packets are cut into chunks,
// each with its length before it.
type chunks struct {
	runs []chunkRun
}

// chunkRun is a number of equal chunks in a row.
type chunkRun struct {
	content int64 // offset in the content
	pos     int64 // of the first chunk's length
	header  int64 // bytes of each length
	size    int64 // bytes of each chunk
	count   int64
}

// maxRuns bounds the memory for a packet whose chunks are of mixed sizes.
const maxRuns = 1 << 18

// length of the content.
func (c *chunks) length() int64 {
	last := &c.runs[len(c.runs)-1]
	return last.content + last.count*last.size
}

// end is the position behind the packet.
func (c *chunks) end() int64 {
	last := &c.runs[len(c.runs)-1]
	return last.pos + last.count*(last.header+last.size)
}

// add appends a chunk. A definite one, the last, stands alone even where it is
// as long as those before: its length is written in another way.
func (c *chunks) add(pos, header, size int64, definite bool) {
	var content int64
	if n := len(c.runs); n > 0 {
		last := &c.runs[n-1]
		content = last.content + last.count*last.size
		if last.header == header && last.size == size && !definite {
			last.count++
			return
		}
	}
	c.runs = append(c.runs, chunkRun{content, pos, header, size, 1})
}

func (c *chunks) run(x int64) int {
	return sort.Search(len(c.runs)-1, func(i int) bool { return c.runs[i+1].content > x })
}

// at is the position of a byte of the content. One behind the end is what
// follows the packet.
func (c *chunks) at(x int64) int64 {
	r := &c.runs[c.run(x)]
	k := x - r.content
	if r.size == 0 || k >= r.count*r.size {
		return c.end() + x - c.length()
	}
	return r.pos + k/r.size*(r.header+r.size) + r.header + k%r.size
}

// extract moves the content from x on out of raw, which begins at position pos
// and holds all of it, into dst, which may be the beginning of raw. The lengths
// in between must be those that were expected.
func (c *chunks) extract(dst, raw []byte, pos, x int64) error {
	end := pos + int64(len(raw))
	at := c.at(x)
	for i := c.run(x); len(dst) > 0 && i < len(c.runs); i++ {
		r := &c.runs[i]
		for k := (x - r.content) / max(r.size, 1); k < r.count && len(dst) > 0; k++ {
			header := r.pos + k*(r.header+r.size)
			data := header + r.header
			if at < data { // the first chunk is entered behind its length
				partial := i < len(c.runs)-1 || k < r.count-1
				if data > end || !isLength(raw[header-pos:data-pos], r.size, partial) {
					return errChunks
				}
				at = data
			}
			n := copy(dst, raw[at-pos:min(data+r.size, end)-pos])
			dst = dst[n:]
			x += int64(n)
			at += int64(n)
		}
	}
	if len(dst) > 0 {
		return damaged("openpgp: %w", io.ErrUnexpectedEOF)
	}
	return nil
}

// errChunks says that chunks are not where they were expected.
var errChunks = damaged("openpgp: a chunk does not begin where it should")

// isLength compares the length before a chunk. An old packet's is not looked at
// again: its header is 0 bytes here.
func isLength(header []byte, size int64, partial bool) bool {
	var b [5]byte
	switch len(header) {
	case 0:
		return true
	case 1:
		if partial {
			return header[0] == 224|byte(bits.TrailingZeros64(uint64(size))) && size == 1<<(header[0]&0x1f)
		}
		return int64(header[0]) == size
	}
	n, got := parseLength(append(b[:0], header...))
	return n == len(header) && got == size
}

// lengthOfLength is how many bytes Writer spends on a definite length.
func lengthOfLength(length int64) int64 {
	switch {
	case length < 192:
		return 1
	case length < 8384:
		return 2
	}
	return 5
}

// packetLength is how many bytes Writer spends on a packet of some content, but
// for the tag.
func packetLength(content int64) int64 {
	partial := int64(0)
	if content > 0 {
		partial = (content - 1) / chunkSize
	}
	return content + partial + lengthOfLength(content-partial*chunkSize)
}

// parseLength reads a definite length: how many bytes it takes, 0 where there is
// none, and what it says.
func parseLength(b []byte) (n int, length int64) {
	switch {
	case len(b) >= 1 && b[0] < 192:
		return 1, int64(b[0])
	case len(b) >= 2 && b[0] >= 192 && b[0] < 224:
		return 2, int64(b[0]-192)<<8 + int64(b[1]) + 192
	case len(b) >= 5 && b[0] == 255:
		return 5, int64(binary.BigEndian.Uint32(b[1:]))
	}
	return 0, 0
}

// firstChunk is how a packet begins.
type firstChunk struct {
	data    int64 // position of its content
	size    int64
	partial bool // more chunks follow
}

// firstChunkOf takes a packet whose header was read and nothing behind it. end is
// where the packet ends if nothing says so.
func firstChunkOf(b *body, pos, end int64) firstChunk {
	if b.open {
		return firstChunk{data: pos, size: end - pos}
	}
	return firstChunk{data: pos, size: b.left, partial: b.partial}
}

// begin is the first chunk alone; a definite one's length is not read again.
func (f firstChunk) begin() *chunks {
	if !f.partial {
		return &chunks{runs: []chunkRun{{0, f.data, 0, f.size, 1}}}
	}
	return &chunks{runs: []chunkRun{{0, f.data - 1, 1, f.size, 1}}}
}

// of a known length: as Writer makes it.
func (f firstChunk) of(length int64) *chunks {
	c := f.begin()
	if !f.partial {
		return c
	}
	c.runs[0].count = (length - 1) / f.size
	rest := length - c.runs[0].count*f.size
	c.add(c.end(), lengthOfLength(rest), rest, true)
	return c
}

// find finds all chunks of a packet that ends at end. Most programs write equal
// ones and then shorter ones, so it looks there, which may be wrong by accident.
// Else it goes from one to the next, as walk does.
func (f firstChunk) find(read func(p []byte, pos int64) error, end int64) (*chunks, error) {
	const most = 32 // chunks behind the equal ones
	count := (end - f.data) / (1 + f.size)
	for n := count; f.partial && n > 0 && n >= count-1; n-- {
		c := f.begin()
		c.runs[0].count = n
		if err := c.walk(read, end, most); err == nil && c.end() == end {
			return c, nil
		}
	}
	return f.walk(read, end)
}

// walk goes from chunk to chunk. errTooMany: they are of too many sizes to
// remember.
func (f firstChunk) walk(read func(p []byte, pos int64) error, end int64) (*chunks, error) {
	c := f.begin()
	if !f.partial {
		return c, nil
	}
	return c, c.walk(read, end, maxRuns)
}

// walk adds what follows, up to the last chunk of the packet.
func (c *chunks) walk(read func(p []byte, pos int64) error, end int64, most int) error {
	for len(c.runs) <= most {
		pos := c.end()
		var b [1]byte
		if err := read(b[:], pos); err != nil {
			return err
		}
		if b[0] >= 224 && b[0] < 255 {
			c.add(pos, 1, 1<<(b[0]&0x1f), false)
			continue
		}
		header, size, err := lengthAt(read, pos, end)
		if err != nil {
			return err
		}
		c.add(pos, header, size, true)
		if c.end() > end {
			return damaged("openpgp: %w", io.ErrUnexpectedEOF)
		}
		return nil
	}
	return errTooMany
}

var errTooMany = errors.New("chunks of too many sizes")

func lengthAt(read func(p []byte, pos int64) error, pos, end int64) (header, size int64, err error) {
	b := make([]byte, max(0, min(5, end-pos)))
	if err := read(b, pos); err != nil {
		return 0, 0, err
	}
	n, size := parseLength(b)
	if n == 0 {
		return 0, 0, errChunks
	}
	return int64(n), size, nil
}
