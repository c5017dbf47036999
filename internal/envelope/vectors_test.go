package envelope

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func newReader(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, 16) }

// Values of the xxHash specification's reference implementation.
func TestXXH32Vectors(t *testing.T) {
	for text, want := range map[string]uint32{
		"": 0x02CC5D05, "a": 0x550D7456, "abc": 0x32D153FF, "Nobody inspects the spammish repetition": 0xE2293B2F,
	} {
		if got := sumXXH32([]byte(text)); got != want {
			t.Errorf("%q: %08x, want %08x", text, got, want)
		}
		h := newXXH32()
		for i := range text {
			h.write([]byte{text[i]})
		}
		if got := h.sum(); got != want {
			t.Errorf("%q, byte by byte: %08x, want %08x", text, got, want)
		}
	}
}

// The frame that lz4 1.9 makes of "abc", and ours.
func TestFrameOfABC(t *testing.T) {
	want := []byte{0x04, 0x22, 0x4d, 0x18, 0x64, 0x40, 0xa7, 3, 0, 0, 0x80, 'a', 'b', 'c', 0, 0, 0, 0, 0xff, 0x53, 0xd1, 0x32}
	if got := seal(t, Recipients{}, []byte("abc")); !bytes.Equal(got, want) {
		t.Errorf("% x\nwant % x", got, want)
	}
	if got := run(t, []byte("abc"), "lz4", "-q", "-c", "-B4"); !bytes.Equal(got, want) {
		t.Errorf("lz4 makes % x", got)
	}
}

// Each of a frame's checks alone finds what only it can find.
func TestFrameChecks(t *testing.T) {
	plain := content(300_000)
	file := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(file, plain, 0o600); err != nil {
		t.Fatal(err)
	}
	frame := run(t, nil, "lz4", "-q", "-c", "-B4", "-BX", "--content-size", "--no-frame-crc", file)
	const headerSize = 4 + 2 + 8 + 1
	if got, err := open(NewOpener(nil), frame, false); err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("the good frame: %d bytes, %v", len(got), err)
	}
	for what, change := range map[string]func(b []byte){
		"header":         func(b []byte) { b[headerSize-1] ^= 1 },
		"block checksum": func(b []byte) { b[headerSize+4+int(binary.LittleEndian.Uint32(b[headerSize:])&^uncompressed)] ^= 1 },
		"content size": func(b []byte) {
			b[6] ^= 1
			b[headerSize-1] = byte(sumXXH32(b[4:headerSize-1]) >> 8)
		},
	} {
		bad := bytes.Clone(frame)
		change(bad)
		if got, err := open(NewOpener(nil), bad, false); !errors.Is(err, ErrDamaged) || len(got) == len(plain) {
			t.Errorf("%s: %d bytes, %v", what, len(got), err)
		}
	}
}

func fuzzSeeds(t testing.TB) [][]byte {
	var seeds [][]byte
	for _, kind := range kinds(t) {
		for _, size := range []int{0, 1, 100, 70_000} {
			seeds = append(seeds, seal(t, kind.Recipients, content(size)))
		}
	}
	return append(seeds, []byte{0xd2, 0xff}, []byte{0xa3, 1}, []byte{4, 34, 77, 24})
}

func TestFuzzSeedsExist(t *testing.T) {
	if n := len(fuzzSeeds(t)); n < 20 {
		t.Errorf("%d seeds", n)
	}
}

// Whatever the bytes, a reader ends with an error or with what lz4 and OpenPGP
// would have verified; it neither panics nor runs away.
func FuzzOpen(f *testing.F) {
	for _, seed := range fuzzSeeds(f) {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	opener := NewOpener(privateKeys(f, "curve"), passphrase)
	f.Fuzz(func(t *testing.T, b []byte, encrypted bool) {
		r, err := opener.NewReader(bytes.NewReader(b), encrypted)
		if err != nil {
			return
		}
		n, err := io.Copy(io.Discard, io.LimitReader(r, 100<<20))
		if err == nil && n > int64(len(b))*300+16 {
			t.Errorf("%d bytes out of %d", n, len(b))
		}
	})
}

// The inner framing, which encryption hides from FuzzOpen.
func FuzzLiteral(f *testing.F) {
	for _, tag := range []byte{tagLiteral, tagCompressed, tagMarker} {
		var b bytes.Buffer
		w := newPacketWriter(&b, tag)
		w.Write([]byte{'b', 1, 'x', 0, 0, 0, 0})
		w.Write(content(100))
		w.Close()
		f.Add(b.Bytes())
	}
	f.Add([]byte{0xa3, 1, 0xcb})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := openLiteral(newReader(bytes.NewReader(b)), true)
		if err != nil {
			return
		}
		io.Copy(io.Discard, io.LimitReader(r, 10<<20))
	})
}

func BenchmarkSeal(b *testing.B) {
	plain := content(64 << 20)
	s, err := Recipients{Keys: publicKeys(b, "chipster")}.NewSession()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(plain)))
	for b.Loop() {
		w, err := s.NewWriter(io.Discard, int64(len(plain)))
		if err != nil {
			b.Fatal(err)
		}
		w.Write(plain)
		if _, err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	plain := content(64 << 20)
	sealed := seal(b, Recipients{Keys: publicKeys(b, "chipster")}, plain)
	o := NewOpener(privateKeys(b, "chipster"))
	b.SetBytes(int64(len(plain)))
	for b.Loop() {
		r, err := o.NewReader(bytes.NewReader(sealed), true)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			b.Fatal(err)
		}
	}
}
