package envelope

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pierrec/lz4/v4"

	"github.com/chipster/firn/internal/manifest"
)

// entryOf is the line of a list.
func entryOf(plain, sealed []byte, encrypted bool, blocks string) *manifest.Entry {
	e := &manifest.Entry{
		Path: "file", Size: int64(len(plain)), SHA512: sha512.Sum512(plain), SealedPath: "file" + SuffixPlain,
		SealedSize: int64(len(sealed)), SealedSHA512: sha512.Sum512(sealed), Details: manifest.Details{Blocks: blocks},
	}
	if encrypted {
		e.SealedPath = "file" + SuffixEncrypted
	}
	return e
}

// shape is a sealed file, and how it can be read.
type shape struct {
	name     string
	plain    []byte
	sealed   []byte
	entry    *manifest.Entry
	opener   *Opener
	streamed bool
}

// frameShapes are lz4 frames as the lz4 program makes them.
func frameShapes(t testing.TB, plain []byte) map[string][]byte {
	file := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(file, plain, 0o600); err != nil {
		t.Fatal(err)
	}
	frames := map[string][]byte{}
	for _, args := range []string{"-B4", "-B5", "-B6", "-B7", "-B4 -BX", "-B5 --no-frame-crc", "-B6 --content-size", "-B7 -BX --content-size --no-frame-crc", "-B4 -BD", "-9 -B6"} {
		frames[args] = run(t, nil, "lz4", append(strings.Fields(args), "-q", "-c", file)...)
	}
	cut := len(plain) * 2 / 3
	part := func(p []byte, args ...string) []byte { return run(t, p, "lz4", append(args, "-q", "-c")...) }
	skip := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, skippable+5), 3)
	skip = append(skip, 1, 2, 3)
	frames["several frames"] = slices.Concat(skip, part(plain[:cut], "-B5"), part(nil, "-B4"), skip, part(plain[cut:min(cut+1, len(plain))], "-B7", "-BX"), part(plain[min(cut+1, len(plain)):], "-B4", "--no-frame-crc"), skip)
	frames["a linked frame behind"] = slices.Concat(part(plain[:cut], "-B5"), part(plain[cut:], "-B5", "-BD"))
	return frames
}

var madeShapes = map[int][]shape{}

// shapes are all that sealed files of content(size) may be.
func shapes(t testing.TB, size int) (all []shape) {
	if all := madeShapes[size]; all != nil {
		return all
	}
	defer func() { madeShapes[size] = all }()
	plain := content(size)
	kind := kinds(t)["curve"]
	session, err := kind.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	add := func(name string, sealed []byte, encrypted bool, blocks string, opener *Opener) {
		// lz4 links no blocks where there is only one.
		linked := strings.Contains(name, "-BD") && len(plain) > 64<<10 || strings.Contains(name, "linked") && len(plain) > 1<<20
		streamed := blocks == "" && (linked || strings.Contains(name, "compressed"))
		all = append(all, shape{name, plain, sealed, entryOf(plain, sealed, encrypted, blocks), opener, streamed})
	}
	frames := frameShapes(t, plain)
	for name, frame := range frames {
		add("lz4 "+name, frame, false, "", NewOpener(nil))
		add("gpg, lz4 "+name, run(t, frame, "gpg", "--compress-algo", "none", "--recipient", "curve", "--encrypt"), true, "", kind.Opener)
	}
	frame := filepath.Join(t.TempDir(), "frame")
	if err := os.WriteFile(frame, frames["-B7"], 0o600); err != nil {
		t.Fatal(err)
	}
	opener := NewOpener(append(privateKeys(t, "curve"), privateKeys(t, "chipster")...), passphrase)
	gpg := func(name string, args ...string) {
		add("gpg, a pipe: "+name, run(t, frames["-B7"], "gpg", append(args, "--output", "-")...), true, "", opener)
		add("gpg, a file: "+name, run(t, nil, "gpg", append(args, "--output", "-", frame)...), true, "", opener)
	}
	gpg("AES-128", "--cipher-algo", "AES128", "--compress-algo", "none", "--recipient", "curve", "--encrypt")
	gpg("two keys, a name", "--compress-algo", "none", "--recipient", "chipster", "--recipient", "curve", "--set-filename", "name", "--encrypt")
	gpg("compressed", "--compress-algo", "zlib", "--recipient", "curve", "--encrypt")
	gpg("a passphrase", "--compress-algo", "none", "--passphrase", string(passphrase), "--symmetric")
	for name, hint := range map[string]int64{"firn": int64(size), "firn, of unknown size": -1} {
		var sealed, open bytes.Buffer
		sums := sealInto(t, session, &sealed, hint, plain)
		add(name, sealed.Bytes(), true, sums.Blocks, kind.Opener)
		sums = sealInto(t, plainSession(t), &open, hint, plain)
		add(name+", lz4 alone", open.Bytes(), false, sums.Blocks, NewOpener(nil))
	}
	sealed := run(t, frames["-B4"], "gpg", "--compress-algo", "none", "--recipient", "curve", "--encrypt")
	session.header = sealed[:len(sealed)-len(afterHeader(t, sealed))]
	for name, bits := range map[string][]int{"512": {9}, "1024": {10}, "8192": {13}, "65536": {16}, "4 MiB": {22}, "mixed": {9, 16, 11}, "mixed and short": {12, 0, 1, 2}} {
		add("chunks of "+name, rechunk(t, session, sealed, bits...), true, "", kind.Opener)
	}
	return all
}

