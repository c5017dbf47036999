// Package keys reads, makes, describes and exports the OpenPGP keys that
// backups are sealed to and opened with.
//
// It promises that
//   - what it exports can be imported and used by gpg 2.2,
//   - a list of recipients is complete or refused: a key that cannot be read,
//     or that cannot encrypt now, is an error and never left out silently,
//   - what is read as a public key holds no private part,
//   - no message contains a passphrase or key material.
//
// It keeps no key ring, asks no key server, and judges no web of trust. It reads
// at most [MaxSize] bytes; reading the files is the caller's work.
package keys

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// MaxSize is the most bytes that the parsers take. A key with a dozen subkeys
// and identities has some tens of kilobytes.
const MaxSize = 1 << 20

var (
	// ErrNoKey says that the input holds no key of the kind asked for.
	ErrNoKey = errors.New("no OpenPGP key")
	// ErrPassphrase says that a private key stays locked.
	ErrPassphrase = errors.New("missing or wrong passphrase")
	// ErrCannotEncrypt says that nothing can be sealed to a key.
	ErrCannotEncrypt = errors.New("cannot encrypt")
	// ErrTooLarge says that the input is over MaxSize.
	ErrTooLarge = fmt.Errorf("over %d bytes, too large for a key", MaxSize)
)

// Fingerprint returns the fingerprint of the primary key in uppercase hex, the
// form that gpg prints.
func Fingerprint(entity *openpgp.Entity) string {
	return fmt.Sprintf("%X", entity.PrimaryKey.Fingerprint)
}

// EncryptionKeyIDs returns the long ids, 16 uppercase hex digits each, of the
// keys that sealing to list uses now: sorted, each once. Two lists with the same
// ids seal to the same recipients. Keys that cannot encrypt have none.
func EncryptionKeyIDs(list openpgp.EntityList) []string {
	now := time.Now()
	ids := []string{}
	for _, entity := range list {
		if key, ok := entity.EncryptionKey(now); ok {
			ids = append(ids, key.PublicKey.KeyIdString())
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// CanEncrypt returns nil when something can be sealed to entity at the given
// time. Otherwise the error names the key and the reason, and is ErrCannotEncrypt.
func CanEncrypt(entity *openpgp.Entity, now time.Time) error {
	if _, ok := entity.EncryptionKey(now); ok {
		return nil
	}
	return fmt.Errorf("key %s %w: %s", name(entity), ErrCannotEncrypt, whyNot(entity, now))
}

// whyNot explains what [openpgp.Entity.EncryptionKey] only refuses. It follows
// the same order.
func whyNot(entity *openpgp.Entity, now time.Time) string {
	self, identity := entity.PrimarySelfSignature()
	switch {
	case self == nil:
		return "it has no valid self-signature"
	case entity.Revoked(now):
		return "it is revoked" + since(entity.Revocations)
	case identity != nil && identity.Revoked(now):
		return "its user id is revoked" + since(identity.Revocations)
	}
	if reason := outOfTime(entity.PrimaryKey, self, now); reason != "" {
		return "it " + reason
	}
	reason := "it has no encryption subkey"
	for _, subkey := range entity.Subkeys {
		if !subkey.Sig.FlagsValid || !subkey.Sig.FlagEncryptCommunications {
			continue
		}
		if subkey.Revoked(now) {
			reason = "its encryption subkey is revoked" + since(subkey.Revocations)
		} else if r := outOfTime(subkey.PublicKey, subkey.Sig, now); r != "" {
			reason = "its encryption subkey " + r
		}
	}
	return reason
}

// since says when the first of the revocations was made.
func since(revocations []*packet.Signature) string {
	var first time.Time
	for _, r := range revocations {
		if made := r.CreationTime; first.IsZero() || made.Before(first) {
			first = made
		}
	}
	if first.IsZero() {
		return ""
	}
	return " since " + day(first)
}

// outOfTime says in what way a key with this binding signature is not valid at
// now, or "".
func outOfTime(key *packet.PublicKey, sig *packet.Signature, now time.Time) string {
	switch {
	case key.CreationTime.After(now), sig.CreationTime.After(now):
		return fmt.Sprintf("is valid only from %s on; check the clock", day(later(key.CreationTime, sig.CreationTime)))
	case key.KeyExpired(sig, now):
		return "expired on " + day(*expiry(key, sig))
	case sig.SigExpired(now):
		return "has an expired self-signature"
	}
	return ""
}

// expiry is nil for a key that does not expire.
func expiry(key *packet.PublicKey, sig *packet.Signature) *time.Time {
	if sig == nil || sig.KeyLifetimeSecs == nil || *sig.KeyLifetimeSecs == 0 {
		return nil
	}
	at := key.CreationTime.Add(time.Duration(*sig.KeyLifetimeSecs) * time.Second).UTC()
	return &at
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// name is what messages call a key: its long id and, where there is one, its
// user id.
func name(entity *openpgp.Entity) string {
	id := entity.PrimaryKey.KeyIdString()
	if ids := userIDs(entity); len(ids) > 0 {
		return fmt.Sprintf("%s (%q)", id, ids[0])
	}
	return id
}

// hasPrivate tells whether there is any private part, locked or not. The stubs
// that gpg exports for offline and smart card keys are none.
func hasPrivate(entity *openpgp.Entity) bool {
	return len(privateParts(entity)) > 0
}

// isProtected tells whether some private part needs a passphrase.
func isProtected(entity *openpgp.Entity) bool {
	return slices.ContainsFunc(privateParts(entity), func(p *packet.PrivateKey) bool { return p.Encrypted })
}

func privateParts(entity *openpgp.Entity) []*packet.PrivateKey {
	var parts []*packet.PrivateKey
	add := func(p *packet.PrivateKey) {
		if p != nil && !p.Dummy() {
			parts = append(parts, p)
		}
	}
	add(entity.PrivateKey)
	for _, subkey := range entity.Subkeys {
		add(subkey.PrivateKey)
	}
	return parts
}
