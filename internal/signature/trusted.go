package signature

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/chipster/firn/internal/keys"
)

// Trusted are those whose signatures count. The zero value trusts nobody. It
// holds no private key and never changes: it is safe for concurrent use.
type Trusted struct {
	keys []key
	id   string
}

// key is a primary key or a subkey that signs for somebody.
type key struct {
	*packet.PublicKey
	owner       string    // fingerprint of the primary key
	from, until time.Time // its lifetime, within the primary key's; zero until: for ever
	revoked     bool
}

// NewTrusted trusts keys as [keys.Parse] reads them; private parts are not kept.
// Expired and revoked ones may be among them, for signatures outlive keys, and
// who signed with a revoked one shall be told so. No key at all, one that is
// not for signing, and one that comes twice, are errors.
func NewTrusted(list openpgp.EntityList) (Trusted, error) {
	if len(list) == 0 {
		return Trusted{}, errors.New("no key to trust")
	}
	var t Trusted
	var owners []string
	for _, entity := range list {
		owner := keys.Fingerprint(entity)
		if slices.Contains(owners, owner) { // one of the two may be revoked
			return Trusted{}, fmt.Errorf("key %s is there twice: keep the newer", owner)
		}
		signing, err := signingKeys(entity)
		if err != nil {
			return Trusted{}, fmt.Errorf("key %s cannot be trusted: %w", owner, err)
		}
		t.keys = append(t.keys, signing...)
		owners = append(owners, owner)
	}
	slices.Sort(owners)
	t.id = strings.Join(owners, ",")
	return t, nil
}

// ID stands for who is trusted: the fingerprints of the primary keys, uppercase
// hex, sorted, joined by commas.
func (t Trusted) ID() string { return t.id }

// signingKeys begins with the primary key, if it signs.
func signingKeys(entity *openpgp.Entity) ([]key, error) {
	var public bytes.Buffer
	if err := entity.Serialize(&public); err != nil {
		return nil, err
	}
	// Reading it again checks its own signatures, and leaves the private part behind.
	e, err := openpgp.ReadEntity(packet.NewReader(&public))
	if err != nil {
		return nil, err
	}
	self, identity := e.PrimarySelfSignature()
	if self == nil {
		return nil, errors.New("it has no valid self-signature")
	}
	primary := newKey(e.PrimaryKey, self)
	primary.owner = keys.Fingerprint(e)
	// Revocations count from their first sight on, whatever date they bear: a
	// thief of the key can date signatures as he likes.
	primary.revoked = len(e.Revocations) > 0 || identity != nil && len(identity.Revocations) > 0
	var all []key
	if signs(e.PrimaryKey, self) {
		all = append(all, primary)
	}
	for _, subkey := range e.Subkeys {
		if signs(subkey.PublicKey, subkey.Sig) {
			k := newKey(subkey.PublicKey, subkey.Sig)
			k.owner = primary.owner
			k.revoked = primary.revoked || len(subkey.Revocations) > 0
			k.limit(primary.from, primary.until)
			all = append(all, k)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("it is not for signing")
	}
	return all, nil
}

func signs(public *packet.PublicKey, self *packet.Signature) bool {
	return public.CanSign() && self.FlagsValid && self.FlagSign
}

// newKey takes the lifetime from the newest signature that makes it a key. When
// that one was made does not matter: a key gets a new one when it is prolonged.
func newKey(public *packet.PublicKey, self *packet.Signature) key {
	k := key{PublicKey: public, from: public.CreationTime}
	k.limit(k.from, after(public.CreationTime, self.KeyLifetimeSecs))
	k.limit(k.from, after(self.CreationTime, self.SigLifetimeSecs))
	return k
}

// after is the zero time where the format says "never".
func after(from time.Time, seconds *uint32) time.Time {
	if seconds == nil || *seconds == 0 {
		return time.Time{}
	}
	return from.Add(time.Duration(*seconds) * time.Second)
}

func (k *key) limit(from, until time.Time) {
	if from.After(k.from) {
		k.from = from
	}
	if k.until.IsZero() || !until.IsZero() && until.Before(k.until) {
		k.until = until
	}
}

// unfit says why a signature of the given time does not count, or "".
func (k *key) unfit(at time.Time) string {
	switch {
	case k.revoked:
		return fmt.Sprintf("key %s is revoked", k.owner)
	case at.Before(k.from):
		return fmt.Sprintf("key %s is valid only from %s on, not yet on %s", k.owner, text(k.from), text(at))
	case !k.until.IsZero() && at.After(k.until):
		return fmt.Sprintf("key %s expired on %s, before %s", k.owner, text(k.until), text(at))
	}
	return ""
}

func text(at time.Time) string { return at.UTC().Format(time.RFC3339) }
