package uploader

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/shard"
	"github.com/chipster/firn/internal/signature"
)

// A backup can be made in shards: by several runs, side by side or one after the
// other, each of which takes the files that are its own. They work on one backup,
// whose name the first one chooses; it leaves a mark, which says of how many shards
// the backup will be. Each ends with a list of its files, and whoever finds the
// lists of all there makes the backup's of them. Two may find that at once: each
// writes a whole list, of packages that are all there, for no shard deletes what is
// in the backup.

const (
	markPrefix      = "shards-" // and how many there are: the last part of a mark's key
	shardListPrefix = "shard-"
)

func markOf(count int) string { return fmt.Sprintf("%s%d", markPrefix, count) }

func shardListOf(s shard.Shard) string {
	return fmt.Sprintf("%s%d-of-%d.list", shardListPrefix, s.Index, s.Count)
}

// shardTag tells the leases and packages of a backup's shards apart.
func shardTag(s shard.Shard) string {
	if s.IsZero() {
		return ""
	}
	return fmt.Sprintf("%dof%d-", s.Index, s.Count)
}

// isFellow tells that a lease is another shard's of the same backup.
func (b *backup) isFellow(other *inBucket, l objstore.Object) bool {
	if b.shard.IsZero() || other.name != b.name {
		return false
	}
	_, tag, _ := strings.Cut(l.Key, "/"+leasePrefix)
	tag, _, tagged := strings.Cut(tag, "-")
	index, count, ok := strings.Cut(tag, "of")
	s, err := shard.Parse(index + "/" + count)
	return tagged && ok && err == nil && s.Count == b.shard.Count && s.Index != b.shard.Index
}

// wasCompleted tells that the backup that shards make is there by now.
func (b *backup) wasCompleted(bucket []*inBucket) bool {
	return !b.shard.IsZero() && slices.ContainsFunc(bucket, func(other *inBucket) bool { return other.name == b.name && other.committed })
}

// isOtherShards tells that a list of packages is another shard's, which has no
// file of this one's.
func (b *backup) isOtherShards(key string) bool {
	return !b.shard.IsZero() && !strings.Contains(key, "_"+shardTag(b.shard))
}

// meet chooses the backup that all shards make: the one that was marked first,
// which is a new one where there is none.
func (b *backup) meet(ctx context.Context, storage string) (err error) {
	seen, err := b.marked(ctx, storage)
	if err != nil {
		return err
	}
	var own backupname.Name
	var mark string
	if seen.IsZero() {
		if own, err = backupname.New(storage, b.now()); err != nil {
			return err
		}
		mark = own.String() + "/" + markOf(b.shard.Count)
		if err := b.store.Put(ctx, mark, fmt.Appendf(nil, "%d shards\n", b.shard.Count)); err != nil {
			return err
		}
	}
	// By then all that came at the same moment have written theirs: the bucket
	// tells times to the second. Who finds a mark waits as well, for one that was
	// just written may still give way to another.
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(b.patience):
	}
	if b.name, err = b.marked(ctx, storage); err != nil || own.IsZero() && !b.name.IsZero() {
		return err
	}
	if own.IsZero() {
		return b.meet(ctx, storage) // what was seen is gone
	}
	if b.name.IsZero() { // this host's clock is wrong, which choose tells
		b.name = own
	}
	if b.name == own {
		return nil
	}
	err = b.store.Delete(ctx, mark)
	if errors.Is(err, objstore.ErrDenied) {
		err = b.store.Put(ctx, mark, nil) // an empty one counts as none
	}
	return err
}

// idleFor is how long nothing may have been written to a backup that a shard goes on
// with: less than from one night to the next. Else a shard that ran once too often
// would begin the next night's backup, and all nights after that would be made of
// one shard's files and of another's from the night before.
const idleFor = 12 * time.Hour

// marked finds the backup that shards make, if there is one: a later run can go on
// with it.
func (b *backup) marked(ctx context.Context, storage string) (name backupname.Name, err error) {
	bucket, err := look(ctx, b.store, storage)
	var newest backupname.Name
	for _, other := range bucket { // oldest first
		if other.committed {
			newest = other.name
		}
	}
	var first objstore.Object
	for _, other := range bucket {
		if other.committed || !newest.IsZero() && backupname.Compare(other.name, newest) <= 0 {
			continue
		}
		if age := b.now().Sub(other.name.Time()); age < -maxSkew || age >= resumeFor || time.Since(other.written) > idleFor {
			continue
		}
		for _, mark := range other.marks {
			earlier := cmp.Or(mark.Modified.Compare(first.Modified), strings.Compare(mark.Key, first.Key)) < 0
			if mark.Size > 0 && strings.HasSuffix(mark.Key, "/"+markOf(b.shard.Count)) && (name.IsZero() || earlier) {
				name, first = other.name, mark
			}
		}
	}
	return name, err
}

