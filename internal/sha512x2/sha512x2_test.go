package sha512x2

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"math/rand/v2"
	"strings"
	"testing"
)

// each runs a test on every implementation that this machine has.
func each(t *testing.T, test func(t *testing.T, i implementation)) {
	for _, i := range implementations {
		t.Run(i.name, func(t *testing.T) { test(t, i) })
	}
}

func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func check(t *testing.T, what string, d *Digest, written []byte) {
	t.Helper()
	if got, want := d.Sum(nil), sha512.Sum512(written); !bytes.Equal(got, want[:]) {
		t.Fatalf("%s, of %d bytes: %x, not %x", what, len(written), got, want)
	}
}

// FIPS 180-4's examples, and the one of a million.
var vectors = []struct{ text, digest string }{
	{"",
		"cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce" +
			"47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"},
	{"abc",
		"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a" +
			"2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"},
	{"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn" +
		"hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
		"8e959b75dae313da8cf4f72814fc143f8f7779c6eb9f7fa17299aeadb6889018" +
			"501d289e4900f7e4331b99dec4b5433ac7d329eeb6dd26545e96e55b874be909"},
	{strings.Repeat("a", 1_000_000),
		"e718483d0ce769644e2e42c7bc15b4638e1f98b13b2044285632a803afa973eb" +
			"de0ff244877ea60a4cb0432ce577c31beb009c5c2c49aa2e4eadb217ad8cc09b"},
}

// Every vector beside every other, and alone.
func TestVectors(t *testing.T) {
	each(t, func(t *testing.T, i implementation) {
		for _, v := range vectors {
			d := i.newDigest()
			d.Write([]byte(v.text))
			if got := hex.EncodeToString(d.Sum(nil)); got != v.digest {
				t.Errorf("%.10q... alone: %s", v.text, got)
			}
			for _, w := range vectors {
				a, b := i.newDigest(), i.newDigest()
				Write2(a, b, []byte(v.text), []byte(w.text))
				if got := hex.EncodeToString(a.Sum(nil)); got != v.digest {
					t.Errorf("%.10q... first, of %d bytes beside %d: %s", v.text, len(v.text), len(w.text), got)
				}
				if got := hex.EncodeToString(b.Sum(nil)); got != w.digest {
					t.Errorf("%.10q... second, of %d bytes beside %d: %s", w.text, len(w.text), len(v.text), got)
				}
			}
		}
	})
}

func TestSizes(t *testing.T) {
	each(t, func(t *testing.T, i implementation) {
		d := i.newDigest()
		if d.Size() != 64 || d.BlockSize() != 128 || len(d.Sum(nil)) != 64 {
			t.Errorf("%d, %d, %d", d.Size(), d.BlockSize(), len(d.Sum(nil)))
		}
	})
}

// Where the padding begins decides whether it needs a block of its own.
func TestEveryLength(t *testing.T) {
	text := random(rand.New(rand.NewPCG(1, 2)), 600)
	each(t, func(t *testing.T, i implementation) {
		for n := range len(text) + 1 {
			d, a, b := i.newDigest(), i.newDigest(), i.newDigest()
			if m, err := d.Write(text[:n]); m != n || err != nil {
				t.Fatalf("writes %d of %d, %v", m, n, err)
			}
			check(t, "alone", d, text[:n])
			Write2(a, b, text[:n], text[n:])
			check(t, "first", a, text[:n])
			check(t, "second", b, text[n:])
		}
	})
}

// Every two places in a block, for both streams to go on from and up to.
func TestEveryPlaceInABlock(t *testing.T) {
	text := random(rand.New(rand.NewPCG(3, 4)), 3*sha512.BlockSize)
	step := 1
	if testing.Short() {
		step = 7
	}
	each(t, func(t *testing.T, i implementation) {
		for n := 0; n <= sha512.BlockSize; n += step {
			for m := range sha512.BlockSize + 1 {
				a, b := i.newDigest(), i.newDigest()
				Write2(a, b, text[:n], text[:m])
				Write2(a, b, text[n:len(text)-m], text[m:len(text)-n])
				check(t, "first", a, text[:len(text)-m])
				check(t, "second", b, text[:len(text)-n])
			}
		}
	})
}

// length is mostly short, sometimes of many blocks, sometimes of whole ones.
func length(r *rand.Rand) int {
	switch r.IntN(4) {
	case 0:
		return r.IntN(3000)
	case 1:
		return sha512.BlockSize * r.IntN(10)
	}
	return r.IntN(200)
}

