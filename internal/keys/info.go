package keys

import (
	"fmt"
	"slices"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Info is what there is to show of a key. Nothing in it is secret.
type Info struct {
	Fingerprint string     `json:"fingerprint"`
	UserIDs     []string   `json:"user_ids"`
	Algorithm   string     `json:"algorithm"` // of the primary key: "RSA-4096", "Ed25519"
	Created     time.Time  `json:"created"`
	Expires     *time.Time `json:"expires,omitempty"` // nil: never
	Private     bool       `json:"private"`           // there is a private part
	Protected   bool       `json:"protected"`         // which needs a passphrase
	// EncryptionKeys are the long ids that sealing uses now. It is empty exactly
	// when Problem says why nothing can be sealed to the key.
	EncryptionKeys      []string `json:"encryption_keys"`
	EncryptionAlgorithm string   `json:"encryption_algorithm,omitempty"`
	Problem             string   `json:"problem,omitempty"`
}

// Describe returns what there is to show of a key at the given time.
func Describe(entity *openpgp.Entity, now time.Time) Info {
	self, _ := entity.PrimarySelfSignature()
	info := Info{
		Fingerprint:    Fingerprint(entity),
		UserIDs:        userIDs(entity),
		Algorithm:      algorithm(entity.PrimaryKey),
		Created:        entity.PrimaryKey.CreationTime.UTC(),
		Expires:        expiry(entity.PrimaryKey, self),
		Private:        hasPrivate(entity),
		Protected:      isProtected(entity),
		EncryptionKeys: []string{},
	}
	if key, ok := entity.EncryptionKey(now); ok {
		info.EncryptionKeys = append(info.EncryptionKeys, key.PublicKey.KeyIdString())
		info.EncryptionAlgorithm = algorithm(key.PublicKey)
	} else {
		info.Problem = whyNot(entity, now)
	}
	return info
}

// userIDs begins with the primary user id; the others are sorted.
func userIDs(entity *openpgp.Entity) []string {
	ids := []string{}
	for id := range entity.Identities {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	if _, primary := entity.PrimarySelfSignature(); primary != nil {
		if i := slices.Index(ids, primary.Name); i > 0 {
			ids = slices.Insert(slices.Delete(ids, i, i+1), 0, primary.Name)
		}
	}
	return ids
}

func algorithm(key *packet.PublicKey) string {
	switch key.PubKeyAlgo {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSAEncryptOnly, packet.PubKeyAlgoRSASignOnly:
		if bits, err := key.BitLength(); err == nil {
			return fmt.Sprintf("RSA-%d", bits)
		}
		return "RSA"
	case packet.PubKeyAlgoEdDSA, packet.PubKeyAlgoEd25519:
		return "Ed25519"
	case packet.PubKeyAlgoECDH, packet.PubKeyAlgoECDSA, packet.PubKeyAlgoX25519:
		if curve, err := key.Curve(); err == nil {
			return string(curve)
		}
	}
	return fmt.Sprintf("OpenPGP algorithm %d", key.PubKeyAlgo)
}
