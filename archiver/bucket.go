package archiver

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/signature"
)

// backup is what the bucket holds of one backup.
type backup struct {
	name        backupname.Name
	backupInfo  objstore.Object // the commit mark; Key is empty where there is none
	signature   string          // key of the list's signature, "" where there is none
	archiveInfo []string        // keys, in either spelling
	packages    []objstore.Object
	rest        []string // all other keys
	bytes       int64    // of all objects
}

func (b *backup) committed() bool { return b.backupInfo.Key != "" }
func (b *backup) archived() bool  { return len(b.archiveInfo) > 0 }
func (b *backup) waiting() bool   { return b.committed() && !b.archived() }

// packageName is the last part of a package's key.
func packageName(key string) string { return key[strings.LastIndexByte(key, '/')+1:] }

// listBucket groups the bucket's objects into backups, by storage and oldest
// first. Objects that belong to no backup are ignored.
func listBucket(ctx context.Context, store objstore.Store) (map[string][]*backup, error) {
	byName := map[string]*backup{}
	for o, err := range store.List(ctx, "") {
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", store, err)
		}
		first, rest, _ := strings.Cut(o.Key, "/")
		b := byName[first]
		if b == nil {
			name, err := backupname.Parse(first)
			if err != nil {
				continue
			}
			b = &backup{name: name}
			byName[first] = b
		}
		b.add(o, rest)
	}
	storages := map[string][]*backup{}
	for _, b := range byName {
		storages[b.name.Storage()] = append(storages[b.name.Storage()], b)
	}
	for _, backups := range storages {
		slices.SortFunc(backups, func(a, b *backup) int { return backupname.Compare(a.name, b.name) })
	}
	return storages, nil
}

func (b *backup) add(o objstore.Object, rest string) {
	b.bytes += o.Size
	switch {
	case slices.Contains(manifest.ArchiveInfoNames, rest):
		b.archiveInfo = append(b.archiveInfo, o.Key)
	case rest == manifest.BackupInfo, rest == manifest.BackupInfoNames[1] && !b.committed():
		if b.committed() { // the other spelling came first
			b.rest = append(b.rest, b.backupInfo.Key)
		}
		b.backupInfo = o
	case strings.HasSuffix(rest, ".tar"):
		b.packages = append(b.packages, o)
	case rest == manifest.BackupInfo+signature.Suffix:
		b.signature = o.Key
		b.rest = append(b.rest, o.Key)
	default:
		b.rest = append(b.rest, o.Key)
	}
}

// delete removes all of the backup. The order keeps a run killed in the middle
// from leaving what looks like a backup that nobody archived.
func (b *backup) delete(ctx context.Context, store objstore.Store, step func(string)) error {
	if !b.committed() {
		// What was killed may have left the parts of an object.
		step("abort the uploads of " + b.name.String())
		if _, err := store.AbortUploads(ctx, b.name.String()+"/"); err != nil {
			return fmt.Errorf("deleting %s from the bucket: %w", b.name, err)
		}
	}
	data := b.rest
	for _, p := range b.packages {
		data = append(data, p.Key)
	}
	var commit []string
	if b.committed() {
		commit = append(commit, b.backupInfo.Key)
	}
	for _, keys := range [][]string{data, commit, b.archiveInfo} {
		if len(keys) == 0 {
			continue
		}
		step("delete " + keys[0])
		if err := store.Delete(ctx, keys...); err != nil {
			return fmt.Errorf("deleting %s from the bucket: %w", b.name, err)
		}
	}
	return nil
}
