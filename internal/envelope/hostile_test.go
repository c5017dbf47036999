//go:build !race

package envelope

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/cfb"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/memorytest"
)

// Here is what somebody can make sealed files of who may write to the bucket,
// where the public key is no secret, or to the archive's disk.

// hostile is a sealed file, what its list says, and the error that it is: nil
// where it is only odd.
type hostile struct {
	sealed    []byte
	encrypted bool
	size      int64
	blocks    string
	want      error
	vouched   bool // the list's hash of the sealed file is right, by which large files are read anywhere
}

// packetOf writes a packet of the new form with a length of five bytes.
func packetOf(tag byte, content ...[]byte) []byte {
	body := slices.Concat(content...)
	return append(binary.BigEndian.AppendUint32([]byte{0xc0 | tag, 255}, uint32(len(body))), body...)
}

// bytewise is a packet of chunks of one byte, each with a length of its own.
func bytewise(tag byte, content []byte) []byte {
	p := []byte{0xc0 | tag}
	for _, b := range content {
		p = append(p, 224, b)
	}
	return append(p, 0)
}

// inside is the content of an encrypted packet: any plaintext, and the right
// detection code behind it.
func inside(s *Session, plain ...[]byte) []byte {
	text := slices.Concat(make([]byte, prefixSize), slices.Concat(plain...), []byte{0xc0 | tagMDC, sha1.Size})
	sum := sha1.Sum(text)
	return encrypt(s, append(text, sum[:]...))
}

func encrypt(s *Session, text []byte) []byte {
	s.key.NewEncrypter([cfb.BlockSize]byte{}).Encrypt(text, text)
	return append([]byte{1}, text...)
}

func message(s *Session, plain ...[]byte) []byte {
	return append(bytes.Clone(s.header), packetOf(tagSEIPD, inside(s, plain...))...)
}

var literalStart = []byte{'b', 0, 0, 0, 0, 0}

func literalOf(frames ...[]byte) []byte {
	return packetOf(tagLiteral, literalStart, slices.Concat(frames...))
}

// zlibOf is a compressed packet: a beginning, and then something again and again.
func zlibOf(t testing.TB, begin, again []byte, times int) []byte {
	t.Helper()
	var b bytes.Buffer
	b.WriteByte(2)
	w, err := zlib.NewWriterLevel(&b, zlib.BestSpeed)
	if err == nil {
		_, err = w.Write(begin)
	}
	for range times {
		if err == nil {
			_, err = w.Write(again)
		}
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return packetOf(tagCompressed, b.Bytes())
}

// frameStart is a header with any flags, a descriptor, and the right checksum.
func frameStart(flags, descriptor byte, more ...byte) []byte {
	h := append([]byte{0x04, 0x22, 0x4d, 0x18, flags, descriptor}, more...)
	return append(h, byte(sumXXH32(h[4:])>>8))
}

func skippableOf(length uint32, content []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, skippable), length), content...)
}

const (
	independent = lz4Version | flagIndepend
	largest     = 7 << 4 // blocks of 4 MiB
)

