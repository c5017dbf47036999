package signature

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/chipster/firn/internal/keys"
)

// originals are keys that stay the same, so that what a run found is of use in
// the next one.
func originals(t testing.TB) (rsa, curve *openpgp.Entity) {
	load := func(name string) *openpgp.Entity {
		list, err := keys.ParsePrivate(readFile(t, filepath.Join("../../testdata/original/keys", name+".private.base64")), nil)
		if err != nil {
			t.Fatal(err)
		}
		return list[0]
	}
	return load("chipster"), load("curve")
}

func fuzzSeeds(t testing.TB) map[string][]byte {
	rsa, curve := originals(t)
	seeds := map[string][]byte{
		"curve":   odd(t, curve, asIs),
		"RSA":     odd(t, rsa, asIs),
		"another": odd(t, curve, func(sig *packet.Signature) { sig.Notations[0] = noteOf(another) }),
		"old":     {0x88, 7, 4, 0, 22, 10, 0, 0, 0},
		"long":    {0xc2, 0xff, 0xff, 0xff, 0xff, 0xff},
	}
	seeds["two"] = join(seeds["curve"], seeds["RSA"])
	return seeds
}

func TestSeeds(t *testing.T) {
	rsa, curve := originals(t)
	trusted := trust(t, rsa, curve)
	seeds := fuzzSeeds(t)
	for _, name := range []string{"curve", "RSA", "two"} {
		if _, err := trusted.Verify(object, bytes.NewReader(list), seeds[name]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Nobody can make a signature that holds of bytes or of an object that nobody signed.
func FuzzVerify(f *testing.F) {
	rsa, curve := originals(f)
	trusted := trust(f, rsa, curve)
	for _, sig := range fuzzSeeds(f) {
		f.Add(sig)
	}
	f.Fuzz(func(t *testing.T, sig []byte) {
		for object, list := range map[string]string{object: "nobody signed that", "nobody signed that": string(list)} {
			if _, err := trusted.Verify(object, bytes.NewReader([]byte(list)), sig); !errors.Is(err, ErrUntrusted) {
				t.Errorf("%q: error %v", object, err)
			}
		}
	})
}
