package cfb

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// each runs a test on every implementation that this machine has.
func each(t *testing.T, test func(t *testing.T, i implementation)) {
	for _, i := range implementations {
		t.Run(i.name, func(t *testing.T) { test(t, i) })
	}
}

func mustKey(t testing.TB, i implementation, key []byte) *Key {
	t.Helper()
	k, err := i.newKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// crypter is an Encrypter's or a Decrypter's method.
type crypter func(dst, src []byte)

func crypters(k *Key, iv [BlockSize]byte) map[string]func() crypter {
	return map[string]func() crypter{
		"encrypt": func() crypter { return k.NewEncrypter(iv).Encrypt },
		"decrypt": func() crypter { return k.NewDecrypter(iv).Decrypt },
	}
}

// NIST SP 800-38A, F.3.13 to F.3.18.
const (
	nistIV    = "000102030405060708090a0b0c0d0e0f"
	nistPlain = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51" +
		"30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)

var nist = []struct{ key, sealed string }{
	{"2b7e151628aed2a6abf7158809cf4f3c",
		"3b3fd92eb72dad20333449f8e83cfb4ac8a64537a0b3a93fcde3cdad9f1ce58b" +
			"26751f67a3cbb140b1808cf187a4f4dfc04b05357c5d1c0eeac4c66f9ff7f2e6"},
	{"8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
		"cdc80d6fddf18cab34c25909c99a417467ce7f7f81173621961a2b70171d3d7a" +
			"2e1e8a1dd59b88b1c8e60fed1efac4c9c05f9f9ca9834fa042ae8fba584b09ff"},
	{"603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
		"dc7e84bfda79164b7ecd8486985d386039ffed143b28b1c832113c6331e5407b" +
			"df10132415e54b92a13ed0a8267ae2f975a385741ab9cef82031623d55b1e471"},
}

func TestNIST(t *testing.T) {
	iv, plain := [BlockSize]byte(unhex(t, nistIV)), unhex(t, nistPlain)
	each(t, func(t *testing.T, i implementation) {
		for _, v := range nist {
			k, sealed := mustKey(t, i, unhex(t, v.key)), unhex(t, v.sealed)
			got := make([]byte, len(plain))
			if k.NewEncrypter(iv).Encrypt(got, plain); !bytes.Equal(got, sealed) {
				t.Errorf("key %s encrypts to %x", v.key, got)
			}
			if k.NewDecrypter(iv).Decrypt(got, sealed); !bytes.Equal(got, plain) {
				t.Errorf("key %s decrypts to %x", v.key, got)
			}
		}
	})
}

// FIPS-197, C.1 to C.3.
func TestOneBlock(t *testing.T) {
	key := unhex(t, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
	each(t, func(t *testing.T, i implementation) {
		for n, want := range map[int]string{
			16: "69c4e0d86a7b0430d8cdb78070b4c55a",
			24: "dda97ca4864cdfe06eaf70a0ec0d7191",
			32: "8ea2b7ca516745bfeafc49904b496089",
		} {
			block := [BlockSize]byte(unhex(t, "00112233445566778899aabbccddeeff"))
			mustKey(t, i, key[:n]).engine.forward(&block)
			if got := hex.EncodeToString(block[:]); got != want {
				t.Errorf("with a key of %d bytes: %s", n, got)
			}
		}
	})
}

func TestKeyLengths(t *testing.T) {
	for n := range 40 {
		_, err := NewKey(make([]byte, n))
		if ok := n == 16 || n == 24 || n == 32; ok != (err == nil) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// Every implementation does what the portable one does, however a stream is cut
// into calls, wherever its bytes lie, and touches nothing but dst.
func TestAnyCuts(t *testing.T) {
	const guard = 64
	turns := 2000
	if testing.Short() {
		turns = 300
	}
	each(t, func(t *testing.T, i implementation) {
		r := rand.New(rand.NewPCG(1, 2))
		for range turns {
			key, iv := random(r, 16+8*r.IntN(3)), [BlockSize]byte(random(r, BlockSize))
			src := random(r, r.IntN(5001))
			reference := crypters(mustKey(t, portableAES, key), iv)
			for name, begin := range crypters(mustKey(t, i, key), iv) {
				want := make([]byte, len(src))
				reference[name]()(want, src)

				before, inPlace := guard+r.IntN(16), r.IntN(2) == 0
				room := random(r, before+len(src)+guard)
				frame := bytes.Clone(room)
				dst := room[before : before+len(src)]
				from := append(make([]byte, r.IntN(16)), src...)
				from = from[len(from)-len(src):]
				if inPlace {
					copy(dst, src)
					from = dst
				}
				crypt := begin()
				for at := 0; at < len(src); {
					n := min(1+r.IntN(1+r.IntN(1500)), len(src)-at)
					to := dst[at : at+n]
					if !inPlace && r.IntN(2) == 0 {
						to = dst[at:] // may be longer
					}
					crypt(to, from[at:at+n])
					at += n
				}
				if copy(frame[before:], want); !bytes.Equal(room, frame) {
					t.Fatalf("%s of %d bytes, in place: %v: wrong", name, len(src), inPlace)
				}
				if !inPlace && !bytes.Equal(from, src) {
					t.Fatalf("%s of %d bytes changes its source", name, len(src))
				}
			}
		}
	})
}

// Calls of more than a stretch, too.
func TestLong(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	key, plain := random(r, 32), random(r, 3*stretch+1234)
	want := make([]byte, len(plain))
	mustKey(t, portableAES, key).NewEncrypter([BlockSize]byte{}).Encrypt(want, plain)
	each(t, func(t *testing.T, i implementation) {
		k, got := mustKey(t, i, key), bytes.Clone(plain)
		if k.NewEncrypter([BlockSize]byte{}).Encrypt(got, got); !bytes.Equal(got, want) {
			t.Error("encrypts wrongly")
		}
		if k.NewDecrypter([BlockSize]byte{}).Decrypt(got, got); !bytes.Equal(got, plain) {
			t.Error("does not decrypt what it encrypted")
		}
	})
}

func TestBeginInTheMiddle(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	plain := random(r, 3000)
	each(t, func(t *testing.T, i implementation) {
		k := mustKey(t, i, random(r, 24))
		sealed := make([]byte, len(plain))
		k.NewEncrypter([BlockSize]byte{}).Encrypt(sealed, plain)
		for at := BlockSize; at < len(plain); at += BlockSize {
			got := bytes.Clone(sealed[at:])
			k.NewDecrypter([BlockSize]byte(sealed[at-BlockSize:])).Decrypt(got, got)
			if !bytes.Equal(got, plain[at:]) {
				t.Fatalf("from %d: wrong", at)
			}
		}
	})
}

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}

func TestShortDstPanics(t *testing.T) {
	each(t, func(t *testing.T, i implementation) {
		for name, begin := range crypters(mustKey(t, i, make([]byte, 16)), [BlockSize]byte{}) {
			for _, n := range []int{1, 16, 40, 128, 600} {
				dst := make([]byte, n) // of which the last byte is out of bounds
				if !panics(func() { begin()(dst[:n-1], make([]byte, n)) }) {
					t.Errorf("%s of %d bytes into %d: no panic", name, n, n-1)
				}
				if !bytes.Equal(dst, make([]byte, n)) {
					t.Errorf("%s of %d bytes into %d writes", name, n, n-1)
				}
			}
		}
	})
}

// A wiped key must not encrypt with what is left.
func TestWipedKeyPanics(t *testing.T) {
	each(t, func(t *testing.T, i implementation) {
		k := mustKey(t, i, make([]byte, 32))
		open := crypters(k, [BlockSize]byte{})
		k.Wipe()
		k.Wipe()
		for name, begin := range open {
			for _, n := range []int{1, 16, 600} {
				if !panics(func() { begin()(make([]byte, n), make([]byte, n)) }) {
					t.Errorf("%s of %d bytes: no panic", name, n)
				}
			}
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	plain := random(r, 20_000)
	each(t, func(t *testing.T, i implementation) {
		k := mustKey(t, i, random(r, 32))
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for n := range 50 {
					got := bytes.Clone(plain[n:])
					k.NewEncrypter([BlockSize]byte{1}).Encrypt(got, got)
					k.NewDecrypter([BlockSize]byte{1}).Decrypt(got, got)
					if !bytes.Equal(got, plain[n:]) {
						t.Error("streams of one key disturb each other")
					}
				}
			})
		}
		wg.Wait()
	})
}

func BenchmarkEncrypt(b *testing.B) { benchmark(b, "encrypt") }
func BenchmarkDecrypt(b *testing.B) { benchmark(b, "decrypt") }

// benchmark works in place, so that all stays in a second-level cache.
func benchmark(b *testing.B, name string) {
	for _, i := range implementations {
		for _, bits := range []int{128, 192, 256} {
			b.Run(fmt.Sprintf("%s/%d", i.name, bits), func(b *testing.B) {
				k := mustKey(b, i, make([]byte, bits/8))
				crypt, buf := crypters(k, [BlockSize]byte{})[name](), make([]byte, 1<<20)
				b.SetBytes(int64(len(buf)))
				for b.Loop() {
					crypt(buf, buf)
				}
			})
		}
	}
}