func hostileFrames(t testing.TB) map[string]hostile {
	start, end := frameStart(independent, largest), make([]byte, 4)
	again := func(n int, b []byte, before, after []byte) []byte {
		return slices.Concat(before, bytes.Repeat(b, n), after)
	}
	zeros := make([]byte, 64<<10)
	frame := frameOf(t, zeros)
	const large = 5 << 20 // such a file is not read as one block
	all := map[string]hostile{
		"many frames with nothing":          {sealed: again(200_000, slices.Concat(start, end), nil, nil), size: large},
		"many empty blocks, stored":         {sealed: again(200_000, []byte{0, 0, 0, 0x80}, start, nil), size: large},
		"many empty blocks, packed":         {sealed: again(200_000, []byte{1, 0, 0, 0, 0}, start, nil), size: large},
		"frames of one byte":                {sealed: again(50_000, slices.Concat(start, []byte{2, 0, 0, 0, 0x10, 'x'}, end), nil, nil), size: large},
		"linked blocks of one byte":         {sealed: again(200_000, []byte{2, 0, 0, 0, 0x10, 'x'}, frameStart(lz4Version, largest), nil), size: large},
		"frames to skip and no other":       {sealed: again(50, skippableOf(1<<20, make([]byte, 1<<20)), nil, nil), size: large},
		"many frames to skip of no bytes":   {sealed: again(200_000, skippableOf(0, nil), nil, nil), size: large},
		"a frame to skip of 4 GiB":          {sealed: skippableOf(math.MaxUint32, make([]byte, 100)), size: large},
		"sixteen megabytes of zeros":        {sealed: again(256, frame, nil, nil), size: 1000},
		"a block longer than any may be":    {sealed: slices.Concat(start, []byte{1, 0, 0x40, 0}, make([]byte, 5<<20)), size: large},
		"a block longer than the file":      {sealed: slices.Concat(start, []byte{0, 0, 0x40, 0}, make([]byte, 100)), size: large},
		"a length of all ones":              {sealed: slices.Concat(start, []byte{255, 255, 255, 255}), size: large},
		"packed bytes that are none":        {sealed: slices.Concat(start, []byte{3, 0, 0, 0, 0xff, 0xff, 0xff}, end), size: large},
		"more bytes than it says":           {sealed: slices.Concat(frameStart(independent|flagSize, 4<<4, 1, 0, 0, 0, 0, 0, 0, 0), frame[7:]), size: 64 << 10, vouched: true},
		"2^64 bytes by its own account":     {sealed: slices.Concat(frameStart(independent|flagSize, 4<<4, 255, 255, 255, 255, 255, 255, 255, 255), frame[7:]), size: 64 << 10, vouched: true},
		"a checksum that is none":           {sealed: slices.Concat(frameStart(independent|flagSum, 4<<4), frame[7:], end), size: 64 << 10, vouched: true},
		"checksums of blocks that are none": {sealed: slices.Concat(frameStart(independent|flagBlockSum, 4<<4), frame[7:], end), size: 64 << 10},
		"a version that there is not":       {sealed: slices.Concat(frameStart(3<<6|flagIndepend, largest), end), size: 0},
		"a reserved bit":                    {sealed: slices.Concat(frameStart(independent|2, largest), end), size: 0},
		"a block size that there is not":    {sealed: slices.Concat(frameStart(independent, 3<<4), end), size: 0},
		"lz4's old format":                  {sealed: []byte{0x02, 0x21, 0x4c, 0x18, 1, 0, 0, 0, 0}, size: 0},
		"gzip":                              {sealed: []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0}, size: 0},
		"nothing":                           {sealed: nil, size: 0},
		"more than 4 EiB by the list":       {sealed: frame, size: math.MaxInt64},
		"one byte more than it is":          {sealed: frame, size: 64<<10 + 1},
		"one byte less than it is":          {sealed: frame, size: 64<<10 - 1},
	}
	for what, h := range all {
		h.want = ErrDamaged
		all[what] = h
	}
	all["a dictionary"] = hostile{sealed: slices.Concat(frameStart(independent|flagDict, largest, 1, 0, 0, 0), end), size: 0, want: ErrUnsupported}
	return all
}

