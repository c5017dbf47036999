// Package backupname reads and makes the names of backups and archives:
// "<storage>_<instant>", as in "file-storage_2019-05-08T09:26:17.038Z".
//
// It promises that a parsed name prints exactly as it was found, and that
// names sort by the instant they stand for, never by their text: as text,
// "17.038Z" sorts before "17Z".
//
// It knows nothing of what a backup holds.
package backupname

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ErrInvalid says that a text is not the name of a backup.
var ErrInvalid = errors.New("not a backup name")

// Name is the name of one backup. The zero value is no name. Names are
// comparable with ==: equal names have the same text.
type Name struct {
	text    string
	storage int   // length of the part before the "_"
	sec     int64 // the instant, in Unix seconds and nanoseconds
	nsec    int32
}

// New names a backup of a storage at a time, which is cut to milliseconds in
// UTC: the form that firn writes.
func New(storage string, at time.Time) (Name, error) {
	if err := CheckStorage(storage); err != nil { // Parse would end it at a "_"
		return Name{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return Parse(storage + "_" + at.UTC().Format("2006-01-02T15:04:05.000Z"))
}

// Parse reads a name. The storage ends at the first "_"; the instant is as
// Java's Instant prints it: UTC with no, 3, 6 or 9 decimals.
func Parse(text string) (Name, error) {
	if len(text) > maxName { // not shown as a whole: it may be of any length
		return Name{}, fmt.Errorf("%w: %q… is longer than %d bytes", ErrInvalid, text[:50], maxName)
	}
	storage, instant, found := strings.Cut(text, "_")
	if !found {
		return Name{}, fmt.Errorf("%w: %q has no \"_\"", ErrInvalid, text)
	}
	if err := CheckStorage(storage); err != nil {
		return Name{}, fmt.Errorf("%w: %q: %w", ErrInvalid, text, err)
	}
	at, err := parseInstant(instant)
	if err != nil {
		return Name{}, fmt.Errorf("%w: %q: %w", ErrInvalid, text, err)
	}
	return Name{text: text, storage: len(storage), sec: at.Unix(), nsec: int32(at.Nanosecond())}, nil
}

// MaxStorage is the greatest length of a storage's name in bytes, so that a
// name is a file name on every file system.
const MaxStorage = 200

// maxName is the length of the longest name.
const maxName = MaxStorage + len("_2006-01-02T15:04:05.000000000Z")

// CheckStorage says why a text cannot be the name of a storage, or nil.
func CheckStorage(s string) error {
	switch {
	case s == "":
		return errors.New("the name of the storage is empty")
	case len(s) > MaxStorage:
		return fmt.Errorf("the name of the storage is longer than %d bytes", MaxStorage)
	case s[0] == '.':
		return errors.New("the name of the storage begins with a dot")
	case !utf8.ValidString(s):
		return errors.New("the name of the storage is not UTF-8")
	}
	for _, r := range s {
		if r == '/' || r == '\\' || r == '_' || unicode.IsControl(r) {
			return fmt.Errorf("the name of the storage holds %q", r)
		}
	}
	return nil
}

func parseInstant(s string) (time.Time, error) {
	bad := fmt.Errorf("%q is not an instant such as 2019-05-08T09:26:17.038Z", s)
	// time.Parse accepts any number of decimals, and a comma before them.
	switch len(s) - len("2006-01-02T15:04:05Z") {
	case 0:
	case 4, 7, 10:
		if s[19] != '.' {
			return time.Time{}, bad
		}
	default:
		return time.Time{}, bad
	}
	at, err := time.Parse("2006-01-02T15:04:05Z", s)
	if err != nil {
		return time.Time{}, bad
	}
	return at, nil
}

// String is the name as it was found.
func (n Name) String() string { return n.text }

// Storage is what was backed up: the part before the first "_".
func (n Name) Storage() string { return n.text[:n.storage] }

// TimeText is the instant as it was found.
func (n Name) TimeText() string {
	if n.IsZero() {
		return ""
	}
	return n.text[n.storage+1:]
}

// Time is the instant, in UTC.
func (n Name) Time() time.Time { return time.Unix(n.sec, int64(n.nsec)).UTC() }

// IsZero tells that n names nothing.
func (n Name) IsZero() bool { return n.text == "" }

// databaseSuffix ends the names of databases' storages.
const databaseSuffix = "-db-backup"

// DatabaseStorage is the storage of the database with a role, such as
// session-db.
func DatabaseStorage(role string) string { return role + databaseSuffix }

// IsDatabase tells that the name is one of a database's dumps, each of which
// stands for itself, and not of a chain of files.
func (n Name) IsDatabase() bool { return strings.HasSuffix(n.Storage(), databaseSuffix) }

// Compare orders by storage, then by instant, and by text only where two
// spellings stand for one instant.
func Compare(a, b Name) int {
	return cmp.Or(
		cmp.Compare(a.Storage(), b.Storage()),
		cmp.Compare(a.sec, b.sec),
		cmp.Compare(a.nsec, b.nsec),
		cmp.Compare(a.text, b.text))
}
