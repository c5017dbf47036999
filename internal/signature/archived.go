package signature

import (
	"fmt"
	"io"
	"iter"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
)

// Archived yields the lines of the archive's list of a version after it made
// sure that each of them is in the backup's list, in the same order, equal but
// for the backup that holds the sealed file: that is the version itself. The
// archive's list may leave lines out.
//
// That the backup's list is the one that was signed shows only in its last byte:
// the consumer must not act before the iteration ended without an error. It
// reads both lists once, side by side, and keeps no line. Errors are ErrUntrusted,
// those of package manifest for lists that are none, and those of reading.
func (t Trusted) Archived(name backupname.Name, archive, backup io.Reader, sig []byte) iter.Seq2[manifest.Entry, error] {
	return func(yield func(manifest.Entry, error) bool) {
		err := t.archived(name, archive, backup, sig, func(e manifest.Entry) bool { return yield(e, nil) })
		if err != nil {
			yield(manifest.Entry{}, err)
		}
	}
}

// archived has no error to tell when the consumer has had enough.
func (t Trusted) archived(name backupname.Name, archive, backup io.Reader, sig []byte, yield func(manifest.Entry) bool) error {
	v, err := t.prepare(name.String()+"/"+manifest.BackupInfo, sig)
	if err != nil {
		return err
	}
	next, stop := iter.Pull2(ownLines(name, archive))
	defer stop()
	line, err, more := next()
	// All lines, even after the archive's last one: the signature is over all bytes.
	for signed, invalid := range manifest.Read(io.TeeReader(backup, v)) {
		if err != nil {
			return err
		}
		if invalid != nil {
			return fmt.Errorf("%s: %w", v.object, invalid)
		}
		if signed.Backup.Time().After(name.Time()) {
			return untrusted(v.object, fmt.Sprintf("line for %q names a newer backup, %s", signed.Path, signed.Backup))
		}
		if !more || !line.SameFile(&signed) {
			continue
		}
		if !yield(line) {
			return nil
		}
		line, err, more = next()
	}
	if err != nil {
		return err
	}
	if _, err := v.finish(); err != nil {
		return err
	}
	if more {
		return untrusted(name.String()+"/"+manifest.ArchiveInfo, fmt.Sprintf("line for %q is not in the signed list", line.Path))
	}
	return nil
}

// ownLines reads the archive's list of a version, which holds all that it names.
func ownLines(name backupname.Name, archive io.Reader) iter.Seq2[manifest.Entry, error] {
	return func(yield func(manifest.Entry, error) bool) {
		object := name.String() + "/" + manifest.ArchiveInfo
		for e, err := range manifest.Read(archive) {
			if err != nil {
				err = fmt.Errorf("%s: %w", object, err)
			} else if e.Backup != name {
				err = untrusted(object, fmt.Sprintf("line for %q names another backup, %s", e.Path, e.Backup))
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}