func hostileMessages(t testing.TB, s, withPassphrase *Session) map[string]hostile {
	zeros := make([]byte, 60_000)
	frame := frameOf(t, zeros)
	nothing := slices.Concat(frameStart(independent, largest), make([]byte, 4))
	skip := skippableOf(1<<20, make([]byte, 1<<20))
	long := []byte{0xc0 | tagLiteral, 255, 255, 255, 255, 255}
	good := message(s, literalOf(frame))
	header := func(b ...byte) []byte { return slices.Concat(b, good[len(s.header):]) }
	pkesk3 := packetOf(tagPKESK, []byte{3, 1, 2, 3, 4, 5, 6, 7, 8, 1, 0, 1, 1})
	argon := packetOf(tagSKESK, []byte{4, 9, 4}, make([]byte, 16), []byte{255, 1, 31}, make([]byte, 33))
	wrong := bytes.Clone(good)
	wrong[len(s.header)-1] ^= 1 // in the packet of the session key
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	noCode := slices.Concat(make([]byte, prefixSize), literalOf(frame))
	size := int64(len(zeros))
	return map[string]hostile{
		// Odd, but whole.
		"chunks of a byte in chunks of a byte": {append(bytes.Clone(s.header), bytewise(tagSEIPD, inside(s, bytewise(tagLiteral, append(bytes.Clone(literalStart), frame...))))...), true, size, "", nil, false},
		"text":                                 {message(s, packetOf(tagLiteral, []byte{'t', 0, 0, 0, 0, 0}, frame)), true, size, "", nil, false},
		"a name of 255 bytes":                  {message(s, packetOf(tagLiteral, []byte{'b', 255}, make([]byte, 255+4), frame)), true, size, "", nil, false},
		"compressed":                           {message(s, zlibOf(t, literalOf(frame), nil, 0)), true, size, "", nil, false},
		"markers before all":                   {append(bytes.Repeat(packetOf(tagMarker, []byte("PGP")), 50), good...), true, size, "", nil, false},
		"padding of a megabyte":                {message(s, packetOf(tagPadding, make([]byte, 1<<20)), literalOf(frame)), true, size, "", nil, false},

		// Much of nothing.
		"a megabyte in chunks of a byte":                {append(bytes.Clone(s.header), bytewise(tagSEIPD, inside(s, bytewise(tagLiteral, append(bytes.Clone(literalStart), bytes.Repeat(nothing, 50_000)...))))...), true, 5 << 20, "", ErrDamaged, false},
		"a hundred megabytes of empty frames, packed":   {message(s, zlibOf(t, append(long, literalStart...), bytes.Repeat(nothing, 100_000), 100)), true, size, "", ErrDamaged, false},
		"a hundred megabytes of frames to skip, packed": {message(s, zlibOf(t, append(long, literalStart...), skip, 100)), true, size, "", ErrDamaged, false},
		"a hundred megabytes of marker, packed":         {message(s, zlibOf(t, []byte{0xc0 | tagMarker, 255, 255, 255, 255, 255}, zeros, 1600)), true, size, "", ErrUnsupported, false},
		"a hundred megabytes of zeros, packed":          {message(s, zlibOf(t, slices.Concat(long, literalStart, frameStart(independent, largest), []byte{0, 0, 0x40, 0x80}), make([]byte, 1<<20), 100)), true, size, "", ErrDamaged, false},
		"packed twice":                                  {message(s, zlibOf(t, zlibOf(t, literalOf(frame), nil, 0), nil, 0)), true, size, "", ErrUnsupported, false},
		"a hundred thousand markers":                    {append(bytes.Repeat(packetOf(tagMarker, []byte("PGP")), 100_000), good...), true, size, "", ErrDamaged, false},
		"a hundred thousand keys":                       {append(bytes.Repeat(pkesk3, 100_000), good...), true, size, "", ErrDamaged, false},
		"a hundred keys":                                {append(bytes.Repeat(pkesk3, 100), good...), true, size, "", ErrDamaged, false},
		"a key of a megabyte":                           {append(packetOf(tagPKESK, make([]byte, 1<<20)), good...), true, size, "", ErrDamaged, false},
		"a hundred passphrases":                         {append(bytes.Repeat(withPassphrase.header, 100), good[len(s.header):]...), true, size, "", ErrDamaged, false},
		"two terabytes for a passphrase":                {header(argon...), true, size, "", ErrKey, false},

		// Not what is read.
		"no key":                          {header(), true, size, "", ErrDamaged, false},
		"a session key that is none":      {wrong, true, size, "", ErrKey, false},
		"keys of version 6":               {header(packetOf(tagPKESK, []byte{6, 0, 25}, make([]byte, 60))...), true, size, "", ErrKey, false},
		"keys of version 99":              {header(packetOf(tagPKESK, []byte{99}, make([]byte, 60))...), true, size, "", ErrKey, false},
		"keys of an unknown algorithm":    {header(packetOf(tagPKESK, []byte{3, 1, 2, 3, 4, 5, 6, 7, 8, 99}, make([]byte, 60))...), true, size, "", ErrKey, false},
		"a passphrase of version 6":       {header(packetOf(tagSKESK, []byte{6}, make([]byte, 60))...), true, size, "", ErrKey, false},
		"a passphrase of an unknown kind": {header(packetOf(tagSKESK, []byte{4, 9, 77}, make([]byte, 60))...), true, size, "", ErrKey, false},
		"a passphrase, cut short":         {header(packetOf(tagSKESK, []byte{4, 9, 3})...), true, size, "", ErrKey, false},
		"AEAD of RFC 9580":                {append(bytes.Clone(s.header), packetOf(tagSEIPD, []byte{2, 9, 2, 16}, make([]byte, 100))...), true, size, "", ErrUnsupported, false},
		"AEAD of gpg":                     {append(bytes.Clone(s.header), packetOf(tagAEAD, make([]byte, 100))...), true, size, "", ErrUnsupported, false},
		"no detection code at all":        {append(bytes.Clone(s.header), packetOf(tagSED, make([]byte, 100))...), true, size, "", ErrUnsupported, false},
		"not encrypted":                   {literalOf(frame), true, size, "", ErrDamaged, false},
		"a signature inside":              {message(s, packetOf(2, make([]byte, 100)), literalOf(frame)), true, size, "", ErrUnsupported, false},

		// Damaged on purpose.
		"the detection code is wrong":      {flipped, true, size, "", ErrDamaged, true},
		"the detection code is missing":    {append(bytes.Clone(s.header), packetOf(tagSEIPD, encrypt(s, noCode))...), true, size, "", ErrDamaged, false},
		"nothing but the code":             {message(s), true, size, "", ErrDamaged, false},
		"less than the code":               {append(bytes.Clone(s.header), packetOf(tagSEIPD, encrypt(s, make([]byte, prefixSize+5)))...), true, size, "", ErrDamaged, false},
		"bytes behind":                     {append(bytes.Clone(good), 0), true, size, "", ErrDamaged, false},
		"another message behind":           {slices.Concat(good, good), true, size, "", ErrDamaged, false},
		"a literal packet of 4 GiB":        {message(s, long, literalStart, frame), true, size, "", ErrDamaged, false},
		"a literal packet that ends early": {message(s, packetOf(tagLiteral, literalStart, frame[:len(frame)-4]), frame[len(frame)-4:]), true, size, "", ErrDamaged, false},
		"a message of 4 GiB":               {slices.Concat(s.header, []byte{0xc0 | tagSEIPD, 255, 255, 255, 255, 255}, good[len(s.header)+6:]), true, size, "", ErrDamaged, false},
	}
}

