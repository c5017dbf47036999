package cfb

import (
	"bytes"
	"os"
	"testing"
)

// cutUp gives data to f in calls of the lengths in cuts, and the rest in one.
func cutUp(f crypter, data, cuts []byte) []byte {
	out := bytes.Clone(data)
	at := 0
	for _, c := range cuts {
		n := min(int(c), len(out)-at)
		f(out[at:at+n], out[at:at+n])
		at += n
	}
	f(out[at:], out[at:])
	return out
}

func FuzzStreams(f *testing.F) {
	f.Fuzz(func(t *testing.T, secret, vector, data, cuts []byte) {
		key, iv := make([]byte, 16+len(secret)%3*8), [BlockSize]byte{}
		copy(key, secret)
		copy(iv[:], vector)
		whole := crypters(mustKey(t, portableAES, key), iv)
		for _, i := range implementations {
			k := mustKey(t, i, key)
			for name, begin := range crypters(k, iv) {
				want := cutUp(whole[name](), data, nil)
				if got := cutUp(begin(), data, cuts); !bytes.Equal(got, want) {
					t.Errorf("%s: %s gives %x, not %x", i.name, name, got, want)
				}
			}
			sealed := cutUp(k.NewEncrypter(iv).Encrypt, data, cuts)
			if got := cutUp(k.NewDecrypter(iv).Decrypt, sealed, nil); !bytes.Equal(got, data) {
				t.Errorf("%s does not decrypt what it encrypted", i.name)
			}
		}
	})
}

// Without its seeds, the target tests nothing when it is not fuzzed.
func TestFuzzSeedsExist(t *testing.T) {
	seeds, err := os.ReadDir("testdata/fuzz/FuzzStreams")
	if err != nil || len(seeds) < 4 {
		t.Errorf("%d seeds, %v", len(seeds), err)
	}
}
