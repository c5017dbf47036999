package archiver

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/objstore"
)

// unlist takes files off the list of a storage's newest version, and returns
// those that were on it.
func (r *repair) unlist(ctx context.Context, storage string, gone map[sealedID]bool) (unlisted map[sealedID]bool, err error) {
	versions, err := r.disk.versions(r.local[storage])
	if err != nil || len(versions) == 0 || len(gone) == 0 {
		return nil, err
	}
	newest := versions[len(versions)-1]
	list, err := r.disk.listOf(newest)
	if err != nil || newest.IsDatabase() {
		return nil, err
	}
	unlisted = map[sealedID]bool{}
	var paths []string
	err = r.eachLine(list, func(e *manifest.Entry) error {
		if id := (sealedID{e.SealedPath, e.SealedSHA512}); gone[id] {
			unlisted[id] = true
			paths = append(paths, e.Path)
		}
		return ctx.Err()
	})
	if err != nil || len(unlisted) == 0 {
		return nil, err
	}
	key, notTold := r.bucketList(newest)
	if !r.DryRun {
		if err := r.replaceList(ctx, newest, list, key, unlisted); err != nil {
			return nil, err
		}
	}
	if notTold != "" {
		r.report.NotTold = append(r.report.NotTold, notTold)
		r.Logger.Warn("the bucket is not told", "reason", notTold)
	}
	r.report.Unlisted = append(r.report.Unlisted, paths...)
	r.Logger.Info("files taken off the newest list", "version", newest.String(), "files", len(paths), "dryRun", r.DryRun)
	return unlisted, nil
}

// bucketList is the key of a version's list in the bucket, or why there is none.
// Without it the next backup takes the files for archived, this archive misses
// them, and the backup after that brings them.
func (r *repair) bucketList(version backupname.Name) (key, notTold string) {
	const later = "the files come again a backup later than they could"
	if r.Store == nil {
		return "", fmt.Sprintf("%s: no bucket was given; %s", version, later)
	}
	for _, b := range r.bucket[version.Storage()] {
		if b.name == version && b.archived() {
			// The spelling that the uploader looks for first.
			return version.String() + "/" + manifest.ArchiveInfo, ""
		}
	}
	return "", fmt.Sprintf("%s: %s has no list of it as archived; %s", version, r.Store, later)
}

// replaceList writes a list without some lines, to the bucket first and then in
// the place of the old one.
func (r *repair) replaceList(ctx context.Context, version backupname.Name, list, key string, without map[sealedID]bool) error {
	if err := r.writeWithout(ctx, list, without); err != nil {
		return fmt.Errorf("writing %s anew: %w", list, err)
	}
	if key != "" {
		if err := r.upload(ctx, key); err != nil {
			return err
		}
	}
	if err := r.disk.held.Check(); err != nil {
		return err
	}
	if err := r.disk.rename(newList, list); err != nil {
		return err
	}
	return r.disk.fsync(version.String())
}

func (r *repair) writeWithout(ctx context.Context, list string, without map[sealedID]bool) error {
	if err := r.disk.removeAll(newList); err != nil {
		return err
	}
	out, err := r.disk.create(newList)
	if err != nil {
		return err
	}
	defer out.Close()
	lines := manifest.NewWriter(out)
	whose, first := "", true // it stands on the first line
	err = r.eachLine(list, func(e *manifest.Entry) error {
		whose, e.Installation = cmp.Or(whose, e.Installation), ""
		if without[sealedID{e.SealedPath, e.SealedSHA512}] {
			return nil
		}
		if first {
			e.Installation, first = whose, false
		}
		return errors.Join(ctx.Err(), lines.Write(e))
	})
	if err != nil {
		return err
	}
	return errors.Join(lines.Flush(), out.Sync(), out.Close())
}

func (r *repair) upload(ctx context.Context, key string) error {
	in, err := r.disk.root.Open(newList)
	if err != nil {
		return err
	}
	defer in.Close()
	// A repair that was killed may have left parts of it.
	if _, err := r.Store.AbortUploads(ctx, key); err != nil {
		r.Logger.Warn("cannot look for unfinished uploads", "key", key, "error", err)
	}
	if err := r.disk.held.Check(); err != nil {
		return err
	}
	r.step("upload " + key)
	_, err = objstore.WriteStream(ctx, r.Store, key, in, uploadPart)
	return err
}

func (r *repair) eachLine(list string, do func(*manifest.Entry) error) error {
	in, err := r.disk.root.Open(list)
	if err != nil {
		return err
	}
	defer in.Close()
	for e, err := range manifest.Read(bufio.NewReader(in)) {
		if err == nil {
			err = do(&e)
		}
		if err != nil {
			return fmt.Errorf("the list %s: %w", list, err)
		}
	}
	return nil
}
