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
		if strings.HasPrefix(file, leasePrefix) {
			b.leases = append(b.leases, o)
			continue
		}
		if strings.HasPrefix(file, markPrefix) {
			b.marks = append(b.marks, o)
		}
		if isTakenBack(file, o.Size) {
			continue
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
		if strings.HasSuffix(key, ".tar") {
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
		var rubbish []string
		for _, l := range other.leases {
			who, err := holder(ctx, b.store, l, b.began)
			if err == nil && who == "" {
				rubbish = append(rubbish, l.Key)
			}
			errs = append(errs, err)
		}
		for _, key := range other.keys {
			_, isList := packageOf(key)
			switch {
			case other.committed:
				if isList || isOfShards(key) {
					rubbish = append(rubbish, key) // of a run killed before it deleted them
				}
			case other.name != b.name || !kept[key] && !((isList || isOfShards(key)) && kept[strings.TrimSuffix(key, signature.Suffix)]):
				rubbish = append(rubbish, key)
			}
		}
		if !other.committed {
			_, err := b.store.AbortUploads(ctx, other.name.String()+"/")
			errs = append(errs, err)
		}
		if len(rubbish) > 0 {
			errs = append(errs, b.store.Delete(ctx, rubbish...))
		}
	}
	return errors.Join(errs...)
}

// packageOf is the key of the package that a list is of, or a list's signature.
// All other keys, packages' own too, it returns as they are: their names may hold
// ".list" anywhere.
func packageOf(key string) (pkg string, isList bool) {
	pkg, isList = strings.CutSuffix(strings.TrimSuffix(key, signature.Suffix), ".tar"+packageListSuffix)
	if !isList {
		return key, false
	}
	return pkg + ".tar", true
}

// deletePackageLists deletes what only an unfinished backup needs.
func (b *backup) deletePackageLists(ctx context.Context, kept map[string]bool) error {
	var keys []string
	for key := range kept {
		if _, isList := packageOf(key); isList || isOfShards(key) {
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
