package signature

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/chipster/firn/internal/keys"
)

// maxKey is the longest key that an object can have in S3, in bytes.
const maxKey = 1024

// Signer signs lists with one key. It is safe for concurrent use.
type Signer struct {
	entity  *openpgp.Entity
	trusted Trusted
}

// NewSigner signs with the first of the private keys that can do so now. They
// have to be unlocked, see [keys.ParsePrivate], and must not be changed later.
// The error says what is wrong with each of them.
func NewSigner(list openpgp.EntityList) (*Signer, error) {
	var reasons []string
	for _, entity := range list {
		trusted, err := NewTrusted(openpgp.EntityList{entity})
		if err == nil {
			s := &Signer{entity, trusted}
			if _, err = s.signingKey(time.Now()); err == nil {
				return s, nil
			}
		}
		reasons = append(reasons, err.Error())
	}
	if len(list) == 0 {
		return nil, errors.New("no key to sign with")
	}
	return nil, fmt.Errorf("cannot sign: %s", oneOrAll("keys", reasons))
}

// Trusted trusts the signer itself, and nobody else.
func (s *Signer) Trusted() Trusted { return s.trusted }

// Sign returns a detached binary signature of all bytes of the list, as the
// object with this key: "<backup>/backup-info".
func (s *Signer) Sign(key string, list io.Reader) ([]byte, error) {
	if key == "" || len(key) > maxKey || !utf8.ValidString(key) {
		return nil, fmt.Errorf("cannot sign for %.100q: not the key of an object", key)
	}
	now := time.Now()
	id, err := s.signingKey(now)
	if err != nil { // it may have expired meanwhile
		return nil, fmt.Errorf("cannot sign %s: %w", key, err)
	}
	var sig bytes.Buffer
	err = openpgp.DetachSign(&sig, s.entity, list, &packet.Config{
		DefaultHash:  crypto.SHA512,
		SigningKeyId: id,
		Time:         func() time.Time { return now },
		// gpg refuses a critical notation that it does not know.
		SignatureNotations: []*packet.Notation{{Name: notation, Value: []byte(key), IsHumanReadable: true}},
	})
	if err != nil {
		return nil, fmt.Errorf("sign %s with key %s: %w", key, keys.Fingerprint(s.entity), err)
	}
	return sig.Bytes(), nil
}

// signingKey is the id of the key to sign with at a time: the last subkey that
// will do, else the primary key, which is often kept elsewhere.
func (s *Signer) signingKey(now time.Time) (id uint64, err error) {
	var reasons []string
	for _, k := range slices.Backward(s.trusted.keys) {
		reason := k.unfit(now)
		if reason == "" {
			reason = s.withheld(k.KeyId)
		}
		if reason == "" {
			return k.KeyId, nil
		}
		reasons = append(reasons, reason)
	}
	return 0, errors.New(oneOrAll("signing keys", reasons))
}

// withheld says why the private part of a key is of no use, or "".
func (s *Signer) withheld(id uint64) string {
	private := s.entity.PrivateKey
	for _, subkey := range s.entity.Subkeys {
		if subkey.PublicKey.KeyId == id {
			private = subkey.PrivateKey
		}
	}
	switch {
	case private == nil || private.Dummy():
		return fmt.Sprintf("the private part of key %016X is missing", id)
	case private.Encrypted:
		return fmt.Sprintf("key %016X is locked: it needs its passphrase", id)
	}
	return ""
}
