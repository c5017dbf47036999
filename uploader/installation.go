package uploader

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/objstore"
)

// ErrOtherInstallation says that the backups of this name in the bucket are those
// of another installation, which must not be mixed with this one's.
var ErrOtherInstallation = errors.New("another installation backs up under this name")

// refuseOthers makes sure that the newest backup, and the archive that this one
// builds on, are this installation's.
func (b *backup) refuseOthers(ctx context.Context) error {
	for _, other := range b.found {
		if other.name != b.newest && other.name != b.base {
			continue
		}
		id, err := b.installationOf(ctx, other)
		if err == nil {
			err = b.checkInstallation(id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// installationOf is what the first line of a backup's list says. Lists of the
// original's, of older versions of firn, and damaged ones say nothing.
func (b *backup) installationOf(ctx context.Context, other *inBucket) (string, error) {
	for _, name := range slices.Concat(manifest.BackupInfoNames, manifest.ArchiveInfoNames) {
		key := other.name.String() + "/" + name
		if !slices.Contains(other.keys, key) {
			continue
		}
		body, err := b.store.Get(ctx, key, 0, -1)
		if errors.Is(err, objstore.ErrNotFound) {
			continue // an archiver was faster
		}
		if err != nil {
			return "", err
		}
		defer body.Close()
		for e, err := range manifest.Read(body) {
			if errors.Is(err, manifest.ErrInvalid) || errors.Is(err, manifest.ErrTruncated) {
				return "", nil
			}
			return e.Installation, err
		}
		return "", nil
	}
	return "", nil
}

// checkInstallation refuses a list of another installation.
func (b *backup) checkInstallation(id string) error {
	if id == "" || b.installation == "" || id == b.installation || id == b.formerly {
		return nil
	}
	return fmt.Errorf("%w: the bucket holds backups of %s by the installation %s, and this is %s: give one of them another name; "+
		"or, if this is the same one on a new disk or server, say --installation %s (or backup-installation in the configuration)",
		ErrOtherInstallation, b.name.Storage(), id, b.installation, id)
}

// installation tells the storage's folder from those of other installations, and
// says nothing else of it: by its inode number and when it was made, which stay as
// they are when the system is started anew, updated, or mounts it elsewhere.
// formerly is what it was called where the system could not tell the latter.
func (s *storage) installation() (id, formerly string, err error) {
	var stat unix.Statx_t
	err = retry(func() error {
		return unix.Statx(int(s.root.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_BTIME, &stat)
	})
	if err != nil { // an old kernel, or a container that does not let it through
		var old unix.Stat_t
		if err := retry(func() error { return unix.Fstat(int(s.root.Fd()), &old) }); err != nil {
			return "", "", fmt.Errorf("storage: %w", err)
		}
		stat = unix.Statx_t{Ino: old.Ino}
	}
	inode := fmt.Sprint("inode ", stat.Ino)
	if stat.Mask&unix.STATX_BTIME == 0 {
		return hashed(inode), "", nil
	}
	return hashed(fmt.Sprintf("%s of %d.%09d", inode, stat.Btime.Sec, stat.Btime.Nsec)), hashed(inode), nil
}

func hashed(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s)))[:16] }