// Streams come out as the standard library's, however they are cut into calls and
// whatever goes on beside them, and what is read is not changed.
func TestAnyCuts(t *testing.T) {
	turns := 3000
	if testing.Short() {
		turns = 300
	}
	each(t, func(t *testing.T, i implementation) {
		r := rand.New(rand.NewPCG(5, 6))
		text := random(r, 5000)
		before := bytes.Clone(text)
		piece := func() []byte {
			n := length(r)
			at := r.IntN(len(text) - n + 1)
			return text[at : at+n]
		}
		var digests [3]*Digest
		var standard [3]hash.Hash
		for k := range digests {
			digests[k], standard[k] = i.newDigest(), sha512.New()
		}
		for range turns {
			k := r.IntN(3)
			l := (k + 1 + r.IntN(2)) % 3
			switch p, q := piece(), piece(); r.IntN(8) {
			case 0:
				digests[k].Reset()
				standard[k].Reset()
			case 1:
				digests[k].Write(p)
				standard[k].Write(p)
			default:
				Write2(digests[k], digests[l], p, q)
				standard[k].Write(p)
				standard[l].Write(q)
			}
			for k := range digests {
				prefix := random(r, r.IntN(4))
				got, want := digests[k].Sum(bytes.Clone(prefix)), standard[k].Sum(prefix)
				if !bytes.Equal(got, want) {
					t.Fatalf("digest %d: %x, not %x", k, got, want)
				}
			}
		}
		if !bytes.Equal(text, before) {
			t.Error("changes what it reads")
		}
	})
}

// Calls of more than a stretch, too, after a block begun or without.
func TestLong(t *testing.T) {
	const most = stretch * sha512.BlockSize
	text := random(rand.New(rand.NewPCG(7, 8)), 3*most+1234)
	each(t, func(t *testing.T, i implementation) {
		for _, n := range []int{0, most - 1, most, most + 1, 2*most + 100, len(text)} {
			for _, begun := range []int{0, min(n, 77)} {
				a, b := i.newDigest(), i.newDigest()
				Write2(a, b, text[:begun], nil)
				Write2(a, b, text[begun:], text[:n])
				check(t, "first", a, text)
				check(t, "second", b, text[:n])
			}
		}
	})
}

func TestOneDigestForBothPanics(t *testing.T) {
	each(t, func(t *testing.T, i implementation) {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		d := i.newDigest()
		Write2(d, d, []byte("a"), []byte("b"))
	})
}

func TestAllocatesNothing(t *testing.T) {
	text, sum := make([]byte, 3000), make([]byte, 0, sha512.Size)
	each(t, func(t *testing.T, i implementation) {
		a, b := i.newDigest(), i.newDigest()
		for what, f := range map[string]func(){
			"Write":  func() { a.Write(text[:1001]) },
			"Write2": func() { Write2(a, b, text, text[:2003]) },
			"Sum":    func() { sum = a.Sum(sum[:0]) },
			"Reset":  a.Reset,
		} {
			if n := testing.AllocsPerRun(100, f); n != 0 {
				t.Errorf("%s: %v times", what, n)
			}
		}
	})
}

// Without the assembly where it could be, all else would pass.
func TestNewTakesTheFastest(t *testing.T) {
	if own := New().standard == nil; own != (len(hardwareSHA512()) > 0) {
		t.Errorf("New takes the assembly: %v", own)
	}
}

// benchmark's buffers stay in a second-level cache.
const benchmarked = 256 << 10

func BenchmarkAlone(b *testing.B) {
	for _, i := range implementations {
		b.Run(i.name, func(b *testing.B) {
			d, p := i.newDigest(), make([]byte, benchmarked)
			b.SetBytes(benchmarked)
			for b.Loop() {
				d.Write(p)
			}
		})
	}
}

func BenchmarkWrite2(b *testing.B) {
	for _, i := range implementations {
		for name, begun := range map[string]int{"whole": 0, "begun": 77} {
			b.Run(i.name+"/"+name, func(b *testing.B) {
				x, y := i.newDigest(), i.newDigest()
				p, q := make([]byte, benchmarked), make([]byte, benchmarked)
				Write2(x, y, p[:begun], q[:begun/2])
				b.SetBytes(2 * benchmarked)
				for b.Loop() {
					Write2(x, y, p, q)
				}
			})
		}
	}
}

func BenchmarkStandardLibrary(b *testing.B) {
	d, p := sha512.New(), make([]byte, benchmarked)
	b.SetBytes(benchmarked)
	for b.Loop() {
		d.Write(p)
	}
}
