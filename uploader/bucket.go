package uploader

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/signature"
)

// packageListSuffix ends the key of the list of what one package holds, which is
// there until the backup's own list is.
const packageListSuffix = ".list"

// inBucket is what the bucket holds of one backup.
type inBucket struct {
	name      backupname.Name
	committed bool // there is its list
	archived  bool
	keys      []string // of all objects but leases
	leases    []objstore.Object
	marks     []objstore.Object // of those that make it in shards
	written   time.Time         // when something of it was, for the last time
}

// kind is what an object of a backup is.
type kind int

const (
	isOther     kind = iota
	isPackage        // a tar file
	isList           // of what a package holds, or its signature
	isLease          // of an upload that goes on
	isMark           // of a backup that is made in shards
	isShardList      // of the files of one, or its signature
)

// kindOf tells it by the key. A package comes first, and its list: a large file
// gives its package its name, which may be anything.
func kindOf(key string) kind {
	_, file, _ := strings.Cut(key, "/")
	switch {
	case strings.HasSuffix(file, ".tar"):
		return isPackage
	case strings.HasSuffix(strings.TrimSuffix(file, signature.Suffix), ".tar"+packageListSuffix):
		return isList
	case strings.HasPrefix(file, leasePrefix):
		return isLease
	case strings.HasPrefix(file, markPrefix):
		return isMark
	case strings.HasPrefix(file, shardListPrefix):
		return isShardList
	}
	return isOther
}

// isOfUnfinished tells the objects, but for packages and leases, that there are
// only while a backup is made.
func isOfUnfinished(key string) bool {
	switch kindOf(key) {
	case isList, isMark, isShardList:
		return true
	}
	return false
}

// look lists the backups of a storage, oldest first.
func look(ctx context.Context, store objstore.Store, storage string) ([]*inBucket, error) {
	byName := map[backupname.Name]*inBucket{}
	for o, err := range store.List(ctx, storage+"_") {
		if err != nil {
			return nil, fmt.Errorf("list backups: %w", err)
		}
		folder, file, _ := strings.Cut(o.Key, "/")
		name, err := backupname.Parse(folder)
		if err != nil || name.Storage() != storage {
			continue
		}
		b := byName[name]
		if b == nil {
			b = &inBucket{name: name}
			byName[name] = b
		}
		if o.Modified.After(b.written) {
			b.written = o.Modified
		}
		switch kindOf(o.Key) {
		case isLease:
			b.leases = append(b.leases, o)
			continue
		case isMark:
			b.marks = append(b.marks, o)
		case isShardList:
			if o.Size == int64(len(takenBack)) {
				continue
			}
		}
		b.keys = append(b.keys, o.Key)
		b.committed = b.committed || manifest.IsListName(file)
		b.archived = b.archived || slices.Contains(manifest.ArchiveInfoNames, file)
	}
	var all []*inBucket
	for _, b := range byName {
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b *inBucket) int { return backupname.Compare(a.name, b.name) })
	return all, nil
}

// InBucket is what the bucket holds of the backups of a storage or a database.
type InBucket struct {
	Newest   time.Time // when the newest complete backup was begun; zero: there is none
	Archived time.Time // the same of the newest one that an archiver has
	Waiting  int       // complete ones that no archiver has
}

// Look tells what the bucket holds of a storage, or of a database, whose storage
// is called as its backups are. It lists their part of the bucket and reads
// nothing.
func Look(ctx context.Context, store objstore.Store, storage string) (InBucket, error) {
	all, err := look(ctx, store, storage)
	var in InBucket
	for _, b := range all {
		if b.committed {
			in.Newest = b.name.Time()
		}
		if b.archived {
			in.Archived = b.name.Time()
		} else if b.committed {
			in.Waiting++
		}
	}
	return in, err
}

// packages are the keys of the packages, and whether each has a list.
func (b *inBucket) packages() map[string]bool {
	all := map[string]bool{}
	for _, key := range b.keys {
		if kindOf(key) == isPackage {
			all[key] = false
		}
	}
	for _, key := range b.keys {
		pkg, _ := strings.CutSuffix(key, packageListSuffix)
		if _, ok := all[pkg]; ok && pkg != key {
			all[pkg] = true
		}
	}
	return all
}

// unfinished tells that there is something that a later run can go on with.
func (b *inBucket) unfinished() bool {
	for _, hasList := range b.packages() {
		if hasList && !b.committed {
			return true
		}
	}
	return false
}

// sweep deletes what dead uploads of the storage left, before this one's list
// makes its backup exist: from then on nobody would look there. kept are the
// packages of this backup that stay, and lists of packages that it needs until
// then. It takes what was there when this run began: what came since is somebody
// else's.
func (b *backup) sweep(ctx context.Context, kept map[string]bool) error {
	var errs []error
	for _, other := range b.found {
		if !other.committed && other.name != b.name {
			// The bucket's list of objects may lag behind, and its answer does not.
			_, err := b.store.Head(ctx, other.name.String()+"/"+manifest.BackupInfo)
			if !errors.Is(err, objstore.ErrNotFound) {
				errs = append(errs, err)
				continue
			}
		}
		// Another shard may make it from what this one knows nothing of, or is
		// uploading the list right now.
		shared := other.name == b.name && !b.shard.IsZero()
		var rubbish []string
		for _, l := range other.leases {
			who, err := holder(ctx, b.store, l, b.began)
			if err == nil && who == "" {
				rubbish = append(rubbish, l.Key)
			}
			errs = append(errs, err)
		}
		for _, key := range other.keys {
			switch {
			case shared:
			case other.committed:
				if isOfUnfinished(key) {
					rubbish = append(rubbish, key) // of a run killed before it deleted them
				}
			case other.name != b.name || !kept[key] && !(isOfUnfinished(key) && kept[strings.TrimSuffix(key, signature.Suffix)]):
				rubbish = append(rubbish, key)
			}
		}
		if !other.committed && !shared {
			_, err := b.store.AbortUploads(ctx, other.name.String()+"/")
			errs = append(errs, err)
		}
		if len(rubbish) > 0 {
			errs = append(errs, b.store.Delete(ctx, rubbish...))
		}
	}
	return errors.Join(errs...)
}

// deletePackageLists deletes what only an unfinished backup needs.
func (b *backup) deletePackageLists(ctx context.Context, kept map[string]bool) error {
	var keys []string
	for key := range kept {
		if isOfUnfinished(key) {
			keys = append(keys, key)
			if b.signer != nil {
				keys = append(keys, key+signature.Suffix)
			}
		}
	}
	if len(keys) == 0 {
		return nil
	}
	return b.store.Delete(ctx, keys...)
}
