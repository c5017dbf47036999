// Package envelope makes and opens sealed files: an lz4 frame inside one
// OpenPGP message, as `lz4 | gpg --encrypt` makes them and
// `gpg --decrypt | lz4 -d` opens them; or the lz4 frame alone where nothing is
// encrypted.
//
// It promises that a sealed file is read back whole or with an error: the last
// block of a file is not handed out before the message's modification
// detection code and the frame's checksum have been verified. ErrDamaged says
// that bytes have changed, ErrKey that no key fits.
//
// It does not say who sealed a file: a public key can be anybody's.
package envelope

import (
	"errors"
	"strings"

	"github.com/chipster/firn/internal/manifest"
)

var (
	// ErrDamaged says that a sealed file is cut short, changed, or none at all.
	ErrDamaged = errors.New("sealed file is damaged")
	// ErrKey says that none of the keys and passphrases opens the sealed file.
	ErrKey = errors.New("no key opens the sealed file")
	// ErrUnsupported says that a sealed file was made in a way that this
	// program does not read.
	ErrUnsupported = errors.New("unsupported kind of sealed file")
)

// Suffixes of sealed files' names.
const (
	SuffixEncrypted = ".lz4.gpg"
	SuffixPlain     = ".lz4"
)

// IsEncrypted tells from a sealed file's name whether it is encrypted.
func IsEncrypted(sealedPath string) bool { return strings.HasSuffix(sealedPath, ".gpg") }

// Sums are the lengths in bytes and the hashes of a plain file and of the
// sealed file made of it.
type Sums struct {
	Size         int64
	SHA512       manifest.Hash
	SealedSize   int64
	SealedSHA512 manifest.Hash
	Blocks       string // text of the sealed file's BlockTable; "" for a file of one block
}
