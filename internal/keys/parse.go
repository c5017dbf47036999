package keys

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Packet tags of RFC 9580, section 5: those that begin a key.
const (
	tagSecretKey = 5
	tagPublicKey = 6
)

var armorBegin = []byte("-----BEGIN PGP ")

// Parse reads keys as they are, for showing and exporting: public or private,
// locked, expired or revoked. The input is one or more armored blocks, base64 of
// the binary form, or the binary form. One unreadable key fails all.
func Parse(data []byte) (openpgp.EntityList, error) {
	parts, err := split(data)
	if err != nil {
		return nil, err
	}
	var list openpgp.EntityList
	for i, part := range parts {
		entity, err := readEntity(part)
		if err != nil {
			return nil, fmt.Errorf("cannot read key %d of %d: %w", i+1, len(parts), err)
		}
		list = append(list, entity)
	}
	return list, nil
}

// ParsePublic reads the keys to seal to, in the forms of [Parse]. Of a private
// key it takes the public part only. A key that cannot encrypt now is an error,
// see [CanEncrypt]: a backup that some of its owners cannot read must not start.
func ParsePublic(data []byte) (openpgp.EntityList, error) {
	list, err := Parse(data)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	for i, entity := range list {
		if list[i], err = publicPart(entity); err != nil {
			return nil, fmt.Errorf("cannot read key %s: %w", name(entity), err)
		}
		if err := CanEncrypt(list[i], now); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// ParsePrivate reads the keys to open with, in the forms of [Parse], unlocked.
// It calls passphrase with the long id of each key that is protected, and for no
// other; nil stands for having none. Keys that it cannot read and public keys are
// left out as long as there is a private one, so that the export of a whole
// key ring works.
//
// The errors are ErrNoKey, ErrPassphrase, ErrTooLarge, those of passphrase, and
// such for damaged input.
func ParsePrivate(data []byte, passphrase func(keyID string) ([]byte, error)) (openpgp.EntityList, error) {
	parts, err := split(data)
	if err != nil {
		return nil, err
	}
	var list openpgp.EntityList
	var unreadable error
	public := 0
	for i, part := range parts {
		entity, err := readEntity(part)
		switch {
		case err != nil:
			unreadable = fmt.Errorf("cannot read key %d of %d: %w", i+1, len(parts), err)
		case !hasPrivate(entity):
			public++
		default:
			list = append(list, entity)
		}
	}
	if len(list) == 0 {
		if public > 0 {
			return nil, fmt.Errorf("%w with a private part: this is a public key, give the private one", ErrNoKey)
		}
		return nil, unreadable
	}
	for _, entity := range list {
		if err := unlock(entity, passphrase); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func unlock(entity *openpgp.Entity, passphrase func(keyID string) ([]byte, error)) error {
	if !isProtected(entity) {
		return nil
	}
	if passphrase == nil {
		return fmt.Errorf("private key %s is protected: %w", name(entity), ErrPassphrase)
	}
	if err := checkStretching(entity); err != nil {
		return err
	}
	secret, err := passphrase(entity.PrimaryKey.KeyIdString())
	if err != nil {
		return fmt.Errorf("passphrase of private key %s: %w", name(entity), err)
	}
	// A checksum is all that tells a wrong passphrase from a damaged key.
	if err := entity.DecryptPrivateKeys(secret); err != nil {
		return fmt.Errorf("private key %s: %w", name(entity), ErrPassphrase)
	}
	return nil
}

// split brings every form to the binary one and cuts it before each primary key.
// There is at least one part when there is no error. Each key is then read by
// itself, because openpgp.ReadKeyRing skips what it cannot read without a word.
func split(data []byte) ([][]byte, error) {
	if len(data) > MaxSize {
		return nil, ErrTooLarge
	}
	binary, err := decode(data)
	if err != nil {
		return nil, err
	}
	var parts [][]byte
	packets := packet.NewOpaqueReader(bytes.NewReader(binary))
	for {
		p, err := packets.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: damaged or no OpenPGP data: %w", ErrNoKey, err)
		}
		if p.Tag == tagPublicKey || p.Tag == tagSecretKey {
			parts = append(parts, nil)
		}
		if len(parts) == 0 {
			continue // not a key: a message, for instance
		}
		var buf bytes.Buffer
		if err := p.Serialize(&buf); err != nil {
			return nil, err
		}
		parts[len(parts)-1] = append(parts[len(parts)-1], buf.Bytes()...)
	}
	if len(parts) == 0 {
		return nil, ErrNoKey
	}
	return parts, nil
}

// decode returns the packets in their binary form, those of several armored
// blocks one after the other.
func decode(data []byte) ([]byte, error) {
	if bytes.Contains(data, armorBegin) {
		return decodeArmor(data)
	}
	if len(data) > 0 && data[0]&0x80 != 0 { // the first bit of every packet is set
		return data, nil
	}
	compact := bytes.Join(bytes.Fields(data), nil)
	binary, err := base64.StdEncoding.DecodeString(string(compact))
	if err != nil || len(binary) == 0 {
		return nil, fmt.Errorf("%w: neither armored nor base64 nor binary", ErrNoKey)
	}
	return binary, nil
}

func decodeArmor(data []byte) ([]byte, error) {
	var binary []byte
	// The first piece is what stands before the first block.
	for _, piece := range bytes.Split(data, armorBegin)[1:] {
		if !bytes.Contains(piece, []byte("-----END PGP ")) {
			return nil, errors.New("armored block without its END line: the key is cut off")
		}
		block, err := armor.Decode(io.MultiReader(bytes.NewReader(armorBegin), bytes.NewReader(piece)))
		if err != nil {
			return nil, fmt.Errorf("damaged armored block: %w", err)
		}
		if block.Type != openpgp.PublicKeyType && block.Type != openpgp.PrivateKeyType {
			return nil, fmt.Errorf("%w: this is a %s", ErrNoKey, block.Type)
		}
		body, err := io.ReadAll(block.Body)
		if err != nil {
			return nil, fmt.Errorf("damaged armored block: %w", err)
		}
		binary = append(binary, body...)
	}
	return binary, nil
}

func readEntity(part []byte) (*openpgp.Entity, error) {
	entity, err := openpgp.ReadEntity(packet.NewReader(bytes.NewReader(part)))
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, errors.New("it is cut off or damaged")
	}
	return entity, err
}

// publicPart makes a copy by way of the public export, so that nothing can hold
// on to the private part.
func publicPart(entity *openpgp.Entity) (*openpgp.Entity, error) {
	var buf bytes.Buffer
	if err := entity.Serialize(&buf); err != nil {
		return nil, err
	}
	return readEntity(buf.Bytes())
}
