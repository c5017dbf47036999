package envelope

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/ProtonMail/go-crypto/openpgp/s2k"

	"github.com/chipster/firn/internal/cfb"
	"github.com/chipster/firn/internal/keys"
)

// Recipients says for whom files are sealed: for the holders of the keys, else
// for those who know the passphrase, else, in the zero value, for everybody:
// nothing is encrypted.
type Recipients struct {
	Keys       openpgp.EntityList
	Passphrase []byte
}

// Encrypts tells whether anything is encrypted.
func (r Recipients) Encrypts() bool { return len(r.Keys) > 0 || len(r.Passphrase) > 0 }

// Suffix is what sealed files' names end in.
func (r Recipients) Suffix() string {
	if r.Encrypts() {
		return SuffixEncrypted
	}
	return SuffixPlain
}

// ID tells recipients apart, without secrets: the ids of the keys, or a slow
// hash of the passphrase. It stands in the manifest's column "key". A sealed
// symmetric message lets anyone test a guessed passphrase; the hash makes that
// no cheaper.
func (r Recipients) ID() (string, error) {
	switch {
	case len(r.Keys) > 0:
		return strings.Join(keys.EncryptionKeyIDs(r.Keys), ","), nil
	case len(r.Passphrase) > 0:
		sum, err := pbkdf2.Key(sha256.New, string(r.Passphrase), []byte("firn passphrase id"), 1_000_000, 8)
		return fmt.Sprintf("passphrase-%X", sum), err
	}
	return "none", nil
}

// Session seals files for one set of recipients with one session key: a
// package's worth of them costs whoever opens them one public-key operation,
// not one each. Each file begins with a random block of its own, which is the
// initial vector that CFB needs. It is safe for concurrent use.
type Session struct {
	header []byte   // the packets that hold the session key
	key    *cfb.Key // nil: nothing is encrypted
	wiped  atomic.Bool
}

// Wipe overwrites the session key. No Writer may be under way; a new one is
// refused from then on.
func (s *Session) Wipe() {
	s.wiped.Store(true)
	if s.key != nil {
		s.key.Wipe()
	}
}

// NewSession makes a session key for the recipients. A key that cannot encrypt
// now (expired, revoked) is an error that names it.
func (r Recipients) NewSession() (*Session, error) {
	if !r.Encrypts() {
		return &Session{}, nil
	}
	key := make([]byte, packet.CipherAES256.KeySize())
	defer clear(key)
	rand.Read(key) // never fails: crypto/rand ends the program instead
	var header bytes.Buffer
	if len(r.Keys) == 0 {
		if err := writeSKESK(&header, key, r.Passphrase); err != nil {
			return nil, err
		}
	}
	now := time.Now()
	for _, entity := range r.Keys {
		if err := keys.CanEncrypt(entity, now); err != nil {
			return nil, err
		}
		pub, ok := entity.EncryptionKey(now)
		if !ok {
			return nil, fmt.Errorf("key %s cannot encrypt", keys.Fingerprint(entity))
		}
		if err := packet.SerializeEncryptedKey(&header, pub.PublicKey, packet.CipherAES256, key, nil); err != nil {
			return nil, fmt.Errorf("key %s: %w", keys.Fingerprint(entity), err)
		}
	}
	session, err := cfb.NewKey(key)
	if err != nil {
		return nil, err
	}
	return &Session{header: header.Bytes(), key: session}, nil
}

// writeSKESK stretches the passphrase as long as gpg's default does at most.
func writeSKESK(header *bytes.Buffer, key, passphrase []byte) error {
	if bytes.ContainsAny(passphrase, "\r\n") {
		return errors.New("the passphrase holds a line break, which gpg could not be given")
	}
	return packet.SerializeSymmetricKeyEncryptedReuseKey(header, key, passphrase, &packet.Config{
		DefaultCipher: packet.CipherAES256,
		S2KConfig:     &s2k.Config{S2KMode: s2k.IteratedSaltedS2K, S2KCount: 65011712},
	})
}
