package uploader

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/heartbeat"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/shard"
	"github.com/chipster/firn/internal/signature"
)

// backup is a backup in the making, of files or of a database.
type backup struct {
	store      objstore.Store
	recipients envelope.Recipients
	sealedFor  string            // the recipients' id, for the list
	signer     *signature.Signer // nil: lists are not signed
	log        *slog.Logger
	now        func() time.Time
	patience   time.Duration // between two attempts to be the only upload

	installation string // what the lists say whose they are; "": nothing
	formerly     string // another name of it, which others may have too
	shard        shard.Shard

	name    backupname.Name
	newest  backupname.Name // the newest complete backup; zero: there is none
	base    backupname.Name // the newest archive; zero: there is none
	resumed *inBucket       // the unfinished backup that this one goes on with; nil: a new one
	lease   *lease
	began   time.Time   // by the bucket's clock
	found   []*inBucket // of the storage, then
	parts   partPool
}

// resumeFor is how old a backup may be that a run goes on with: its name says
// when it began. The archiver keeps unfinished ones for as long.
const resumeFor = 3 * 24 * time.Hour

// maxSkew is how far this host's clock may be from the bucket's, for backups are
// named by it and old ones deleted by their names.
const maxSkew = time.Hour

// begin makes this run the only one of its storage, looks at what the bucket
// has, and names the backup. The context that it returns ends when the run has
// to. Whoever called it calls end.
func (b *backup) begin(ctx context.Context, storage string, resume bool) (_ context.Context, err error) {
	if b.sealedFor, err = b.recipients.ID(); err != nil {
		return nil, err
	}
	session, err := b.recipients.NewSession()
	if err != nil {
		return nil, err // now rather than after an hour of reading
	}
	session.Wipe()
	const attempts = 4
	var bucket []*inBucket
	for n := 1; ; n++ {
		if b.shard.IsZero() {
			b.name, err = backupname.New(storage, b.now())
		} else {
			err = b.meet(ctx, storage)
		}
		if err != nil {
			return nil, err
		}
		bucket, err = b.acquire(ctx)
		if err == nil && b.wasCompleted(bucket) { // by another shard, meanwhile: the next backup is to be begun
			err = errors.Join(fmt.Errorf("%w: %s came meanwhile", ErrLocked, b.name), b.end(ctx))
		}
		if err == nil {
			break
		}
		if !errors.Is(err, ErrLocked) || n == attempts {
			return nil, err
		}
		// Two that came at once have both given way; now they are apart.
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(b.patience/2 + rand.N(b.patience)):
		}
	}
	b.found = bucket
	err = b.choose(bucket, resume)
	if err == nil {
		err = b.takeBack(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, b.end(ctx))
	}
	return b.lease.Keep(ctx, leaseRenewed), nil
}

// acquire writes a lease and looks for those of others.
func (b *backup) acquire(ctx context.Context) (bucket []*inBucket, err error) {
	b.lease = newLease(b.store, b.name, b.shard, b.now())
	if err = b.lease.Beat(ctx); err == nil {
		b.began = b.lease.written
		if bucket, err = look(ctx, b.store, b.name.Storage()); err == nil {
			err = b.alone(ctx, bucket)
		}
	}
	if err == nil {
		if skew := time.Since(b.began); skew.Abs() > maxSkew {
			err = fmt.Errorf("%w: it is %s, and %s by the bucket's; set the clock", ErrClock,
				time.Now().UTC().Format(time.RFC3339), b.began.UTC().Format(time.RFC3339))
		}
	}
	if err != nil {
		return nil, errors.Join(err, b.end(ctx))
	}
	return bucket, nil
}

func (b *backup) alone(ctx context.Context, bucket []*inBucket) error {
	for _, other := range bucket {
		for _, l := range other.leases {
			if l.Key == b.lease.key || b.isFellow(other, l) {
				continue
			}
			who, err := holder(ctx, b.store, l, b.began)
			if err != nil {
				return err
			}
			if who != "" {
				return fmt.Errorf("%w: %s: %s", ErrLocked, b.name.Storage(), who)
			}
			b.log.Info("the lease of an upload that ended without a word is not minded", "lease", l.Key)
		}
	}
	return nil
}

