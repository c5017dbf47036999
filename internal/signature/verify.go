package signature

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

const (
	// MaxSize is how long signatures may be, in bytes: some hundred times what
	// one has. Whoever reads them need not read more than one byte beyond.
	MaxSize = 64 << 10
	// maxSignatures of one list: uploaders that share a bucket are few.
	maxSignatures = 10
	// maxAhead is how much the clock of who signed may be ahead of ours.
	maxAhead = 24 * time.Hour

	tagSignature = 2 // RFC 9580, section 5.2
)

// strong are the hashes for which no two lists with the same one are in sight.
var strong = map[crypto.Hash]bool{
	crypto.SHA256: true, crypto.SHA384: true, crypto.SHA512: true, crypto.SHA3_256: true, crypto.SHA3_512: true,
}

// Verify makes sure that the list has been signed as the object with this key,
// "<backup>/backup-info", and returns the fingerprint of whose primary key.
// Of several signatures one has to hold. An error is ErrUntrusted, or one of
// reading the list.
func (t Trusted) Verify(key string, list io.Reader, sig []byte) (fingerprint string, err error) {
	v, err := t.prepare(key, sig)
	if err != nil {
		return "", err
	}
	if _, err := io.Copy(v, list); err != nil {
		return "", fmt.Errorf("read %s: %w", key, err)
	}
	return v.finish()
}

// verification takes the bytes of a list by Write.
type verification struct {
	object     string
	candidates []candidate
	reasons    []string // against the other signatures
}

// candidate is a signature that holds if the bytes are right.
type candidate struct {
	sig  *packet.Signature
	key  key
	hash hash.Hash
}

// prepare fails when no signature can hold, whatever the list is.
func (t Trusted) prepare(object string, sig []byte) (*verification, error) {
	packets, err := split(sig)
	if err != nil {
		return nil, untrusted(object, err.Error())
	}
	v := &verification{object: object}
	for _, p := range packets {
		found, reason := t.candidates(p)
		v.candidates = append(v.candidates, found...)
		if len(found) == 0 {
			v.reasons = append(v.reasons, reason)
		}
	}
	if len(v.candidates) == 0 {
		return nil, untrusted(object, oneOrAll("signatures", v.reasons))
	}
	return v, nil
}

// split cuts the packets apart without looking into them.
func split(sig []byte) ([]*packet.OpaquePacket, error) {
	if len(sig) == 0 {
		return nil, errors.New("there is no signature")
	}
	if len(sig) > MaxSize {
		return nil, fmt.Errorf("%d bytes are too many for a signature", len(sig))
	}
	var all []*packet.OpaquePacket
	for r := packet.NewOpaqueReader(bytes.NewReader(sig)); ; {
		p, err := r.Next()
		switch {
		case err == io.EOF:
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("the signature is damaged: %w", err)
		case p.Tag != tagSignature:
			return nil, fmt.Errorf("the signature is none: it holds an OpenPGP packet of type %d", p.Tag)
		case len(all) == maxSignatures:
			return nil, fmt.Errorf("there are more than %d signatures", maxSignatures)
		}
		all = append(all, p)
	}
}

// candidates are usually one: only the ids of keys, which are short, may be the
// same for several. Without any there is a reason.
func (t Trusted) candidates(p *packet.OpaquePacket) (found []candidate, reason string) {
	parsed, err := p.Parse()
	if err != nil {
		return nil, fmt.Sprintf("the signature cannot be read: %v", err)
	}
	sig := parsed.(*packet.Signature) // by its tag
	if reason := defect(sig, time.Now()); reason != "" {
		return nil, reason
	}
	reason = fmt.Sprintf("signed by key %s, which is not trusted", issuer(sig))
	for _, k := range t.keys {
		if !sig.CheckKeyIdOrFingerprint(k.PublicKey) {
			continue
		}
		if reason = k.unfit(sig.CreationTime); reason != "" {
			continue
		}
		h, err := sig.PrepareVerify()
		if err != nil {
			return nil, fmt.Sprintf("the signature cannot be verified: %v", err)
		}
		found = append(found, candidate{sig, k, h})
	}
	return found, reason
}

// defect says what is wrong with a signature whoever made it, or "".
func defect(sig *packet.Signature, now time.Time) string {
	for _, n := range sig.Notations {
		if n.IsCritical && n.Name != notation {
			return fmt.Sprintf("the signature holds only for who knows what %q is", n.Name)
		}
	}
	expiry := after(sig.CreationTime, sig.SigLifetimeSecs)
	switch {
	case issuer(sig) == "":
		return "the signature does not say whose it is"
	case sig.SigType != packet.SigTypeBinary:
		return "the signature is not one of bytes (gpg --detach-sign makes one)"
	case !strong[sig.Hash]:
		return fmt.Sprintf("the signature is made with %v, which is too weak", sig.Hash)
	case sig.CreationTime.After(now.Add(maxAhead)):
		return fmt.Sprintf("the signature is of %s, which is in the future; check the clock", text(sig.CreationTime))
	case !expiry.IsZero() && now.After(expiry):
		return fmt.Sprintf("the signature expired on %s", text(expiry))
	}
	return ""
}

func (v *verification) Write(p []byte) (int, error) {
	for _, c := range v.candidates {
		c.hash.Write(p) // never fails
	}
	return len(p), nil
}

// finish is to be called once, after all bytes.
func (v *verification) finish() (fingerprint string, err error) {
	for _, c := range v.candidates {
		reason := c.mismatch(v.object)
		if reason == "" {
			return c.key.owner, nil
		}
		v.reasons = append(v.reasons, reason)
	}
	return "", untrusted(v.object, oneOrAll("signatures", v.reasons))
}

// mismatch looks at the bytes first: before, what the signature says is not
// known to be its owner's word.
func (c *candidate) mismatch(object string) string {
	if c.key.VerifySignature(c.hash, c.sig) != nil {
		return "the bytes are not those that were signed"
	}
	switch found := objects(c.sig); {
	case len(found) == 0:
		return fmt.Sprintf("the signature does not say for what it is, it has no %s", notation)
	case len(found) > 1:
		return fmt.Sprintf("the signature is for several objects, %q", found)
	case found[0] != object:
		return fmt.Sprintf("signed for %q, not for %q", found[0], object)
	}
	return ""
}
