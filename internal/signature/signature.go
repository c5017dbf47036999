// Package signature signs the lists of a backup, and tells whether a list is
// the one that somebody trusted signed: detached OpenPGP signatures, as
// gpg --detach-sign makes and gpg --verify checks.
//
// It promises that
//   - what [Trusted.Verify] accepts are the bytes that a trusted key signed, for
//     the object asked for: the name of the object is part of what is signed, so
//     that a list with a good signature cannot stand in for another one,
//   - what does not hold is [ErrUntrusted], which says why, and what could not be
//     read is not,
//   - memory grows neither with a list nor with what a signature claims.
//
// It does not know whether a list is the newest one, or whether one is missing.
// It asks no key server: whoever takes a key out of use has to hand out the
// revoked key, or to take it off the list of those trusted.
package signature

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// ErrUntrusted says that a list is not signed by a trusted key, was changed
// since, or was signed as something else.
var ErrUntrusted = errors.New("untrusted")

// Suffix is what the key of a list's signature has behind the key of the list.
const Suffix = ".sig"

// notation is the name under which a signature holds the key of the object that
// was signed, as of RFC 9580, section 5.2.3.24.
const notation = "object@firn.chipster.github.io"

func untrusted(object, reason string) error {
	return fmt.Errorf("%s: %w: %s", object, ErrUntrusted, reason)
}

// objects are all that a signature says it was made for. Only what is signed
// itself is among them.
func objects(sig *packet.Signature) []string {
	var all []string
	for _, n := range sig.Notations {
		if n.Name == notation {
			all = append(all, string(n.Value))
		}
	}
	return all
}

// issuer is whose signature it claims to be, or "".
func issuer(sig *packet.Signature) string {
	switch {
	case len(sig.IssuerFingerprint) > 0:
		return fmt.Sprintf("%X", sig.IssuerFingerprint)
	case sig.IssuerKeyId != nil:
		return fmt.Sprintf("%016X", *sig.IssuerKeyId)
	}
	return ""
}

// oneOrAll words the reasons against several of a kind.
func oneOrAll(kind string, reasons []string) string {
	if len(reasons) == 1 {
		return reasons[0]
	}
	return fmt.Sprintf("none of %d %s will do: %s", len(reasons), kind, strings.Join(reasons, "; "))
}