// afterHeader is a message without the packets of session keys.
func afterHeader(t testing.TB, sealed []byte) []byte {
	in := newPosReader(bytes.NewReader(sealed), 16)
	for {
		at := in.pos()
		tag, b, err := readHeader(in.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if tag == tagSEIPD {
			return sealed[at:]
		}
		io.Copy(io.Discard, b)
	}
}

// What is read anywhere is what gpg and lz4 read there, whatever the shape.
func TestReaderAt(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 70_000, 2_500_000} {
		for _, s := range shapes(t, size) {
			if size > 1<<20 {
				s.checkWithTools(t)
			}
			for _, small := range []int64{0, smallFile} {
				r := s.reader(t, nil, small)
				checkReads(t, random, r, &s)
				if streamed := s.streamed && int64(size) > small; (r.Streamed() != "") != streamed {
					t.Errorf("%s of %d bytes: streamed: %q", s.name, size, r.Streamed())
				}
				if index := r.Index(); index != nil {
					again := s.reader(t, index, small)
					checkReads(t, random, again, &s)
					if again.Index() != nil {
						t.Errorf("%s: the index that was kept was not used", s.name)
					}
				}
			}
		}
	}
}

// checkWithTools checks the test's own file.
func (s *shape) checkWithTools(t *testing.T) {
	t.Helper()
	frame := s.sealed
	if IsEncrypted(s.entry.SealedPath) {
		frame = run(t, s.sealed, "gpg", "--passphrase", string(passphrase), "--decrypt")
	}
	if got := run(t, frame, "lz4", "-d", "-c"); !bytes.Equal(got, s.plain) {
		t.Fatalf("%s: gpg and lz4 read %d bytes", s.name, len(got))
	}
}

// reader opens a shape, and closes it at the end of the test.
func (s *shape) reader(t testing.TB, index []byte, small int64) *ReaderAt {
	t.Helper()
	r, err := s.opener.newReaderAt(bytes.NewReader(s.sealed), s.entry, index, small)
	if err != nil {
		t.Fatalf("%s of %d bytes: %v", s.name, len(s.plain), err)
	}
	t.Cleanup(r.Close)
	return r
}

func checkReads(t *testing.T, random *rand.Rand, r *ReaderAt, s *shape) {
	t.Helper()
	size := len(s.plain)
	for range runs(8) {
		off := random.IntN(size + 2)
		p := make([]byte, random.IntN(100_000))
		n, err := r.ReadAt(p, int64(off))
		want := s.plain[min(off, size):min(off+len(p), size)]
		if err != nil && (err != io.EOF || off+len(p) < size) || !bytes.Equal(p[:n], want) {
			t.Fatalf("%s of %d bytes: %d at %d: %d bytes, %v", s.name, size, len(p), off, n, err)
		}
		if n < len(p) && err == nil {
			t.Fatalf("%s: a short read without an error", s.name)
		}
	}
	got, err := readAll(r)
	if err != nil || !bytes.Equal(got, s.plain) {
		t.Fatalf("%s of %d bytes: all: %d bytes, %v", s.name, size, len(got), err)
	}
}

// readAll reads with few calls: a ReaderAt keeps no block.
func readAll(r io.ReaderAt) ([]byte, error) {
	var all []byte
	p := make([]byte, 3<<20)
	for {
		n, err := r.ReadAt(p, int64(len(all)))
		if all = append(all, p[:n]...); err == io.EOF {
			return all, nil
		} else if err != nil {
			return all, err
		}
	}
}

