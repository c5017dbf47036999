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
	"slices"
	"strings"
	"sync"
	"testing"

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

// shapes are all that sealed files may be.
func shapes(t testing.TB, plain []byte) (all []shape) {
	kind := kinds(t)["curve"]
	session, err := kind.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	add := func(name string, sealed []byte, encrypted bool, blocks string, opener *Opener) {
		streamed := len(plain) > smallFile && blocks == "" && (strings.Contains(name, "-BD") || strings.Contains(name, "linked") || strings.Contains(name, "compress"))
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
	for _, size := range []int{0, 1, 1000, smallFile, smallFile + 1, 9_000_001} {
		plain := content(size)
		for _, s := range shapes(t, plain) {
			frame := s.sealed
			if IsEncrypted(s.entry.SealedPath) {
				frame = run(t, s.sealed, "gpg", "--passphrase", string(passphrase), "--decrypt")
			}
			if got := run(t, frame, "lz4", "-d", "-c"); !bytes.Equal(got, plain) {
				t.Fatalf("%s: the test's own file is wrong", s.name)
			}
			r, err := s.opener.NewReaderAt(bytes.NewReader(s.sealed), s.entry, nil)
			if err != nil {
				t.Fatalf("%s of %d bytes: %v", s.name, size, err)
			}
			checkReads(t, random, r, &s)
			if (r.Streamed() != "") != s.streamed {
				t.Errorf("%s of %d bytes: streamed: %q", s.name, size, r.Streamed())
			}
			if index := r.Index(); index != nil {
				again, err := s.opener.NewReaderAt(bytes.NewReader(s.sealed), s.entry, index)
				if err != nil {
					t.Fatal(err)
				}
				checkReads(t, random, again, &s)
				if again.Index() != nil {
					t.Errorf("%s: the index that was kept was not used", s.name)
				}
				again.Close()
			}
			r.Close()
		}
	}
}

func checkReads(t *testing.T, random *rand.Rand, r *ReaderAt, s *shape) {
	t.Helper()
	size := len(s.plain)
	for range 8 {
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
	got, err := io.ReadAll(io.NewSectionReader(r, 0, 1<<40))
	if err != nil || !bytes.Equal(got, s.plain) {
		t.Fatalf("%s of %d bytes: all: %d bytes, %v", s.name, size, len(got), err)
	}
}

var _ = context.Background
var _ = errors.Is
var _ sync.Mutex
