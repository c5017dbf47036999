// Package manifest reads and writes the lists of a backup's and an archive's
// files, "backup-info" and "archive-info". docs/formats.md is their
// specification.
//
// It promises that whatever path a file had comes back byte for byte, that a
// list cut short or damaged is an error and never a shorter list, and that
// what it does not understand in the extra columns survives being read and
// written.
//
// It streams: memory does not grow with the number of lines. It does not sort,
// and it does not notice when two lines name the same path.
package manifest

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/chipster/firn/internal/backupname"
)

// BackupInfo and ArchiveInfo are the last parts of the keys of a backup's
// lists: what was backed up, written last of all, and what was archived.
const (
	BackupInfo  = "backup-info"
	ArchiveInfo = "archive-info"
)

// BackupInfoNames and ArchiveInfoNames are what the lists may be called: as the
// original's software writes them, which is the one to write, and as its
// documentation spells them. They must not be changed.
var (
	BackupInfoNames  = []string{BackupInfo, "backup_info"}
	ArchiveInfoNames = []string{ArchiveInfo, "archive_info"}
)

var (
	// ErrInvalid says that a line is none of a manifest.
	ErrInvalid = errors.New("invalid manifest")
	// ErrTruncated says that a manifest ends in the middle of a line.
	ErrTruncated = errors.New("manifest is cut short")
)

// Hash is a SHA-512.
type Hash [64]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText writes the hash as 128 hexadecimal digits.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// ParseHash reads 128 lowercase hexadecimal digits.
func ParseHash(s string) (h Hash, err error) {
	if len(s) != 2*len(h) {
		return h, fmt.Errorf("%d characters are no SHA-512", len(s))
	}
	for i := range h {
		hi, lo := digits[s[2*i]], digits[s[2*i+1]]
		if hi|lo > 15 {
			return h, fmt.Errorf("%q is no lowercase hexadecimal number", s[2*i:2*i+2])
		}
		h[i] = hi<<4 | lo
	}
	return h, nil
}

// digits is unhex of each byte: a list of a million files has a quarter of a
// billion digits.
var digits = func() (all [256]byte) {
	for c := range all {
		all[c] = unhex(byte(c))
	}
	return all
}()

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

// Entry is one file of one version: a line of a manifest.
type Entry struct {
	Path   string // below the storage, "/" between its parts, any bytes but NUL
	Size   int64  // bytes of the plain file
	SHA512 Hash   // of the plain file

	SealedPath   string          // below the folder of the backup or archive
	SealedSize   int64           // bytes of the sealed file
	SealedSHA512 Hash            // of the sealed file
	Backup       backupname.Name // the backup or archive that holds the sealed file

	// Installation tells whose list this is, not something of the file: it is on
	// one line of a list, the first. See CheckInstallation.
	Installation string

	Details
}

// maxInstallation is the greatest length of an installation's name in bytes.
const maxInstallation = 100

// CheckInstallation says why a text cannot be what an installation is known by,
// or nil. "" is none.
func CheckInstallation(s string) error {
	if len(s) > maxInstallation {
		return fmt.Errorf("the installation is longer than %d bytes", maxInstallation)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }) {
		return fmt.Errorf("the installation %s holds spaces or what cannot be printed", quote(s))
	}
	return nil
}

// Details are the extra columns, which the original system does not have. Any
// of them may be missing.
type Details struct {
	Modified time.Time   // zero where not recorded
	Mode     fs.FileMode // permission bits with setuid, setgid and sticky; only where HasMode
	HasMode  bool
	Package  string   // the package that brought the sealed file: last part of its key
	Offset   int64    // of the sealed file in the package; only where Package is set
	Key      string   // for whom it is sealed, see envelope.Recipients.ID
	Blocks   string   // where the sealed file's blocks are, and their hashes, see envelope.BlockTable
	Rows     Rows     // of the tables in a database's dump; nil where not recorded
	Other    []string // fields of other programs, as found
}

// Rows are how many rows each table had when a database was dumped: schema,
// table, rows.
type Rows = map[string]map[string]int64

// SameFile tells that two entries stand for the same sealed file with the same
// details, wherever it lies.
func (e *Entry) SameFile(o *Entry) bool {
	return e.Path == o.Path && e.Size == o.Size && e.SHA512 == o.SHA512 &&
		e.SealedPath == o.SealedPath && e.SealedSize == o.SealedSize && e.SealedSHA512 == o.SealedSHA512 &&
		e.ExtraColumns() == o.ExtraColumns()
}