// choose finds what the backup builds on, and whether it goes on with one that
// an earlier run began.
func (b *backup) choose(bucket []*inBucket, resume bool) error {
	var unfinished *inBucket
	for _, other := range bucket {
		if other.committed {
			b.newest = other.name
			unfinished = nil
		} else if other.unfinished() {
			unfinished = other
		}
		if other.archived {
			b.base = other.name
		}
	}
	if !b.newest.IsZero() && backupname.Compare(b.newest, b.name) >= 0 {
		return fmt.Errorf("%w: it is %s, and there is %s; set the clock", ErrClock, b.now().UTC().Format(time.RFC3339), b.newest)
	}
	if !b.shard.IsZero() {
		unfinished = nil
		if i := slices.IndexFunc(bucket, func(other *inBucket) bool { return other.name == b.name }); i >= 0 {
			b.resumed = bucket[i]
		}
	}
	if resume && unfinished != nil {
		if age := b.now().Sub(unfinished.name.Time()); age >= 0 && age < resumeFor {
			b.name, b.resumed = unfinished.name, unfinished
			b.log.Info("an unfinished backup is gone on with", "backup", b.name)
		}
	}
	return nil
}

// publish uploads the list, whose lines have no line feeds yet. kept are the keys
// of the packages, and of lists of packages, that are the backup's. From then on
// the backup exists.
func (b *backup) publish(ctx context.Context, lines iter.Seq2[[]byte, error], kept map[string]bool) error {
	if err := b.confirm(ctx); err != nil {
		return err
	}
	// What cannot be deleted here the archiver deletes after some days.
	tell := func(err error) {
		if err != nil {
			b.log.Log(ctx, levelOf(err), "not all that is of no use any more could be deleted", "storage", b.name.Storage(), "error", err)
		}
	}
	tell(b.sweep(ctx, kept))
	if err := b.putList(ctx, b.key(manifest.BackupInfo), lines); err != nil {
		return err
	}
	tell(b.deletePackageLists(ctx, kept))
	if !b.shard.IsZero() { // nobody's upload to this backup is of use any more
		_, err := b.store.AbortUploads(ctx, b.key(""))
		tell(err)
	}
	return nil
}

// levelOf is Debug where somebody chose that the uploader may not delete.
func levelOf(err error) slog.Level {
	if errors.Is(err, objstore.ErrDenied) {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// confirm makes sure that nobody took this run's place: should it have slept for
// minutes, nobody would know who it is.
func (b *backup) confirm(ctx context.Context) error {
	if err := b.lease.Check(); err != nil {
		return err
	}
	bucket, err := look(ctx, b.store, b.name.Storage())
	if err != nil {
		return err
	}
	for _, other := range bucket {
		if other.committed && backupname.Compare(other.name, b.name) >= 0 {
			return fmt.Errorf("%w: %s came meanwhile", ErrLocked, other.name)
		}
	}
	// Asked for by its key too, should the bucket's lists be late.
	_, err = b.store.Head(ctx, b.key(manifest.BackupInfo))
	switch {
	case err == nil:
		return fmt.Errorf("%w: %s came meanwhile", ErrLocked, b.name)
	case !errors.Is(err, objstore.ErrNotFound):
		return err
	}
	return nil
}

func (b *backup) key(file string) string { return b.name.String() + "/" + file }

// finish ends a run of which err came, and says why it had to end.
func (b *backup) finish(held context.Context, err error) error {
	err = heartbeat.Reason(held, err)
	released := b.end(held)
	if err == nil && released != nil { // the backup is there
		b.log.Warn("the end of the upload could not be told", "backup", b.name, "error", released)
		return nil
	}
	return errors.Join(err, released)
}

// end lets others begin. It works also when ctx has ended.
func (b *backup) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := b.lease.release(ctx); err != nil {
		return fmt.Errorf("cannot tell the bucket that this upload ended, so others may wait for %s: %w", leaseDead, err)
	}
	return nil
}
