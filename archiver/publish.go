package archiver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"time"

	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/objstore"
)

// writeList carries the files that are still current forward, line by line, and
// writes the version's list. With it the folder is a version.
func (j *job) writeList(ctx context.Context) error {
	if err := j.disk.removeAll(newList); err != nil {
		return err
	}
	out, err := j.disk.create(newList)
	if err != nil {
		return err
	}
	defer out.Close()
	lines := manifest.NewWriter(out)
	err = j.eachFetched(func(e *manifest.Entry) error {
		there, err := j.place(ctx, e)
		if err != nil || !there {
			return err
		}
		e.Backup = j.b.name
		return lines.Write(e)
	})
	if err := errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	if err := lines.Flush(); err != nil {
		return err
	}
	if err := j.keepSignature(); err != nil {
		return err
	}
	if err := j.tidy(); err != nil {
		return err
	}
	if err := errors.Join(out.Sync(), out.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", newList, err)
	}
	if err := j.disk.rename(newList, j.dir+"/"+manifest.ArchiveInfo); err != nil {
		return err
	}
	return j.disk.fsync(j.dir)
}

// place brings a listed file into the version's folder and tells whether it is
// there.
func (j *job) place(ctx context.Context, e *manifest.Entry) (bool, error) {
	if j.isNew(e) {
		return j.files[e.SealedPath].have, nil // reported when it did not come
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	damaged := j.report.Damaged.Count
	there, err := j.carry(ctx, e)
	if !there && err == nil && j.report.Damaged.Count == damaged {
		j.report.Missing.add(e.Path)
	}
	return there, err
}

// tidy removes what is of no use any more, and makes sure that all moves
// survive a crash before the list says that they do.
func (j *job) tidy() error {
	for _, dir := range slices.Backward(slices.Sorted(maps.Keys(j.emptied))) {
		j.disk.removeEmpty(dir, j.emptied[dir])
	}
	j.disk.removeEmpty(j.dir+"/"+j.dir, j.dir) // the original makes one and never uses it
	if !j.odd {
		if err := j.disk.removeAll(j.dir + "/download"); err != nil {
			return err
		}
	}
	for _, path := range []string{j.download, fetchedList} {
		if err := j.disk.removeAll(path); err != nil {
			return err
		}
	}
	changed := []string{".", j.dir}
	for dir := range j.touched {
		if j.disk.isDir(dir) {
			changed = append(changed, dir)
		}
	}
	return j.disk.sync(changed...)
}

// uploadPart is the memory that uploading a list takes, twice.
const uploadPart = 8 << 20

// publish tells the uploader what is archived: from now on it builds on this
// version, and the bucket's copy may go.
func (j *job) publish(ctx context.Context, list string) error {
	f, err := j.disk.root.Open(list)
	if err != nil {
		return err
	}
	defer f.Close()
	key := path.Join(j.dir, manifest.ArchiveInfo)
	if j.rerun {
		// The run before may have been killed on its way here.
		if _, err := j.Store.AbortUploads(ctx, key); err != nil {
			j.Logger.Warn("cannot look for unfinished uploads", "key", key, "error", err)
		}
	}
	if err := j.goOn(ctx); err != nil {
		return err
	}
	j.step("upload " + key)
	if _, err := objstore.WriteStream(ctx, j.Store, key, f, uploadPart); err != nil {
		return err
	}
	if err := j.compareClocks(ctx, key); err != nil {
		return err
	}
	j.b.archiveInfo = append(j.b.archiveInfo, key)
	j.know(j.b.name)
	return nil
}

// maxSkew is how far this host's clock may be from the bucket's, for versions to
// be deleted by it.
const maxSkew = time.Hour

// compareClocks holds this host's clock against the bucket's, which has just
// written an object.
func (j *job) compareClocks(ctx context.Context, key string) error {
	o, err := j.Store.Head(ctx, key)
	if err != nil {
		return err
	}
	if skew := time.Since(o.Modified); skew.Abs() > maxSkew {
		j.doubt = fmt.Sprintf("nothing deleted: this host's clock and the bucket's are %s apart: check the clocks", skew.Abs().Round(time.Second))
	}
	return nil
}
