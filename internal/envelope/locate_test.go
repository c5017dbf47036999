package envelope

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

// within tells that a byte is in a range.
func within(ranges []Range, at int64) bool {
	return slices.ContainsFunc(ranges, func(r Range) bool { return at >= r.Offset && at < r.Offset+r.Length })
}

func bytesOf(ranges []Range) (n int64) {
	for _, r := range ranges {
		n += r.Length
	}
	return n
}

// locatable is a file with a table, and where its pieces begin and the last one
// ends, found by decrypting it.
type locatable struct {
	shape
	begins []int64
}

var madeLocatable []locatable

func locatables(t *testing.T) []locatable {
	t.Helper()
	if madeLocatable != nil {
		return madeLocatable
	}
	// The last block: of many bytes, of one, of zeros.
	for _, plain := range [][]byte{content(3_300_000), content(2<<20 + 1), make([]byte, 5_000_000)} {
		for _, kind := range []string{"curve", "passphrase", "plain"} {
			s := tableShape(t, kind, plain)
			r := s.reader(t, nil, 0)
			begins := []int64{0}
			for i := range r.blocks {
				begins = append(begins, r.layout.at(r.blocks[i].at))
			}
			r.Close()
			madeLocatable = append(madeLocatable, locatable{s, append(begins, int64(len(s.sealed)))})
		}
	}
	return madeLocatable
}

// Each changed byte is in a range, and no range is longer than it must be: with
// one byte changed the piece that has it, without what the next one's hash shows
// to be right, or two pieces where both hashes have that byte.
func TestLocateOneByte(t *testing.T) {
	random := rand.New(rand.NewPCG(31, 1))
	planted, found := 0, 0
	for _, s := range locatables(t) {
		b := s.begins
		places := []int64{0, 1, int64(len(s.sealed)) - 1}
		for _, at := range b {
			for _, d := range []int64{-41, -40, -39, -1, 0, 1} {
				places = append(places, min(max(0, at+d), int64(len(s.sealed))-1))
			}
		}
		for range 12 {
			places = append(places, random.Int64N(int64(len(s.sealed))))
		}
		bad := bytes.Clone(s.sealed)
		for _, at := range places {
			bit := byte(1) << random.IntN(8)
			bad[at] ^= bit
			ranges, err := Locate(bytes.NewReader(bad), int64(len(bad)), s.entry)
			bad[at] ^= bit
			if err != nil {
				t.Fatal(err)
			}
			planted++
			if !within(ranges, at) {
				t.Fatalf("%s: byte %d of %d is in none of %v", s.name, at, len(bad), ranges)
			}
			found++
			i := 0
			for b[i+1] <= at {
				i++
			}
			want := Range{b[i], b[i+1] - b[i]}
			switch last := i+2 == len(b); {
			case last:
			case at < b[i+1]-pieceContext:
				want.Length -= pieceContext
			case b[i+2]-b[i+1] > pieceContext || i+3 == len(b):
				want.Length += b[i+2] - b[i+1]
				if i+3 < len(b) {
					want.Length -= pieceContext
				}
			}
			if !slices.Equal(ranges, []Range{want}) {
				t.Fatalf("%s: byte %d of %d, pieces begin at %v: %v, want %v", s.name, at, len(bad), b, ranges, want)
			}
		}
	}
	t.Logf("%d bytes planted, %d located", planted, found)
}

// Whatever is wrong, and however much, all of it is in the ranges, and what is
// outside of them is right.
func TestLocateAll(t *testing.T) {
	random := rand.New(rand.NewPCG(31, 2))
	all := locatables(t)
	planted, found := 0, 0
	for range 60 {
		s := all[random.IntN(len(all))]
		bad := bytes.Clone(s.sealed)
		for range random.IntN(4) {
			at := random.IntN(len(bad))
			n := min(1+random.IntN(100), len(bad)-at)
			for i := range n {
				bad[at+i] ^= byte(1 + random.IntN(255))
			}
		}
		switch random.IntN(4) {
		case 0:
			bad = bad[:random.IntN(len(bad))]
		case 1:
			bad = append(bad, randomBytes(1+random.IntN(2000))...)
		}
		if bytes.Equal(bad, s.sealed) {
			continue
		}
		ranges, err := Locate(bytes.NewReader(bad), int64(len(bad)), s.entry)
		if err != nil {
			t.Fatal(err)
		}
		for i := range max(len(bad), len(s.sealed)) {
			if i < min(len(bad), len(s.sealed)) && bad[i] == s.sealed[i] {
				continue
			}
			planted++ // a byte that is missing counts as well
			if !within(ranges, int64(i)) {
				t.Fatalf("%s: byte %d, of %d where %d should be, is in none of %v", s.name, i, len(bad), len(s.sealed), ranges)
			}
			found++
		}
		end := int64(-1)
		for _, r := range ranges {
			if r.Offset <= end || r.Length <= 0 {
				t.Fatalf("%s: %v are not apart from one another", s.name, ranges)
			}
			end = r.Offset + r.Length
		}
		if end > int64(max(len(bad), len(s.sealed))) {
			t.Fatalf("%s: %v, of %d bytes", s.name, ranges, len(bad))
		}
	}
	t.Logf("%d bytes planted, %d located", planted, found)
}