// Blocks can be read by many at once, and each is what it would be alone.
func TestReaderAtConcurrently(t *testing.T) {
	plain := content(2_500_000)
	for _, s := range shapes(t, len(plain)) {
		r := s.reader(t, nil, 0)
		var readers sync.WaitGroup
		for i := range 8 {
			readers.Go(func() {
				random := rand.New(rand.NewPCG(3, uint64(i)))
				for range 4 {
					off := random.IntN(len(plain))
					p := make([]byte, min(300_000, len(plain)-off))
					if n, err := r.ReadAt(p, int64(off)); n < len(p) || !bytes.Equal(p, plain[off:off+n]) {
						t.Errorf("%s: %d bytes at %d, %v", s.name, n, off, err)
					}
				}
			})
		}
		readers.Wait()
	}
}

// To open a file takes a few reads, however large it is: gpg's chunks are equal
// but for the last ones.
func TestOpenReadsLittle(t *testing.T) {
	for _, s := range shapes(t, 2_500_000) {
		if s.streamed || strings.HasPrefix(s.name, "chunks of mixed") {
			continue
		}
		reads, bytes := 0, 0
		counted := readerAtFunc(func(p []byte, pos int64) error {
			reads, bytes = reads+1, bytes+len(p)
			copy(p, s.sealed[pos:])
			return nil
		})
		r, err := s.opener.newReaderAt(counted, s.entry, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		if reads > 60 || bytes > 20_000 {
			t.Errorf("%s: %d reads of %d bytes", s.name, reads, bytes)
		}
	}
}

func plainSession(t testing.TB) *Session {
	t.Helper()
	s, err := kinds(t)["plain"].NewSession()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A changed bit anywhere is an error for who reads all, whatever the order.
func TestReaderAtFindsDamage(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	plain := content(700_000)
	for _, s := range shapes(t, len(plain)) {
		for _, small := range []int64{0, smallFile} {
			for i := range runs(24) {
				bad := bytes.Clone(s.sealed)
				at := random.IntN(len(bad))
				switch {
				case i < 3:
					at = len(bad) - 1 - i*20
				case i < 6:
					at = random.IntN(min(len(bad), 800))
				}
				bad[at] ^= 1 << random.IntN(8)
				r, err := s.opener.newReaderAt(bytes.NewReader(bad), s.entry, nil, small)
				if err == nil {
					err = readBackwards(r, len(plain), i%2 == 0)
					r.Close()
				}
				if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrKey) && !errors.Is(err, ErrUnsupported) {
					t.Errorf("%s: bit in byte %d of %d: %v", s.name, at, len(bad), err)
				}
			}
			for _, at := range []int{0, 1, len(s.sealed) / 2, len(s.sealed) - 1} {
				r, err := s.opener.newReaderAt(bytes.NewReader(s.sealed[:at]), s.entry, nil, small)
				if err == nil {
					_, err = readAll(r)
					r.Close()
				}
				if !errors.Is(err, ErrDamaged) {
					t.Errorf("%s: cut at %d: %v", s.name, at, err)
				}
			}
		}
	}
}

// readBackwards reads all of a file in pieces, from its end or from its
// beginning.
func readBackwards(r *ReaderAt, size int, backwards bool) error {
	const piece = 50_000
	for i := range (size + piece - 1) / piece {
		off := i * piece
		if backwards {
			off = max(0, size-(i+1)*piece)
		}
		if _, err := r.ReadAt(make([]byte, min(piece, size-off)), int64(off)); err != nil && err != io.EOF {
			return err
		}
	}
	return nil
}

// Who reads a part of a file without a table learns no more than the part; who
// was given everything but one block has it withheld.
func TestLastBlockIsWithheld(t *testing.T) {
	plain := content(700_000)
	for _, s := range shapes(t, len(plain)) {
		if s.name != "gpg, lz4 -B4" && s.name != "lz4 -B4" {
			continue
		}
		bad := bytes.Clone(s.sealed)
		bad[len(bad)-1] ^= 1 // of the checksums behind all blocks
		r, err := s.opener.newReaderAt(bytes.NewReader(bad), s.entry, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		p := make([]byte, 64<<10)
		for _, block := range []int{3, 0, 1, 2, 10, 9, 8, 7, 6, 5} {
			off := block * len(p)
			if n, err := r.ReadAt(p, int64(off)); err != nil && err != io.EOF || !bytes.Equal(p[:n], plain[off:off+n]) {
				t.Fatalf("%s: block %d: %d bytes, %v", s.name, block, n, err)
			}
		}
		for range 2 {
			if n, err := r.ReadAt(p, 4*64<<10); !errors.Is(err, ErrDamaged) || n > 0 {
				t.Errorf("%s: the last block that was missing: %d bytes, %v", s.name, n, err)
			}
		}
	}
}

// A part of a file without a table is not verified; all of it is.
func TestVerified(t *testing.T) {
	for _, s := range shapes(t, 2_500_000) {
		r := s.reader(t, nil, 0)
		if !r.Verified() {
			t.Errorf("%s: not verified before anything was read", s.name)
		}
		if _, err := r.ReadAt(make([]byte, 10), 2_000_000); err != nil {
			t.Fatal(err)
		}
		if got := r.Verified(); got != (s.entry.Blocks != "" || len(r.blocks) == 1) {
			t.Errorf("%s: verified after a part: %t", s.name, got)
		}
		if err := readBackwards(r, len(s.plain), s.streamed); err != nil || !r.Verified() {
			t.Errorf("%s: not verified after all: %v", s.name, err)
		}
	}
}

// frameOf makes a frame of blocks, each compressed or stored.
func frameOf(t testing.TB, blocks ...[]byte) []byte {
	t.Helper()
	frame := []byte{0x04, 0x22, 0x4d, 0x18, lz4Version | flagIndepend, 4 << 4, 0}
	frame[6] = byte(sumXXH32(frame[4:6]) >> 8)
	for _, b := range blocks {
		packed := make([]byte, lz4.CompressBlockBound(len(b)))
		n, err := lz4.CompressBlock(b, packed, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 || n >= len(b) {
			frame = binary.LittleEndian.AppendUint32(frame, uint32(len(b))|uncompressed)
			frame = append(frame, b...)
			continue
		}
		frame = binary.LittleEndian.AppendUint32(frame, uint32(n))
		frame = append(frame, packed[:n]...)
	}
	return append(frame, 0, 0, 0, 0)
}

// Programs that flush write blocks that are shorter than they could be. Stored
// ones tell their size; where others are among them, the file is streamed.
func TestUnevenBlocks(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	noise := make([]byte, 200_000)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	zeros := make([]byte, 64<<10)
	for name, c := range map[string]struct {
		blocks   [][]byte
		streamed bool
	}{
		"stored":           {[][]byte{noise[:10], noise[10:60_000], nil, zeros, noise[60_000:60_001], zeros[:20_000]}, false},
		"short ones":       {[][]byte{zeros, zeros[:20_000], zeros, noise[:1000]}, true},
		"empty at the end": {[][]byte{zeros, noise[:1000], nil, nil}, false},
		"one byte":         {[][]byte{noise[:1]}, false},
	} {
		plain, frame := slices.Concat(c.blocks...), frameOf(t, c.blocks...)
		if got := run(t, frame, "lz4", "-d", "-c"); !bytes.Equal(got, plain) {
			t.Fatalf("%s: the test's own frame is wrong", name)
		}
		s := shape{name, plain, frame, entryOf(plain, frame, false, ""), NewOpener(nil), c.streamed}
		r := s.reader(t, nil, 0)
		checkReads(t, random, r, &s)
		if (r.Streamed() != "") != c.streamed {
			t.Errorf("%s: streamed: %q", name, r.Streamed())
		}
	}
}

// A list that lies about a size is found out.
func TestReaderAtAndTheList(t *testing.T) {
	for _, s := range shapes(t, 700_000) {
		for _, size := range []int64{699_999, 700_001, 700_000 + 64<<10, 1, 1 << 40} {
			e := *s.entry
			e.Size = size
			r, err := s.opener.newReaderAt(bytes.NewReader(s.sealed), &e, nil, 0)
			if err == nil {
				_, err = io.Copy(io.Discard, io.NewSectionReader(r, 0, 1<<40))
				r.Close()
			}
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: %d bytes in the list: %v", s.name, size, err)
			}
		}
	}
}

// An index of another file, or half of one, is not used, and does no harm.
func TestIndexOfAnotherFile(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	all := shapes(t, 700_000)
	var indexes [][]byte
	for _, s := range all {
		r := s.reader(t, nil, 0)
		if _, err := readAll(r); err != nil {
			t.Fatal(err)
		}
		if index := r.Index(); index != nil {
			indexes = append(indexes, index, index[:len(index)-3], append(bytes.Clone(index), 1), []byte{}, bytes.Repeat([]byte{255}, 100))
		}
	}
	for i := range all {
		s := &all[i]
		checkReads(t, random, s.reader(t, indexes[random.IntN(len(indexes)/5)*5+1+random.IntN(4)], 0), s)
	}
}

// The follower and the stream leave nothing behind.
func TestCloseLeavesNoGoroutine(t *testing.T) {
	all := shapes(t, 2_500_000)
	before := runtime.NumGoroutine()
	for _, s := range all {
		r, err := s.opener.newReaderAt(bytes.NewReader(s.sealed), s.entry, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.ReadAt(make([]byte, 1_500_000), 0); err != nil {
			t.Fatal(err)
		}
		r.Close()
		plain, err := s.opener.Open(bytes.NewReader(s.sealed), s.entry)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(plain, make([]byte, 1_500_000)); err != nil {
			t.Fatal(err)
		}
		plain.Close()
	}
	// Those that have ended count until they have run to their last line.
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// A wait for the whole file's hash ends with its context.
func TestHandOutEndsWithItsContext(t *testing.T) {
	plain := content(300_000)
	frame := frameShapes(t, plain)["-B4"]
	gate := make(chan struct{})
	slow := readerAtFunc(func(p []byte, pos int64) error {
		if len(p) == len(frame) { // only the hash reads all at once
			<-gate
		}
		_, err := bytes.NewReader(frame).ReadAt(p, pos)
		return err
	})
	r, err := NewOpener(nil).newReaderAt(slow, entryOf(plain, frame, false, ""), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for off := int64(0); off < int64(len(plain)); off += 64 << 10 {
		if _, _, err := r.Block(ctx, off); err != nil {
			t.Fatal(err)
		}
		if off+64<<10 >= int64(len(plain)) {
			cancel()
		}
		err = r.HandOut(ctx, off)
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the last block: %v", err)
	}
	close(gate)
	if err := r.HandOut(t.Context(), 0); err != nil {
		t.Errorf("later: %v", err)
	}
	r.Close()
}

// BenchmarkReaderAt decodes blocks of 64 MiB that do not compress, one after the
// other, as a reader of the mount does.
func BenchmarkReaderAt(b *testing.B) {
	plain := randomBytes(64 << 20)
	table := tableShape(b, "curve", plain)
	none := *table.entry
	none.Blocks = ""
	for name, e := range map[string]*manifest.Entry{"a table": table.entry, "no table": &none} {
		b.Run(name, func(b *testing.B) {
			r, err := table.opener.NewReaderAt(bytes.NewReader(table.sealed), e, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			b.SetBytes(1 << 20)
			for i := 0; b.Loop(); i++ {
				start, _, err := r.Block(b.Context(), int64(i%64)<<20)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := r.ReadBlock(b.Context(), start); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Whatever the bytes, what is read at places is what is read from the beginning,
// or there is an error.
func FuzzReaderAt(f *testing.F) {
	kind := kinds(f)["curve"]
	opener := kind.Opener
	session, err := kind.NewSession()
	if err != nil {
		f.Fatal(err)
	}
	plain := content(200_000)
	for _, p := range [][]byte{nil, plain[:1], plain[:70_000], plain} {
		sealed := sealWith(f, session, p)
		f.Add(sealed, true, int64(len(p)), uint16(60_000))
		for _, bits := range [][]int{{9}, {13}, {9, 16, 11}, {12, 0, 1, 2}} {
			f.Add(rechunk(f, session, sealed, bits...), true, int64(len(p)), uint16(60_000))
		}
	}
	frame := frameOf(f, plain[:60_000], nil, plain[60_000:100_000], make([]byte, 64<<10), plain[:10])
	f.Add(frame, false, int64(100_000+64<<10+10), uint16(60_000))
	f.Add(slices.Concat(frame, frame), false, int64(2*(100_000+64<<10+10)), uint16(60_000))
	f.Fuzz(func(t *testing.T, sealed []byte, encrypted bool, size int64, off uint16) {
		if size < 0 || size > 1<<20 {
			return
		}
		plain, openErr := open(opener, sealed, encrypted)
		e := entryOf(plain, sealed, encrypted, "")
		if openErr != nil {
			e.Size = size
		}
		r, err := opener.newReaderAt(bytes.NewReader(sealed), e, nil, 0)
		if err != nil {
			if openErr == nil {
				t.Fatalf("opened as a whole, but: %v", err)
			}
			return
		}
		defer r.Close()
		p := make([]byte, 100)
		n, err := r.ReadAt(p, int64(off))
		if openErr == nil && (n < len(p) && err != io.EOF || !bytes.Equal(p[:n], plain[min(len(plain), int(off)):min(len(plain), int(off)+n)])) {
			t.Fatalf("%d bytes at %d of %d: %v", n, off, len(plain), err)
		}
		got, err := readAll(r)
		if openErr == nil && (err != nil || !bytes.Equal(got, plain)) {
			t.Fatalf("%d bytes of %d: %v", len(got), len(plain), err)
		}
	})
}
