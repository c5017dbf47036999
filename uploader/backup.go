package uploader

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/objstore"
)

// backup is a backup in the making, of files or of a database.
type backup struct {
	store      objstore.Store
	recipients envelope.Recipients
	sealedFor  string // the recipients' id, for the list
	log        *slog.Logger
	name       backupname.Name
	base       backupname.Name // the newest archive; zero: there is none
	parts      partPool
}

// begin names the backup of a storage, and looks at what the bucket has.
func (b *backup) begin(ctx context.Context, storage string, now time.Time) (err error) {
	if b.sealedFor, err = b.recipients.ID(); err != nil {
		return err
	}
	session, err := b.recipients.NewSession()
	if err != nil {
		return err // now rather than after an hour of reading
	}
	session.Wipe()
	if b.name, err = backupname.New(storage, now); err != nil {
		return err
	}
	newest := backupname.Name{}
	for object, err := range b.store.List(ctx, storage+"_") {
		if err != nil {
			return fmt.Errorf("list backups: %w", err)
		}
		folder, file, _ := strings.Cut(object.Key, "/")
		name, err := backupname.Parse(folder)
		if err != nil || name.Storage() != storage {
			continue
		}
		if manifest.IsListName(file) && (newest.IsZero() || backupname.Compare(name, newest) > 0) {
			newest = name
		}
		if slices.Contains(manifest.ArchiveInfoNames, file) && (b.base.IsZero() || backupname.Compare(name, b.base) > 0) {
			b.base = name
		}
	}
	if !newest.IsZero() && backupname.Compare(newest, b.name) >= 0 {
		return fmt.Errorf("%w: it is %s, and there is %s; set the clock", ErrClock, now.UTC().Format(time.RFC3339), newest)
	}
	return nil
}

// publish uploads the list. From then on the backup exists.
func (b *backup) publish(ctx context.Context, entries []manifest.Entry) error {
	slices.SortFunc(entries, func(a, b manifest.Entry) int { return strings.Compare(a.Path, b.Path) })
	pipe, out := io.Pipe()
	go func() {
		w := manifest.NewWriter(out)
		for i := range entries {
			if err := w.Write(&entries[i]); err != nil {
				out.CloseWithError(err)
				return
			}
		}
		out.CloseWithError(w.Flush())
	}()
	_, err := objstore.WriteStream(ctx, b.store, b.key(manifest.BackupInfo), pipe, defaultPartSize)
	pipe.CloseWithError(err)
	if err != nil {
		return fmt.Errorf("upload the list: %w", err)
	}
	return nil
}

func (b *backup) key(file string) string { return b.name.String() + "/" + file }

// discard removes what a failed run has uploaded: the list first, should it have
// arrived though the bucket did not say so, since with it the backup exists.
// What cannot be removed the archiver removes after some days.
func (b *backup) discard(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	err := b.store.Delete(ctx, b.key(manifest.BackupInfo))
	var packages []string
	for object, lerr := range b.store.List(ctx, b.name.String()+"/") {
		err = errors.Join(err, lerr)
		packages = append(packages, object.Key)
	}
	if err == nil {
		err = b.store.Delete(ctx, packages...)
	}
	if err != nil {
		b.log.Warn("packages of the failed backup are left behind", "backup", b.name, "error", err)
	}
}
