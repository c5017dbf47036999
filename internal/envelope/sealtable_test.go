package envelope

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/chipster/firn/internal/cfb"
)

// unpacked is the content of a packet, and where in the packet's bytes, with
// its header, each byte of the content stands.
type unpacked struct {
	content []byte
	chunks  []struct{ content, packet int }
}

func (u *unpacked) at(content int) int {
	i := len(u.chunks) - 1
	for u.chunks[i].content > content {
		i--
	}
	return u.chunks[i].packet + content - u.chunks[i].content
}

// unpackPacket reads a packet of the new form, RFC 4880, section 4.2.2, and returns
// what follows it.
func unpackPacket(t *testing.T, b []byte, tag byte) (u unpacked, rest []byte) {
	t.Helper()
	if b[0] != 0xc0|tag {
		t.Fatalf("%02x where packet %d should begin", b[0], tag)
	}
	for at, more := 1, true; more; {
		var n, header int
		switch first := int(b[at]); {
		case first < 192:
			n, header, more = first, 1, false
		case first < 224:
			n, header, more = (first-192)<<8+int(b[at+1])+192, 2, false
		case first < 255:
			n, header = 1<<(first&0x1f), 1
		default:
			n, header, more = int(binary.BigEndian.Uint32(b[at+1:])), 5, false
		}
		at += header
		u.chunks = append(u.chunks, struct{ content, packet int }{len(u.content), at})
		u.content = append(u.content, b[at:at+n]...)
		at += n
		rest = b[at:]
	}
	return u, rest
}

// cuts finds the blocks of a sealed file: their lengths in the frame, and where
// their pieces begin.
func cuts(t *testing.T, s *Session, sealed []byte) (lengths, begins []int) {
	t.Helper()
	frame, at := sealed, func(frame int) int { return frame }
	if s.key != nil {
		outer, rest := unpackPacket(t, sealed[len(s.header):], tagSEIPD)
		inside := bytes.Clone(outer.content[1:])
		s.key.NewDecrypter([cfb.BlockSize]byte{}).Decrypt(inside, inside)
		literal, mdc := unpackPacket(t, inside[prefixSize:], tagLiteral)
		if len(rest) != 0 || len(mdc) != 22 {
			t.Fatalf("%d bytes behind the message, %d behind the literal packet", len(rest), len(mdc))
		}
		frame = literal.content[len(literalBegin):]
		at = func(frame int) int {
			return len(s.header) + outer.at(1+prefixSize+literal.at(len(literalBegin)+frame))
		}
	}
	for i := 7; ; {
		n := int(binary.LittleEndian.Uint32(frame[i:]) &^ uncompressed)
		if n == 0 {
			if i+8 != len(frame) {
				t.Fatalf("%d bytes of frame behind the end mark", len(frame)-i-8)
			}
			return lengths, begins
		}
		begins = append(begins, at(i))
		lengths = append(lengths, 4+n)
		i += 4 + n
	}
}

func checkTable(t *testing.T, s *Session, sealed []byte, sums Sums, blockSize int) {
	t.Helper()
	lengths, begins := cuts(t, s, sealed)
	if want := int((sums.Size + int64(blockSize) - 1) / int64(blockSize)); len(lengths) != want {
		t.Fatalf("%d blocks, want %d", len(lengths), want)
	}
	if len(lengths) < 2 {
		if sums.Blocks != "" {
			t.Fatalf("a table for %d blocks", len(lengths))
		}
		return
	}
	table, err := parseBlockTable(sums.Blocks)
	if err != nil {
		t.Fatal(err)
	}
	if table.BlockSize != blockSize || len(table.Blocks) != len(lengths) {
		t.Fatalf("a table of %d blocks of %d bytes; there are %d of %d", len(table.Blocks), table.BlockSize, len(lengths), blockSize)
	}
	// A block's hash begins 40 bytes before the block: docs/formats.md.
	hash := func(from, to int) BlockHash {
		sum := sha256.Sum256(sealed[from:to])
		return BlockHash(sum[:16])
	}
	if table.Header != hash(0, begins[0]) {
		t.Error("hash of what comes before the blocks")
	}
	for i, row := range table.Blocks {
		end := append(begins, len(sealed))[i+1]
		if row.Length != lengths[i] || row.Hash != hash(max(0, begins[i]-40), end) {
			t.Fatalf("block %d at %d: length %d, want %d; or its hash", i, begins[i], row.Length, lengths[i])
		}
	}
}