// hostileTables are lists that lie about where blocks are.
func hostileTables(t testing.TB, s *Session) map[string]hostile {
	empty := seal(t, Recipients{}, nil)
	none := BlockTable{BlockSize: 64 << 10, Header: hashBlock(empty[:frameHeader]), Blocks: make([]BlockRow, 1<<20)}
	const blocks = 3
	plain := make([]byte, blocks<<20)
	frame := seal(t, Recipients{}, plain)
	table, err := parseBlockTable(tableShape(t, "plain", plain).entry.Blocks)
	if err != nil {
		t.Fatal(err)
	}
	behind := message(s, literalOf(frame), packetOf(tagPadding, make([]byte, 100<<20)))
	start := len(s.header) + 6 + 1 + prefixSize + 6 + len(literalStart) + frameHeader
	table.Header = hashBlock(behind[:start])
	return map[string]hostile{
		"64 GiB in blocks of no bytes":          {empty, false, 64 << 30, none.String(), ErrDamaged, false},
		"a hundred megabytes in the last block": {behind, true, int64(len(plain)), table.String(), ErrDamaged, false},
		"a header of a hundred megabytes":       {append(packetOf(tagMarker, make([]byte, 100<<20)), behind...), true, int64(len(plain)), table.String(), ErrDamaged, false},
		"twenty megabytes of table":             {frame, false, math.MaxInt64, strings.Repeat("B", 20<<20), ErrDamaged, false},
	}
}

