package envelope

import (
	"bytes"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/chipster/firn/internal/manifest"
)

var sizes = []int{0, 1, 2, 15, 16, 17, 100, 191, 192, 193, 8000, 8383, 8384, chunkSize - 30, chunkSize, chunkSize + 1, 300_000, maxBlock - 1, maxBlock, maxBlock + 1, 9_000_001}

// What is sealed comes back, and gpg and lz4 read it too.
func TestSealAndOpen(t *testing.T) {
	for name, kind := range kinds(t) {
		t.Run(name, func(t *testing.T) {
			session, err := kind.NewSession()
			if err != nil {
				t.Fatal(err)
			}
			for _, size := range sizes {
				plain := content(size)
				sealed := sealWith(t, session, plain)
				got, err := open(kind.Opener, sealed, kind.Encrypts())
				if err != nil || !bytes.Equal(got, plain) {
					t.Fatalf("%d bytes: %d came back, %v", size, len(got), err)
				}
				frame := sealed
				if kind.Encrypts() {
					frame = run(t, sealed, "gpg", "--passphrase", string(passphrase), "--decrypt")
				}
				run(t, frame, "lz4", "-t")
				if got := run(t, frame, "lz4", "-d", "-c"); !bytes.Equal(got, plain) {
					t.Fatalf("%d bytes: gpg and lz4 read %d", size, len(got))
				}
			}
		})
	}
}

// Files of one session begin differently: each has its own initial vector.
func TestSessionNeverRepeats(t *testing.T) {
	s, err := Recipients{Keys: publicKeys(t, "curve")}.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	plain := content(1000)
	a, b := sealWith(t, s, plain), sealWith(t, s, plain)
	a, b = a[len(s.header)+4:], b[len(s.header)+4:]
	if bytes.Equal(a[:16], b[:16]) || bytes.Equal(a[16:32], b[16:32]) {
		t.Error("two files of a session begin alike")
	}
}