// The table says what is in the file, whatever the file's size and content.
func TestTableOfBlocks(t *testing.T) {
	for _, name := range []string{"curve", "plain"} {
		session, err := kinds(t)[name].NewSession()
		if err != nil {
			t.Fatal(err)
		}
		for what, fill := range map[string]func(int) []byte{
			"random": randomBytes, "half": content, "zeros": func(n int) []byte { return make([]byte, n) },
		} {
			for _, c := range []struct {
				size, hint, blockSize int
			}{
				{0, 0, 64 << 10}, {1, 1, 64 << 10}, {64<<10 - 1, 64<<10 - 1, 64 << 10}, {64 << 10, 64 << 10, 64 << 10}, {64<<10 + 1, 64<<10 + 1, 256 << 10},
				{1<<20 - 1, 1<<20 - 1, 1 << 20}, {1 << 20, 1 << 20, 1 << 20}, {1<<20 + 1, 1<<20 + 1, 1 << 20},
				{3 << 20, 3 << 20, 1 << 20}, {9_000_001, 9_000_001, 1 << 20}, {9_000_001, 64 << 30, 1 << 20},
				{0, -1, 4 << 20}, {1, -1, 4 << 20}, {4 << 20, -1, 4 << 20}, {9_000_001, -1, 4 << 20}, {9_000_001, 64<<30 + 1, 4 << 20},
			} {
				t.Run(fmt.Sprint(name, "/", what, "/", c.size, "/", c.hint), func(t *testing.T) {
					var b bytes.Buffer
					sums := sealInto(t, session, &b, int64(c.hint), fill(c.size))
					checkTable(t, session, b.Bytes(), sums, c.blockSize)
				})
			}
		}
	}
}

// With the table, the file is read at any place; without it being of use,
// ReaderAt would say that it has to stream, or that the file is damaged.
func TestTableServesReaderAt(t *testing.T) {
	plain := content(9_000_001)
	for _, name := range []string{"rsa", "curve", "passphrase", "plain"} {
		kind := kinds(t)[name]
		session, err := kind.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		for _, hint := range []int64{int64(len(plain)), -1} {
			var b bytes.Buffer
			sums := sealInto(t, session, &b, hint, plain)
			r, err := kind.NewReaderAt(bytes.NewReader(b.Bytes()), entryOf(plain, b.Bytes(), kind.Encrypts(), sums.Blocks), nil)
			if err != nil {
				t.Fatal(err)
			}
			for off := int64(0); off < int64(len(plain)); off += 700_001 {
				got := make([]byte, min(100_000, int64(len(plain))-off))
				if _, err := r.ReadAt(got, off); err != nil || !bytes.Equal(got, plain[off:off+int64(len(got))]) {
					t.Fatalf("%s, hint %d, at %d: %v", name, hint, off, err)
				}
			}
			if why := r.Streamed(); why != "" {
				t.Errorf("%s, hint %d: streamed: %s", name, hint, why)
			}
			r.Close()
		}
	}
}

// A wrong guess of the size costs the table, and makes no wrong one.
func TestNoTableWhereOneBlockWasExpected(t *testing.T) {
	session, err := kinds(t)["curve"].NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if sums := sealInto(t, session, io.Discard, 1000, content(500_000)); sums.Blocks != "" {
		t.Error(sums.Blocks)
	}
}

// markedBytes notes where marks come.
type markedBytes struct {
	bytes.Buffer
	marks []int
}

func (m *markedBytes) mark() error {
	m.marks = append(m.marks, m.Len())
	return nil
}

// A mark stands right before its byte, behind the header of the chunk that
// begins with it, wherever chunks begin and however long the writes are.
func TestMarksAtTheEdgesOfChunks(t *testing.T) {
	plain := randomBytes(6*chunkSize + 100)
	for _, size := range []int{100, chunkSize, chunkSize + 1, 3 * chunkSize, len(plain)} {
		for round := range 20 {
			var want []int // of the marks in the content
			for edge := 0; edge < size; edge += chunkSize {
				for _, at := range []int{edge - 1, edge, edge + 1} {
					if at >= 0 && at < size && rand.IntN(3) > 0 {
						want = append(want, at)
					}
				}
			}
			for range 10 {
				want = append(want, rand.IntN(size))
			}
			slices.Sort(want)
			want = slices.Compact(want)
			var out markedBytes
			p := newPacketWriter(&out, tagLiteral)
			if round%2 == 0 { // by somebody else, as in a pipeline
				p.hand = func(c *packetChunk) {
					if err := c.writeTo(&out); err != nil {
						t.Error(err)
					}
					putChunk(c)
				}
			}
			from := 0
			for _, at := range want {
				p.Write(plain[from:at])
				p.mark()
				from = at
			}
			p.Write(plain[from:size])
			p.Close()
			u, rest := unpackPacket(t, out.Bytes(), tagLiteral)
			if !bytes.Equal(u.content, plain[:size]) || len(rest) != 0 {
				t.Fatalf("%d bytes: %d came back, %d behind", size, len(u.content), len(rest))
			}
			for i, at := range want {
				want[i] = u.at(at)
			}
			if !slices.Equal(out.marks, want) {
				t.Fatalf("%d bytes: marks at %v, want %v", size, out.marks, want)
			}
		}
	}
}