// Whatever the bytes, and whatever the list says of them: the right error,
// within little memory and time, and never more bytes than listed.
func TestHostileFiles(t *testing.T) {
	kind := kinds(t)["curve"]
	s, err := kind.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	withPassphrase, err := Recipients{Passphrase: []byte("another")}.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	opener := NewOpener(privateKeys(t, "curve"), passphrase)
	for _, files := range []map[string]hostile{hostileFrames(t), hostileMessages(t, s, withPassphrase), hostileTables(t, s)} {
		for what, h := range files {
			t.Run(what, func(t *testing.T) { h.check(t, opener) })
		}
	}
}

func (h *hostile) check(t *testing.T, o *Opener) {
	e := entryOf(nil, h.sealed, h.encrypted, h.blocks)
	e.Size = h.size
	if h.want == nil {
		plain, err := open(o, h.sealed, h.encrypted)
		if err != nil {
			t.Fatal(err)
		}
		e = entryOf(plain, h.sealed, h.encrypted, "")
	}
	for way, read := range h.ways(o, e) {
		var n int64
		var err error
		began := time.Now()
		memory := memorytest.Peak(func() { n, err = read() })
		took := time.Since(began)
		wrong := h.want != nil && !errors.Is(err, h.want)
		if h.vouched && err == nil && strings.HasPrefix(way, "anywhere, block") {
			wrong = false
		}
		if wrong || h.want == nil && (err != nil || n != h.size) {
			t.Errorf("%s: %d bytes, %.300v, want %v", way, n, err, h.want)
		}
		if h.want == ErrKey && errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", way, err)
		}
		if n > h.size {
			t.Errorf("%s: %d bytes where the list says %d", way, n, h.size)
		}
		if memory > 100<<20 || took > 30*time.Second {
			t.Errorf("%s: %d MiB and %s for %d KiB", way, memory>>20, took.Round(time.Millisecond), len(h.sealed)>>10)
		}
		if err != nil && len(err.Error()) > 10_000 {
			t.Errorf("%s: a message of %d bytes", way, len(err.Error()))
		}
	}
}

// ways are those to read a file, and how many bytes came.
func (h *hostile) ways(o *Opener, e *manifest.Entry) map[string]func() (int64, error) {
	at := func(small int64) func() (int64, error) {
		return func() (int64, error) {
			r, err := o.newReaderAt(bytes.NewReader(h.sealed), e, nil, small)
			if err != nil {
				return 0, err
			}
			defer r.Close()
			return io.Copy(io.Discard, io.NewSectionReader(r, 0, math.MaxInt64))
		}
	}
	return map[string]func() (int64, error){
		"anywhere, block by block":        at(0),
		"anywhere, block by block, ahead": func() (int64, error) { return h.fromEnd(o, e) },
		"anywhere, small files whole":     at(smallFile),
		"from the beginning": func() (int64, error) {
			r, err := o.Open(bytes.NewReader(h.sealed), e)
			if err != nil {
				return 0, err
			}
			defer r.Close()
			return io.Copy(io.Discard, r)
		},
	}
}

// fromEnd reads the last byte first.
func (h *hostile) fromEnd(o *Opener, e *manifest.Entry) (int64, error) {
	r, err := o.newReaderAt(bytes.NewReader(h.sealed), e, nil, 0)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	if _, err := r.ReadAt(make([]byte, 1), max(0, e.Size-1)); err != nil && err != io.EOF {
		return 0, err
	}
	return io.Copy(io.Discard, io.NewSectionReader(r, 0, math.MaxInt64))
}

// Frames in which is nothing end long before the compressed packet around them.
func TestHostileNothingEndsEarly(t *testing.T) {
	kind := kinds(t)["curve"]
	s, err := kind.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	nothing := slices.Concat(frameStart(independent, largest), make([]byte, 4))
	long := append([]byte{0xc0 | tagLiteral, 255, 255, 255, 255, 255}, literalStart...)
	h := hostile{sealed: message(s, zlibOf(t, long, bytes.Repeat(nothing, 100_000), 100)), encrypted: true, size: 1000}
	e := entryOf(nil, h.sealed, true, "")
	e.Size = h.size
	for way, read := range h.ways(kind.Opener, e) {
		if _, err := read(); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "far longer") {
			t.Errorf("%s: %v", way, err)
		}
	}
}
