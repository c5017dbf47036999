package keys

import (
	"bytes"
	"crypto/rsa"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/ecdh"
	"github.com/ProtonMail/go-crypto/openpgp/eddsa"
)

// After Wipe the secret numbers are gone from where they were, not just
// forgotten.
func TestWipe(t *testing.T) {
	var list openpgp.EntityList
	for _, o := range []Options{{Name: "rsa", Bits: 2048}, {Name: "curve", Curve25519: true}} {
		entity, err := Generate(o)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, entity)
	}
	var secrets [][]byte // the memory itself
	var numbers []*rsa.PrivateKey
	for _, entity := range list {
		for _, part := range privateParts(entity) {
			switch key := part.PrivateKey.(type) {
			case *rsa.PrivateKey:
				numbers = append(numbers, key)
			case *ecdh.PrivateKey:
				secrets = append(secrets, key.D)
			case *eddsa.PrivateKey:
				secrets = append(secrets, key.D)
			default:
				t.Fatalf("%T is not looked at", key)
			}
		}
	}
	if len(secrets) != 2 || len(numbers) != 2 {
		t.Fatalf("%d and %d keys", len(secrets), len(numbers))
	}
	words := numbers[0].D.Bits()
	Wipe(list)
	for _, secret := range secrets {
		if len(secret) == 0 || !bytes.Equal(secret, make([]byte, len(secret))) {
			t.Errorf("%d bytes of a key are left", len(secret))
		}
	}
	for i, w := range words {
		if w != 0 {
			t.Errorf("word %d of the exponent is left", i)
		}
	}
	for _, key := range numbers {
		for _, prime := range key.Primes {
			for _, w := range prime.Bits()[:cap(prime.Bits())] {
				if w != 0 {
					t.Error("a prime is left")
				}
			}
		}
	}
}
