package archiver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/objstore"
)

// writeList writes the version's list: the lines whose files are here, in their
// order. With it the folder is a version.
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
	number, installation := int64(-1), ""
	err = each(j.list.key, j.list.reader(), func(e *manifest.Entry) error {
		number++
		installation = cmp.Or(installation, e.Installation)
		if !j.here.has(number) {
			j.blame(number, e)
			return nil
		}
		// Whose list it is stands on the first line, whichever that is now.
		e.Backup, e.Installation, installation = j.b.name, installation, ""
		return errors.Join(lines.Write(e), ctx.Err())
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

// tidy removes what is of no use any more, and makes sure that all moves
// survive a crash before the list says that they do.
func (j *job) tidy() error {
	if err := j.open.close(); err != nil {
		return err
	}
	j.sweepVacated()
	j.disk.removeEmpty(j.dir + "/" + j.dir) // the original makes one and never uses it
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
	return j.disk.sync()
}

// sweepVacated removes empty folders that an earlier run left where it took files
// from, and was stopped.
func (j *job) sweepVacated() {
	if j.rerun && len(j.folders) > 0 {
		j.vacated[fromFolder] = true // a file may have come from there whatever the list says
	}
	for from := range j.vacated {
		if version, ok := j.versionOf(from); ok {
			if _, err := j.disk.sweep(version.String()); err != nil { // no version needs them gone
				j.Logger.Warn("empty folders are left", "version", version.String(), "error", err)
			}
		}
	}
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
