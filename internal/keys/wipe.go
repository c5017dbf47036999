package keys

import (
	"crypto/rsa"
	"math/big"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/ecdh"
	"github.com/ProtonMail/go-crypto/openpgp/ecdsa"
	"github.com/ProtonMail/go-crypto/openpgp/ed25519"
	"github.com/ProtonMail/go-crypto/openpgp/eddsa"
	"github.com/ProtonMail/go-crypto/openpgp/x25519"
)

// Wipe overwrites the private parts of keys as far as the program can reach
// them: the standard library has copies of its own. The keys cannot be used any
// more.
func Wipe(list openpgp.EntityList) {
	for _, entity := range list {
		for _, part := range privateParts(entity) {
			switch key := part.PrivateKey.(type) {
			case *rsa.PrivateKey:
				wipeNumbers(append(key.Primes, key.D, key.Precomputed.Dp, key.Precomputed.Dq, key.Precomputed.Qinv)...)
			case *ecdsa.PrivateKey:
				wipeNumbers(key.D)
			case *ecdh.PrivateKey:
				clear(key.D)
			case *eddsa.PrivateKey:
				clear(key.D)
			case *ed25519.PrivateKey:
				clear(key.Key)
			case *x25519.PrivateKey:
				clear(key.Secret)
			}
		}
	}
}

func wipeNumbers(numbers ...*big.Int) {
	for _, n := range numbers {
		if n != nil {
			clear(n.Bits()[:cap(n.Bits())])
		}
	}
}