// Everything that the original ever archived opens, and is what it was.
func TestOriginalArchives(t *testing.T) {
	opened := 0
	openers := map[string]*Opener{
		"rsa": NewOpener(privateKeys(t, "chipster")), "curve": NewOpener(privateKeys(t, "curve")),
		"passphrase": NewOpener(nil, passphrase), "plain": NewOpener(nil),
	}
	for name, opener := range openers {
		var expected map[string]map[string]string
		if err := json.Unmarshal(readFile(t, filepath.Join(fixtures, name, "expected.json")), &expected); err != nil {
			t.Fatal(err)
		}
		known := map[string]bool{}
		for _, version := range expected {
			for path, sum := range version {
				known[path+sum] = true
			}
		}
		root := filepath.Join(fixtures, name, "archive")
		err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
			if err != nil || !strings.Contains(file, ".lz4") {
				return err
			}
			plain, err := open(opener, readFile(t, file), IsEncrypted(file))
			if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			rel, _ := filepath.Rel(root, file)
			_, path, _ := strings.Cut(rel, "/")
			path, _, _ = strings.Cut(path, ".lz4")
			if !known[path+hashOf(plain)] {
				t.Errorf("%s: its content is in no version", file)
			}
			opened++
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if opened < 40 {
		t.Errorf("only %d files opened", opened)
	}
}

func hashOf(b []byte) string {
	return manifest.Hash(sha512.Sum512(b)).String()
}

// All that gpg and lz4 may have made is read.
func TestOtherSealers(t *testing.T) {
	// The repeated part makes linked blocks refer far back into the ones before.
	plain := append(content(2_500_000), bytes.Repeat(content(200_000)[100_000:150_000], 50)...)
	file := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(file, plain, 0o600); err != nil {
		t.Fatal(err)
	}
	frames := map[string][]byte{}
	for _, args := range []string{"", "-B4", "-B5", "-B6", "-B7", "-B4 -BD", "-BD", "-BX", "-B5 -BX -BD", "--no-frame-crc", "--content-size", "-9", "--content-size --no-frame-crc -BX"} {
		frames["lz4 "+args] = run(t, nil, "lz4", append(strings.Fields(args), "-q", "-c", file)...)
	}
	half := len(plain) / 2
	skip := append([]byte{0x5f, 0x2a, 0x4d, 0x18, 3, 0, 0, 0}, "abc"...)
	frames["two frames"] = append(run(t, plain[:half], "lz4", "-q", "-c"), run(t, plain[half:], "lz4", "-q", "-c", "-BD")...)
	frames["skippable frames"] = bytes.Join([][]byte{skip, frames["lz4 "], skip}, nil)
	for name, frame := range frames {
		if got, err := open(NewOpener(nil), frame, false); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	frame := filepath.Join(t.TempDir(), "frame")
	if err := os.WriteFile(frame, frames["lz4 "], 0o600); err != nil {
		t.Fatal(err)
	}
	opener := NewOpener(append(privateKeys(t, "curve"), privateKeys(t, "chipster")...), passphrase)
	to := "--recipient chipster --recipient curve "
	for _, args := range []string{
		to + "--compress-algo none", to + "--compress-algo zip", to + "--compress-algo zlib", to + "--compress-algo bzip2", to,
		to + "--cipher-algo AES128", to + "--cipher-algo AES192 --compress-algo none", to + "--throw-keyids",
		to + "--set-filename x",
		"--symmetric --passphrase=" + strings.ReplaceAll(string(passphrase), " ", "\x00"),
		to + "--symmetric --passphrase=" + strings.ReplaceAll(string(passphrase), " ", "\x00"),
	} {
		fields := strings.Fields(args)
		for i := range fields {
			fields[i] = strings.ReplaceAll(fields[i], "\x00", " ")
		}
		if strings.Contains(args, "--recipient") {
			fields = append(fields, "--encrypt")
		}
		for _, pipe := range []bool{true, false} {
			var sealed []byte
			if pipe {
				sealed = run(t, frames["lz4 "], "gpg", append(fields, "--output", "-")...)
			} else {
				sealed = run(t, nil, "gpg", append(fields, "--output", "-", frame)...)
			}
			if got, err := open(opener, sealed, true); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("gpg %s (pipe %v): %d bytes, %v", args, pipe, len(got), err)
			}
		}
	}
	armored := run(t, frames["lz4 "], "gpg", "--armor", "--recipient", "curve", "--encrypt")
	if _, err := open(opener, armored, true); !errors.Is(err, ErrDamaged) {
		t.Errorf("armored: %v", err)
	}
	noMDC := run(t, frames["lz4 "], "gpg", "--rfc2440", "--recipient", "chipster", "--encrypt")
	if _, err := open(opener, noMDC, true); err == nil {
		t.Error("a message without modification detection was read")
	}
}

// rechunk writes the encrypted packet of a message anew, in chunks of the given
// sizes (powers of two) in turn, and the rest with a definite length.
func rechunk(t testing.TB, s *Session, sealed []byte, bits ...int) []byte {
	t.Helper()
	in := newReader(bytes.NewReader(sealed[len(s.header):]))
	tag, b, err := readHeader(in)
	if err != nil || tag != tagSEIPD {
		t.Fatalf("packet %d, %v", tag, err)
	}
	content, err := io.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	out := append(bytes.Clone(s.header), 0xc0|tagSEIPD)
	for i := 0; len(content) >= 1<<bits[i%len(bits)]; i++ {
		n := bits[i%len(bits)]
		out = append(append(out, 224|byte(n)), content[:1<<n]...)
		content = content[1<<n:]
	}
	out = append(out, 255, byte(len(content)>>24), byte(len(content)>>16), byte(len(content)>>8), byte(len(content)))
	return append(out, content...)
}

// Other programs, and other versions of gpg, write chunks of other lengths.
func TestAnyChunkSizes(t *testing.T) {
	kind := kinds(t)["curve"]
	session, err := kind.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1000, 300_000, 5_000_000} {
		plain := content(size)
		sealed := sealWith(t, session, plain)
		for _, bits := range [][]int{{9}, {10}, {13}, {16}, {20}, {22}, {9, 16, 11}, {16, 9}, {12, 0, 1, 2}} {
			other := rechunk(t, session, sealed, bits...)
			if got, err := open(kind.Opener, other, true); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%d bytes in chunks of 2^%v: %d came back, %v", size, bits, len(got), err)
			}
			if got := run(t, other, "gpg", "--decrypt"); size > 0 && !bytes.Equal(run(t, got, "lz4", "-d", "-c"), plain) {
				t.Errorf("%d bytes in chunks of 2^%v: gpg does not read what the test makes", size, bits)
			}
		}
	}
}