// publishShard uploads the list of this shard, and the backup's where it is the
// last one.
func (r *run) publishShard(ctx context.Context) error {
	err := r.confirm(ctx)
	if err == nil {
		err = r.putList(ctx, r.key(shardListOf(r.shard)), linesOf(r.list.All()))
	}
	if err != nil {
		return err
	}
	if err = r.join(ctx); err == nil {
		return nil
	}
	// Another shard may have been faster with the last step.
	if _, headErr := r.store.Head(ctx, r.key(manifest.BackupInfo)); headErr != nil {
		return err
	}
	r.log.Info("another shard completed the backup", "backup", r.name, "shard", r.shard)
	return nil
}

// join makes the backup's list where those of all shards are there.
func (r *run) join(ctx context.Context) error {
	bucket, err := look(ctx, r.store, r.name.Storage())
	if err != nil {
		return err
	}
	var keys []string
	for _, other := range bucket {
		if other.name == r.name {
			keys = other.keys
		}
	}
	all := newList()
	defer all.Close()
	var waiting []string
	for n := range r.shard.Count {
		s := shard.Shard{Index: n + 1, Count: r.shard.Count}
		key := r.key(shardListOf(s))
		if slices.Contains(keys, key) {
			continue
		}
		there, err := r.isDone(ctx, key)
		if err != nil {
			return err
		}
		if !there {
			waiting = append(waiting, s.String())
		}
	}
	if len(waiting) > 0 {
		return r.waitFor(ctx, waiting)
	}
	for n := range r.shard.Count {
		s := shard.Shard{Index: n + 1, Count: r.shard.Count}
		key := r.key(shardListOf(s))
		err := r.readVerified(ctx, key, func(in io.Reader) error { return r.joinLines(all, in) })
		if errors.Is(err, objstore.ErrNotFound) {
			if there, headErr := r.isDone(ctx, key); headErr == nil && !there {
				return r.waitFor(ctx, []string{s.String()}) // it has begun again
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	for _, key := range keys {
		if isOfUnfinished(key) && !strings.HasSuffix(key, signature.Suffix) {
			all.keys[key] = true
		}
	}
	r.found = bucket // what the others brought is known from now on
	if err := r.publish(ctx, linesOf(all.All()), all.keys); err != nil {
		return err
	}
	r.log.Info("all shards are done", "backup", r.name, "files", all.Len())
	return nil
}

// isDone tells whether a shard's list is there: the bucket's list of objects may lag
// behind, and its answer does not.
func (b *backup) isDone(ctx context.Context, key string) (bool, error) {
	o, err := b.store.Head(ctx, key)
	if errors.Is(err, objstore.ErrNotFound) {
		return false, nil
	}
	return err == nil && o.Size != int64(len(takenBack)), err
}

// waitFor leaves the last step to another shard. Where one has done it meanwhile,
// that is an error, which publishShard knows.
func (r *run) waitFor(ctx context.Context, shards []string) error {
	if _, err := r.store.Head(ctx, r.key(manifest.BackupInfo)); err == nil {
		return fmt.Errorf("%w: %s came meanwhile", ErrLocked, r.name)
	}
	r.report.Waiting = shards
	r.log.Info("this shard is done", "backup", r.name, "shard", r.shard, "waiting for", shards)
	return nil
}

// takeBack takes away the list that an earlier run of this shard left: until this
// one has looked at the files again, nobody is to make a backup of it.
func (b *backup) takeBack(ctx context.Context) error {
	key := b.key(shardListOf(b.shard))
	if b.shard.IsZero() || b.resumed == nil {
		return nil
	}
	err := b.store.Delete(ctx, key)
	if errors.Is(err, objstore.ErrDenied) {
		err = b.store.Put(ctx, key, []byte(takenBack))
	}
	return err
}

// takenBack stands in the place of a shard's list that could not be deleted. No
// list is that short, but for empty ones.
const takenBack = "\n"

// joinLines adds the lines of a shard's list to the backup's.
func (r *run) joinLines(all *list, in io.Reader) (err error) {
	for e, err := range manifest.Read(in) {
		if err == nil {
			err = r.checkInstallation(e.Installation)
		}
		if err != nil {
			return err
		}
		if e.Backup == r.name {
			all.keys[r.key(e.Package)] = true
		}
		if r.record, err = appendEntry(r.record[:0], &e, nil); err != nil {
			return err
		}
		if err := all.Add(r.record); err != nil {
			return err
		}
	}
	return nil
}
