package envelope

import (
	"bytes"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// tableShape is a file of three blocks that the list has a table for.
func tableShape(t testing.TB, kind string, plain []byte) shape {
	t.Helper()
	keys := kinds(t)[kind]
	session, err := keys.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	sums := sealInto(t, session, &b, int64(len(plain)), plain)
	if sums.Blocks == "" {
		t.Fatal("no table of blocks")
	}
	return shape{name: kind, plain: plain, sealed: b.Bytes(), entry: entryOf(plain, b.Bytes(), keys.Encrypts(), sums.Blocks), opener: keys.Opener}
}

// A changed bit is an error for who reads the block that it hit, and for nobody
// else; one before the first block is for all.
func TestTableFindsDamageInItsBlock(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 12))
	plain := content(2_500_000)
	for _, kind := range []string{"curve", "passphrase", "plain"} {
		s := tableShape(t, kind, plain)
		whole := s.reader(t, nil, 0)
		var begins []int // of the blocks' pieces
		for i := range whole.blocks {
			begins = append(begins, int(whole.layout.at(whole.blocks[i].at)))
		}
		places := []int{0, 1, len(s.sealed) - 1, len(s.sealed) - 21, len(s.sealed) - 23, len(s.sealed) - 40}
		for _, b := range begins {
			for _, d := range []int{-45, -41, -40, -39, -33, -32, -17, -16, -1, 0, 3, 4, 9} {
				places = append(places, max(0, b+d))
			}
		}
		for range runs(60) {
			places = append(places, random.IntN(len(s.sealed)))
		}
		for _, at := range places {
			bad := bytes.Clone(s.sealed)
			bad[at] ^= 1 << random.IntN(8)
			r, err := s.opener.NewReaderAt(bytes.NewReader(bad), s.entry, nil)
			if at < begins[0] {
				if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrKey) && !errors.Is(err, ErrUnsupported) {
					t.Errorf("%s: byte %d, before the blocks: %v", kind, at, err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%s: byte %d: %v", kind, at, err)
			}
			for i, b := range r.blocks {
				end := append(begins, len(bad))[i+1]
				// Who needs a byte to decrypt a block has it in the block's hash.
				needed := at >= begins[i]-pieceContext && at < end
				p := make([]byte, 1000)
				n, err := r.ReadAt(p, b.plain+50_000)
				switch {
				case needed:
					if !errors.Is(err, ErrDamaged) || n > 0 {
						t.Fatalf("%s: byte %d: block %d, bytes %d to %d: %d bytes, %v", kind, at, i, begins[i], end, n, err)
					}
				case err != nil || !bytes.Equal(p, plain[b.plain+50_000:][:1000]):
					t.Fatalf("%s: byte %d: block %d, bytes %d to %d, which has it not: %v", kind, at, i, begins[i], end, err)
				}
			}
			if _, err := readAll(r); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: byte %d: all: %v", kind, at, err)
			}
			r.Close()
		}
		for _, size := range []int{0, 1, begins[0], begins[1], begins[2] + 100, len(s.sealed) - 1} {
			r, err := s.opener.NewReaderAt(bytes.NewReader(s.sealed[:size]), s.entry, nil)
			if err == nil {
				_, err = readAll(r)
			}
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: cut at %d: %v", kind, size, err)
			}
		}
	}
}