// A changed bit that changes the content, and a cut anywhere, is an error, and
// the last block is never handed out with it.
func TestDamageIsFound(t *testing.T) {
	plain := append(content(70_000), bytes.Repeat([]byte("x"), 100_000)...)
	for name, kind := range kinds(t) {
		t.Run(name, func(t *testing.T) {
			session, err := kind.NewSession()
			if err != nil {
				t.Fatal(err)
			}
			sealed := sealWith(t, session, plain)
			check := func(what string, bad []byte) {
				got, err := open(kind.Opener, bad, kind.Encrypts())
				if err == nil && !kind.Encrypts() && len(bad) == len(sealed) && bytes.Equal(got, plain) {
					// A bare lz4 frame can say the same in other words: in a run
					// of one byte, a match two bytes back is one byte back.
					return
				}
				if err == nil {
					t.Fatalf("%s of %d: no error", what, len(sealed))
				}
				if len(got) >= len(plain) {
					t.Fatalf("%s: all of the file was handed out before %v", what, err)
				}
				if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrKey) && !errors.Is(err, ErrUnsupported) {
					t.Fatalf("%s: %v", what, err)
				}
			}
			places := []int{len(sealed) - 1, len(sealed) - 21, len(sealed) - 23}
			for i := range 40 {
				places = append(places, i*17)
			}
			for range 40 {
				places = append(places, rand.IntN(len(sealed)))
			}
			for _, i := range places {
				check(fmt.Sprintf("cut at %d", i), sealed[:i])
				// The packets for other recipients may change without harm to
				// the file; the manifest's hash covers them.
				if i < len(session.header) {
					continue
				}
				bad := bytes.Clone(sealed)
				bad[i] ^= 1 << rand.IntN(8)
				check(fmt.Sprintf("bit in byte %d", i), bad)
			}
			check("byte behind the end", append(bytes.Clone(sealed), 0))
			check("nothing", nil)
		})
	}
}

// A single block must not come out before its checksums are verified.
func TestNothingUnverifiedOfASmallFile(t *testing.T) {
	for name, kind := range kinds(t) {
		plain := content(1000)
		sealed := seal(t, kind.Recipients, plain)
		sealed[len(sealed)-1] ^= 1
		if got, err := open(kind.Opener, sealed, kind.Encrypts()); !errors.Is(err, ErrDamaged) || len(got) != 0 {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

func TestWrongKey(t *testing.T) {
	k := kinds(t)
	for _, c := range []struct {
		sealed Recipients
		opener *Opener
		want   error
	}{
		{k["rsa"].Recipients, k["curve"].Opener, ErrKey},
		{k["curve"].Recipients, k["rsa"].Opener, ErrKey},
		{k["curve"].Recipients, NewOpener(nil), ErrKey},
		{k["rsa"].Recipients, NewOpener(publicKeys(t, "chipster")), ErrKey},
		{k["passphrase"].Recipients, NewOpener(nil, []byte("wrong")), ErrKey},
	} {
		if _, err := open(c.opener, seal(t, c.sealed, content(10)), true); !errors.Is(err, c.want) {
			t.Errorf("got %v", err)
		}
	}
	if _, err := open(k["rsa"].Opener, seal(t, Recipients{}, content(10)), true); !errors.Is(err, ErrDamaged) {
		t.Errorf("a file that is not encrypted passed for one that is: %v", err)
	}
}

func TestReadErrorsArePassedOn(t *testing.T) {
	broken := errors.New("broken")
	for name, kind := range kinds(t) {
		sealed := seal(t, kind.Recipients, content(200_000))
		for _, n := range []int{0, 1, len(sealed) / 2, len(sealed) - 1} {
			r, err := kind.NewReader(io.MultiReader(bytes.NewReader(sealed[:n]), iotest.ErrReader(broken)), kind.Encrypts())
			if err == nil {
				_, err = io.ReadAll(r)
			}
			if !errors.Is(err, broken) || errors.Is(err, ErrDamaged) {
				t.Errorf("%s, after %d bytes: %v", name, n, err)
			}
		}
	}
}

func TestRecipientsID(t *testing.T) {
	seen := map[string]string{}
	for name, kind := range kinds(t) {
		id, err := kind.ID()
		again, _ := kind.ID()
		if err != nil || id == "" || id != again || strings.ContainsAny(id, "\t\n =") || bytes.Contains([]byte(id), passphrase) {
			t.Errorf("%s: %q, %v", name, id, err)
		}
		if other, ok := seen[id]; ok {
			t.Errorf("%s and %s share the id %s", name, other, id)
		}
		seen[id] = name
	}
}
