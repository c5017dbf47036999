package envelope

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"golang.org/x/sync/singleflight"

	"github.com/chipster/firn/internal/cfb"
	"github.com/chipster/firn/internal/keys"
)

// Opener opens sealed files with private keys and passphrases. It remembers
// session keys, so that a package's files cost one public-key operation. The
// zero value opens what is not encrypted. It is safe for concurrent use.
type Opener struct {
	keys        openpgp.EntityList
	passphrases [][]byte

	mu       sync.Mutex
	sessions map[[32]byte]*cfb.Key // by the hash of the packet that holds the key

	unlocking singleflight.Group
}

// NewOpener takes unlocked private keys and passphrases, of which any may fit.
func NewOpener(keys openpgp.EntityList, passphrases ...[]byte) *Opener {
	return &Opener{keys: keys, passphrases: passphrases}
}

// maxSessions bounds the remembered session keys. Files that gpg sealed have
// one each, and most are opened once.
const maxSessions = 10_000

func (o *Opener) remember(id [32]byte, key *cfb.Key) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sessions == nil || len(o.sessions) >= maxSessions {
		o.sessions = make(map[[32]byte]*cfb.Key)
	}
	o.sessions[id] = key
}

func (o *Opener) remembered(id [32]byte) *cfb.Key {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.sessions[id]
}

// Prepare remembers the session key of a sealed file, which takes a public-key
// operation where it is not known yet, and little otherwise. The errors are
// NewReader's.
func (o *Opener) Prepare(sealed io.ReaderAt, encrypted bool) error {
	if !encrypted {
		return nil
	}
	_, _, err := o.openSEIPD(newPosReader(io.NewSectionReader(sealed, 0, math.MaxInt64), headSize))
	return err
}

// Wipe overwrites the private keys, the passphrases and the session keys, as far
// as the program can reach them: copies that the standard library made for its
// own use stay in memory. Nothing may use the Opener any more, nor what it
// opened.
func (o *Opener) Wipe() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, key := range o.sessions {
		key.Wipe()
	}
	for _, passphrase := range o.passphrases {
		clear(passphrase)
	}
	keys.Wipe(o.keys)
	o.sessions, o.passphrases, o.keys = nil, nil, nil
}

// seipd is an encrypted packet, read up to the end of its prefix.
type seipd struct {
	first  body  // as its header says
	pos    int64 // of its content in the message
	body   *body
	prefix [prefixSize]byte
}

// maxESK bounds the packets before the encrypted one: 16 KiB is a key of far
// over 65,536 bits.
//
// Each passphrase packet may cost some tenths of a second a passphrase, and what
// RFC 9580 calls Argon2 as much memory as the packet says, up to 2 TiB.
const (
	maxESK     = 16 << 10
	maxESKs    = 100 // with markers and padding
	maxSKESKs  = 10
	eskVersion = 4 // a SKESK's; the PKESK's is 3
	s2kArgon2  = 4
)

// openSEIPD reads the packets that hold the session key, and the beginning of
// the encrypted one, by which a wrong passphrase shows.
func (o *Opener) openSEIPD(in *posReader) (*seipd, *cfb.Key, error) {
	var esks [][]byte // each with its tag before it
	var passphrases int
	for packets := 0; ; packets++ {
		tag, b, err := readHeader(in.Reader)
		if err != nil {
			return nil, nil, cutShort(err)
		}
		switch tag {
		case tagPKESK, tagSKESK, tagMarker, tagPadding:
			content, err := io.ReadAll(io.LimitReader(b, maxESK+1))
			if err != nil {
				return nil, nil, err
			}
			if tag == tagSKESK {
				passphrases++
			}
			if len(content) > maxESK || packets == maxESKs || passphrases > maxSKESKs {
				return nil, nil, damaged("openpgp: too many session keys")
			}
			if tag == tagPKESK || tag == tagSKESK {
				esks = append(esks, append([]byte{tag}, content...))
			}
		case tagSEIPD:
			s := &seipd{first: *b, pos: in.pos(), body: b}
			var version [1]byte
			if _, err := io.ReadFull(b, version[:]); err != nil {
				return nil, nil, cutShort(err)
			}
			if version[0] != 1 {
				return nil, nil, fmt.Errorf("%w: encrypted packet of version %d", ErrUnsupported, version[0])
			}
			if _, err := io.ReadFull(b, s.prefix[:]); err != nil {
				return nil, nil, cutShort(err)
			}
			block, err := o.sessionKey(esks, s)
			return s, block, err
		default:
			return nil, nil, refuse(tag)
		}
	}
}

// fits tells whether a session key is plausible for the packet; a wrong one
// passes once in 65,536 times, and then fails at the frame or the code.
func (s *seipd) fits(key *cfb.Key) bool {
	var prefix [prefixSize]byte
	key.NewDecrypter([cfb.BlockSize]byte{}).Decrypt(prefix[:], s.prefix[:])
	return prefix[14] == prefix[16] && prefix[15] == prefix[17]
}

