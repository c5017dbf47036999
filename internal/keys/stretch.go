package keys

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// What it may cost to unlock a key, which its file says: a tenth of a second for
// each private part, and for those of RFC 9580 the memory and the passes over it
// that Argon2 is given.
const (
	maxLocked       = 100
	maxArgon2Memory = 21 // 2^21 KiB: the most that RFC 9106 recommends
	maxArgon2Passes = 10
)

// checkStretching refuses a key that takes more than this host may have.
func checkStretching(entity *openpgp.Entity) error {
	parts := privateParts(entity)
	if len(parts) > maxLocked {
		return fmt.Errorf("private key %s has %d private parts, at most %d are unlocked", name(entity), len(parts), maxLocked)
	}
	for _, p := range parts {
		passes, memory, err := argon2Of(p)
		if err != nil {
			return fmt.Errorf("private key %s: %w", name(entity), err)
		}
		if passes > maxArgon2Passes || memory > maxArgon2Memory {
			return fmt.Errorf("private key %s takes %d passes over 2^%d KiB of memory to unlock: protect it in another way, with gpg", name(entity), passes, memory)
		}
	}
	return nil
}

// Fields of a secret key packet behind its public part: RFC 9580, section 5.5.3.
const (
	usageAEAD  = 253
	modeArgon2 = 4
	saltSize   = 16
)

// argon2Of are the passes and the exponent of the memory that a private part's
// protection asks for, 0 where it is another. The library keeps them to itself,
// so they are read from the packet.
func argon2Of(p *packet.PrivateKey) (passes, memory int, err error) {
	if !p.Encrypted {
		return 0, 0, nil
	}
	private, err := contentOf(p)
	if err != nil {
		return 0, 0, err
	}
	public, err := contentOf(&p.PublicKey)
	if err != nil {
		return 0, 0, err
	}
	if len(private) <= len(public) {
		return 0, 0, errors.New("it is cut off or damaged")
	}
	b := private[len(public):]
	mode := 3 // behind the usage, the cipher and the AEAD mode
	if p.Version == 5 {
		mode = 4 // a length
	} else if p.Version == 6 {
		mode = 5 // two
	}
	if b[0] != usageAEAD || len(b) < mode+1+saltSize+3 || b[mode] != modeArgon2 {
		return 0, 0, nil
	}
	b = b[mode+1+saltSize:]
	return int(b[0]), int(b[2]), nil
}

func contentOf(p interface{ Serialize(w io.Writer) error }) ([]byte, error) {
	var b bytes.Buffer
	if err := p.Serialize(&b); err != nil {
		return nil, err
	}
	opaque, err := packet.NewOpaqueReader(&b).Next()
	if err != nil {
		return nil, err
	}
	return opaque.Contents, nil
}
