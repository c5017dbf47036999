package keys

import (
	"bytes"
	"errors"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
)

// fuzzSeeds are one input of each form; TestSeeds holds that each still reaches
// what it is there for.
func fuzzSeeds(t testing.TB) map[string][]byte {
	locked, err := Generate(Options{Name: "locked", Curve25519: true, Passphrase: []byte("secret")})
	if err != nil {
		t.Fatal(err)
	}
	var protected bytes.Buffer
	if err := ExportPrivate(&protected, locked); err != nil {
		t.Fatal(err)
	}
	curve := unbase64(t, readFile(t, "curve.private.base64"))
	return map[string][]byte{
		"armored":   readFile(t, "curve.public.asc"),
		"blocks":    concat(readFile(t, "chipster.public.asc"), readFile(t, "curve.public.asc")),
		"base64":    readFile(t, "chipster.private.base64"),
		"binary":    curve,
		"two":       concat(curve, curve),
		"protected": protected.Bytes(),
	}
}

func TestSeeds(t *testing.T) {
	seeds := fuzzSeeds(t)
	if len(seeds) < 6 {
		t.Fatalf("%d seeds", len(seeds))
	}
	for name, data := range seeds {
		if _, err := ParsePublic(data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParsePrivate(seeds["protected"], nil); !errors.Is(err, ErrPassphrase) {
		t.Errorf("protected: %v", err)
	}
}

func FuzzParsePublic(f *testing.F) {
	for _, data := range fuzzSeeds(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := ParsePublic(data)
		if (err == nil) != (len(list) > 0) {
			t.Fatalf("%d keys and error %v", len(list), err)
		}
		if ids := EncryptionKeyIDs(list); err == nil && len(ids) == 0 {
			t.Error("recipients without a key to seal to")
		}
		useAll(t, list)
		for _, entity := range list {
			if hasPrivate(entity) {
				t.Error("a private part in a public key")
			}
		}
	})
}

func FuzzParsePrivate(f *testing.F) {
	for _, data := range fuzzSeeds(f) {
		f.Add(data)
	}
	// Stretching a passphrase would take all of the time.
	ask := func(string) ([]byte, error) { return nil, ErrPassphrase }
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := ParsePrivate(data, ask)
		if (err == nil) != (len(list) > 0) {
			t.Fatalf("%d keys and error %v", len(list), err)
		}
		useAll(t, list)
		for _, entity := range list {
			if !hasPrivate(entity) || isProtected(entity) {
				t.Error("a key that cannot open anything")
			}
		}
	})
}

// useAll does with the keys what the commands do.
func useAll(t *testing.T, list openpgp.EntityList) {
	for _, entity := range list {
		_ = Describe(entity, entity.PrimaryKey.CreationTime)
		_ = CanEncrypt(entity, entity.PrimaryKey.CreationTime)
		_ = ExportPublic(&bytes.Buffer{}, entity)
		_ = ExportPrivate(&bytes.Buffer{}, entity)
	}
}