// A table that is wrong, or another file's, is an error before a byte is read.
func TestTableThatLies(t *testing.T) {
	plain := content(2_500_000)
	s, other := tableShape(t, "curve", plain), tableShape(t, "curve", plain)
	for _, size := range []int64{2_499_999, 2_500_001, 1, 1 << 20, 2 << 20, 3 << 20, 3<<20 + 1, 1 << 40} {
		e := *s.entry
		e.Size = size
		checkRefused(t, fmt.Sprint(size, " bytes in the list"), &s, func(s *shape) { s.entry = &e })
	}
	change := func(what string, edit func(*BlockTable)) {
		table, err := parseBlockTable(s.entry.Blocks)
		if err != nil {
			t.Fatal(err)
		}
		edit(table)
		e := *s.entry
		e.Blocks = table.String()
		checkRefused(t, what, &s, func(s *shape) { s.entry = &e })
	}
	change("a block fewer", func(b *BlockTable) { b.Blocks = b.Blocks[:2] })
	change("a block more", func(b *BlockTable) { b.Blocks = append(b.Blocks, b.Blocks[0]) })
	change("no block", func(b *BlockTable) { b.Blocks = nil })
	change("two blocks in the other order", func(b *BlockTable) { b.Blocks[0], b.Blocks[1] = b.Blocks[1], b.Blocks[0] })
	change("half the block size", func(b *BlockTable) { b.BlockSize /= 2 })
	change("no block size", func(b *BlockTable) { b.BlockSize = 0 })
	change("a byte from one block to the next", func(b *BlockTable) { b.Blocks[0].Length--; b.Blocks[1].Length++ })
	change("an empty block", func(b *BlockTable) { b.Blocks[1].Length = 0 })
	change("the header's hash", func(b *BlockTable) { b.Header[0] ^= 1 })
	e := *s.entry
	e.Blocks = other.entry.Blocks
	checkRefused(t, "another file's table", &s, func(s *shape) { s.entry = &e })
	checkRefused(t, "another file", &s, func(s *shape) { s.sealed = other.sealed })
	for _, text := range []string{"!", "A", strings.Repeat("A", 40), s.entry.Blocks[:len(s.entry.Blocks)-1], s.entry.Blocks + "A", s.entry.Blocks + "=", strings.Repeat("/", 400)} {
		e := *s.entry
		e.Blocks = text
		checkRefused(t, text[:min(len(text), 30)], &s, func(s *shape) { s.entry = &e })
	}
}

func checkRefused(t *testing.T, what string, s *shape, edit func(*shape)) {
	t.Helper()
	lying := *s
	edit(&lying)
	r, err := lying.opener.NewReaderAt(bytes.NewReader(lying.sealed), lying.entry, nil)
	if err == nil {
		_, err = io.Copy(io.Discard, io.NewSectionReader(r, 0, 1<<41))
		r.Close()
	}
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("%s: %v", what, err)
	}
}

// Whatever the bytes of a file: with the list's table, what is read is what was
// sealed, or there is an error.
func FuzzReaderAtWithTable(f *testing.F) {
	s := tableShape(f, "curve", make([]byte, 2_500_000))
	f.Add(s.sealed, uint32(0))
	f.Add(s.sealed, uint32(2_400_000))
	header := s.sealed[:len(s.sealed)-len(afterHeader(f, s.sealed))]
	f.Add(rechunk(f, &Session{header: header}, s.sealed, 13), uint32(5))
	f.Fuzz(func(t *testing.T, sealed []byte, off uint32) {
		e := *s.entry
		e.SealedSize = int64(len(sealed))
		e.SealedSHA512 = sha512.Sum512(sealed)
		r, err := s.opener.NewReaderAt(bytes.NewReader(sealed), &e, nil)
		if err != nil {
			return
		}
		defer r.Close()
		p := make([]byte, 100)
		n, err := r.ReadAt(p, int64(off))
		if !bytes.Equal(p[:n], s.plain[min(len(s.plain), int(off)):min(len(s.plain), int(off)+n)]) {
			t.Fatalf("%d other bytes at %d, %v", n, off, err)
		}
	})
}

// Whatever the table, there is an error or a file's true bytes, in bounded time
// and memory; and a table that can be read is written as it was understood.
func FuzzBlockTable(f *testing.F) {
	s := tableShape(f, "plain", make([]byte, 2_500_000))
	f.Add(s.entry.Blocks)
	f.Add("")
	f.Add(strings.Repeat("A", 80))
	f.Fuzz(func(t *testing.T, text string) {
		table, err := parseBlockTable(text)
		if err == nil {
			again, err := parseBlockTable(table.String())
			if err != nil || again.String() != table.String() {
				t.Fatalf("written and read again: %v", err)
			}
		}
		e := *s.entry
		e.Blocks = text
		if text == "" {
			return
		}
		r, openErr := s.opener.NewReaderAt(bytes.NewReader(s.sealed), &e, nil)
		if err != nil && openErr == nil {
			t.Fatalf("opened with a table that cannot be read: %v", err)
		}
		if openErr != nil {
			return
		}
		defer r.Close()
		p := make([]byte, 100)
		if n, _ := r.ReadAt(p, 2_000_000); !bytes.Equal(p[:n], s.plain[:n]) {
			t.Fatal("other bytes")
		}
	})
}