// A file that is cut is wrong from the last block on that is all there.
func TestLocateCut(t *testing.T) {
	for _, s := range locatables(t) {
		b, size := s.begins, int64(len(s.sealed))
		for i := range b[:len(b)-1] {
			cut := b[i] + (b[i+1]-b[i])/2
			ranges, err := Locate(bytes.NewReader(s.sealed[:cut]), cut, s.entry)
			if want := (Range{b[i], size - b[i]}); err != nil || !slices.Equal(ranges, []Range{want}) {
				t.Errorf("%s: cut at %d, pieces begin at %v: %v, %v", s.name, cut, b, ranges, err)
			}
		}
		longer := append(bytes.Clone(s.sealed), "more"...)
		if ranges, err := Locate(bytes.NewReader(longer), size+4, s.entry); err != nil || !slices.Equal(ranges, []Range{{size, 4}}) {
			t.Errorf("%s: four bytes more: %v, %v", s.name, ranges, err)
		}
	}
}

// Where the list does not help, the file is one range.
func TestLocateWithoutTable(t *testing.T) {
	s, other := tableShape(t, "curve", content(2_500_000)), tableShape(t, "curve", content(2_600_000))
	size := int64(len(s.sealed))
	table, err := parseBlockTable(s.entry.Blocks)
	if err != nil {
		t.Fatal(err)
	}
	table.Blocks[1].Length += 5 << 20
	tooLong := table.String()
	table.Blocks = nil
	for what, blocks := range map[string]string{
		"no table": "", "another file's": other.entry.Blocks, "none at all": "!", "longer than the file": tooLong, "without blocks": table.String(), "right": s.entry.Blocks,
	} {
		e := *s.entry
		e.Blocks = blocks
		for _, n := range []int64{size, size - 100, size + 100, 0} {
			sealed := append(bytes.Clone(s.sealed), make([]byte, 100)...)[:n]
			ranges, err := Locate(bytes.NewReader(sealed), n, &e)
			switch want := (Range{0, max(size, n)}); {
			case what == "right" && n != size: // TestLocateCut
			case err != nil || !slices.Equal(ranges, []Range{want}):
				t.Errorf("%s, %d bytes: %v, %v", what, n, ranges, err)
			}
		}
	}
	e := *s.entry
	e.SealedPath = "file" + SuffixPlain // whose table would fit a shorter file
	if ranges, err := Locate(bytes.NewReader(s.sealed), size, &e); err != nil || bytesOf(ranges) != size {
		t.Error(ranges, err)
	}
}

func TestLocatePassesErrorsOn(t *testing.T) {
	s := tableShape(t, "plain", content(2_500_000))
	broken := errors.New("the disk is broken")
	sealed := readerAtFunc(func(p []byte, pos int64) error {
		if pos > 1_000_000 {
			return broken
		}
		_, err := bytes.NewReader(s.sealed).ReadAt(p, pos)
		return err
	})
	if ranges, err := Locate(sealed, int64(len(s.sealed)), s.entry); !errors.Is(err, broken) || ranges != nil {
		t.Error(ranges, err)
	}
	// It became shorter while it was read.
	size := int64(len(s.sealed))
	cut := io.NewSectionReader(bytes.NewReader(s.sealed), 0, size-1000)
	if ranges, err := Locate(cut, size, s.entry); err != nil || within(ranges, 0) || !within(ranges, size-1) {
		t.Error(ranges, err)
	}
}
