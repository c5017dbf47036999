package keys

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
)

// base64Columns is the line length of base64(1).
const base64Columns = 76

// ExportPublic writes the public part as an armored block: the form of
// backup-gpg-public-key.
func ExportPublic(w io.Writer, entity *openpgp.Entity) error {
	var text bytes.Buffer
	block, err := armor.Encode(&text, openpgp.PublicKeyType, nil)
	if err != nil {
		return err
	}
	if err := entity.Serialize(block); err != nil {
		return fmt.Errorf("export key %s: %w", name(entity), err)
	}
	if err := block.Close(); err != nil {
		return err
	}
	text.WriteByte('\n')
	_, err = w.Write(text.Bytes())
	return err
}

// ExportPrivate writes the whole key as base64 of the binary form, what
// `gpg --export-secret-keys | base64` prints. It is protected as the entity is:
// by the passphrase of [Generate], or as it was read by [Parse]; what
// [ParsePrivate] unlocked is written unprotected. ErrNoKey means that the private
// part is missing.
func ExportPrivate(w io.Writer, entity *openpgp.Entity) error {
	if entity.PrivateKey == nil {
		return fmt.Errorf("%w with a private part: key %s is a public key", ErrNoKey, name(entity))
	}
	for _, subkey := range entity.Subkeys {
		if subkey.PrivateKey == nil {
			return fmt.Errorf("%w with a private part: key %s lacks that of subkey %s",
				ErrNoKey, name(entity), subkey.PublicKey.KeyIdString())
		}
	}
	var binary bytes.Buffer
	// New signatures would need the private part unlocked, and the old ones are good.
	if err := entity.SerializePrivateWithoutSigning(&binary, nil); err != nil {
		return fmt.Errorf("export private key %s: %w", name(entity), err)
	}
	return writeBase64(w, binary.Bytes())
}

func writeBase64(w io.Writer, data []byte) error {
	text := base64.StdEncoding.EncodeToString(data)
	var lines bytes.Buffer
	for len(text) > 0 {
		n := min(base64Columns, len(text))
		lines.WriteString(text[:n])
		lines.WriteByte('\n')
		text = text[n:]
	}
	_, err := w.Write(lines.Bytes())
	return err
}