func (o *Opener) sessionKey(esks [][]byte, s *seipd) (*cfb.Key, error) {
	for _, esk := range esks {
		if key := o.remembered(sha256.Sum256(esk)); key != nil && s.fits(key) {
			return key, nil
		}
	}
	if len(esks) == 0 {
		return nil, damaged("openpgp: the message has no session key")
	}
	var tried []error
	var sealedFor []string
	for _, esk := range esks {
		found, who, err := o.unlockOnce(esk)
		if err != nil {
			tried = append(tried, err)
		}
		if !slices.Contains(sealedFor, who) {
			sealedFor = append(sealedFor, who)
		}
		for _, key := range found {
			if s.fits(key) {
				o.remember(sha256.Sum256(esk), key)
				return key, nil
			}
		}
	}
	err := fmt.Errorf("%w: it is sealed for %s", ErrKey, strings.Join(sealedFor, ", "))
	return nil, errors.Join(append([]error{err}, tried...)...)
}

// unlockOnce is unlock for those who open files of one package side by side: one
// of them does the work.
func (o *Opener) unlockOnce(esk []byte) (found []*cfb.Key, who string, err error) {
	type result struct {
		found []*cfb.Key
		who   string
	}
	r, err, _ := o.unlocking.Do(string(esk), func() (any, error) {
		found, who, err := o.unlock(esk)
		return result{found, who}, err
	})
	return r.(result).found, r.(result).who, err
}

// unlock returns the session keys that our keys find in one packet, and for
// whom the packet is.
func (o *Opener) unlock(esk []byte) (found []*cfb.Key, who string, err error) {
	// Its tag, its version, the cipher, and how to stretch the passphrase.
	if len(esk) > 3 && esk[0] == tagSKESK && esk[3] == s2kArgon2 {
		return nil, "a passphrase", fmt.Errorf("%w: passphrase packet with Argon2", ErrUnsupported)
	}
	var raw bytes.Buffer
	raw.Write([]byte{0xc0 | esk[0], 255, 0, 0, byte((len(esk) - 1) >> 8), byte(len(esk) - 1)})
	raw.Write(esk[1:])
	// With an error there may be half a packet, and the library panics on some.
	p, err := packet.Read(&raw)
	switch p := p.(type) {
	case *packet.EncryptedKey:
		who = fmt.Sprintf("key %016X", p.KeyId)
		if err != nil {
			return nil, who, err
		}
		for _, key := range o.candidates(p.KeyId) {
			if err = decrypt(p, key); err != nil {
				err = fmt.Errorf("key %016X: %w", key.KeyId, err)
				continue
			}
			session, err := newAES(p.CipherFunc, p.Key)
			clear(p.Key)
			if err != nil {
				return nil, who, err
			}
			return []*cfb.Key{session}, who, nil
		}
		return nil, who, err
	case *packet.SymmetricKeyEncrypted:
		if err != nil {
			return nil, "a passphrase", err
		}
		if p.Version != eskVersion {
			return nil, "a passphrase", fmt.Errorf("%w: passphrase packet of version %d", ErrUnsupported, p.Version)
		}
		for _, passphrase := range o.passphrases {
			key, cipherFunc, derr := p.Decrypt(passphrase)
			if derr != nil {
				continue // a wrong passphrase, most likely
			}
			if session, err := newAES(cipherFunc, key); err == nil {
				found = append(found, session)
			}
			clear(key)
		}
		return found, "a passphrase", nil
	}
	if err == nil {
		err = fmt.Errorf("%w: %T", ErrUnsupported, p)
	}
	return nil, "an unknown key", err
}

// decrypt turns a panic into an error: the library has been seen to panic on
// session key packets whose numbers are missing.
func decrypt(p *packet.EncryptedKey, key *packet.PrivateKey) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = damaged("openpgp: session key: %v", r)
		}
	}()
	return p.Decrypt(key, nil)
}

// candidates are the unlocked private keys of an id; all of them, where the
// sender hid the id.
func (o *Opener) candidates(id uint64) (found []*packet.PrivateKey) {
	for _, e := range o.keys {
		private := []*packet.PrivateKey{e.PrivateKey}
		for _, sub := range e.Subkeys {
			private = append(private, sub.PrivateKey)
		}
		for _, key := range private {
			if key != nil && !key.Encrypted && !key.Dummy() && (id == 0 || key.KeyId == id) && key.PubKeyAlgo.CanEncrypt() {
				found = append(found, key)
			}
		}
	}
	return found
}

func newAES(f packet.CipherFunction, key []byte) (*cfb.Key, error) {
	switch f {
	case packet.CipherAES128, packet.CipherAES192, packet.CipherAES256:
		if len(key) != f.KeySize() {
			return nil, damaged("openpgp: a session key of %d bytes", len(key))
		}
		session, err := cfb.NewKey(key)
		if err == nil {
			// Those that are not remembered any more may still be in use.
			runtime.SetFinalizer(session, (*cfb.Key).Wipe)
		}
		return session, err
	}
	return nil, fmt.Errorf("%w: openpgp cipher %d, only AES is read", ErrUnsupported, f)
}
