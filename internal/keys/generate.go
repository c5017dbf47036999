package keys

import (
	"crypto"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/ProtonMail/go-crypto/openpgp/s2k"
)

// DefaultBits is the size of an RSA key unless told otherwise: the size of the
// keys that exist already.
const DefaultBits = 4096

// Options describe a new key. Name or Email is needed, the rest may be zero.
type Options struct {
	Name, Email string
	Curve25519  bool      // Ed25519 with a Curve25519 subkey in place of RSA
	Bits        int       // of RSA, 2048 to 8192; 0 means DefaultBits
	Passphrase  []byte    // protects the private parts; empty: unprotected
	Time        time.Time // of creation; zero: now
}

// Generate makes a key pair for sealing: a primary key that signs and an
// encryption subkey, version 4, that never expires, in algorithms that gpg 2.2
// knows. With a passphrase the private parts are locked already. RSA-4096 takes
// some seconds.
func Generate(o Options) (*openpgp.Entity, error) {
	if o.Name == "" && o.Email == "" {
		return nil, errors.New("a key needs a name or an email address")
	}
	if strings.ContainsAny(o.Name+o.Email, "()<>") || strings.ContainsFunc(o.Name+o.Email, unicode.IsControl) {
		return nil, errors.New("name and email address of a key must be without parentheses, angle brackets and control characters")
	}
	if o.Bits == 0 {
		o.Bits = DefaultBits
	}
	if o.Bits < 2048 || o.Bits > 8192 {
		return nil, fmt.Errorf("an RSA key of %d bits: must be 2048 to 8192", o.Bits)
	}
	config := generateConfig(o)
	entity, err := openpgp.NewEntity(o.Name, "", o.Email, config)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	if len(o.Passphrase) > 0 {
		if err := entity.EncryptPrivateKeys(o.Passphrase, config); err != nil {
			return nil, fmt.Errorf("protect key: %w", err)
		}
	}
	return entity, nil
}

// generateConfig leaves AEADConfig and V6Keys unset: a key that advertises AEAD
// makes other software write what gpg 2.2 cannot read.
func generateConfig(o Options) *packet.Config {
	config := &packet.Config{
		Algorithm:              packet.PubKeyAlgoRSA,
		RSABits:                o.Bits,
		DefaultHash:            crypto.SHA512,
		DefaultCipher:          packet.CipherAES256,
		DefaultCompressionAlgo: packet.CompressionNone,
		S2KConfig: &s2k.Config{
			S2KMode:  s2k.IteratedSaltedS2K,
			Hash:     crypto.SHA256,
			S2KCount: 65011712, // the most the format can say
		},
	}
	if o.Curve25519 {
		// EdDSA (22) with ECDH (18): the numbers that RFC 9580 gave them, 27 and 25, are unknown to gpg 2.2.
		config.Algorithm = packet.PubKeyAlgoEdDSA
		config.Curve = packet.Curve25519
	}
	if !o.Time.IsZero() {
		config.Time = func() time.Time { return o.Time }
	}
	return config
}
