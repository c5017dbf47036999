package archiver

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/signature"
)

// authenticate fetches the signature of the list, and checks it where the run
// was told whom to trust.
func (j *job) authenticate(ctx context.Context) (err error) {
	if j.b.signature != "" || j.Trust != nil {
		key := j.dir + "/" + manifest.BackupInfo + signature.Suffix
		if j.signed, err = j.get(ctx, key); err != nil && !errors.Is(err, objstore.ErrNotFound) {
			return err
		}
	}
	if j.Trust == nil {
		return nil
	}
	list, err := j.disk.root.Open(fetchedList)
	if err != nil {
		return err
	}
	defer list.Close()
	signer, err := j.Trust.Verify(j.dir+"/"+manifest.BackupInfo, list, j.signed)
	if err != nil {
		return fmt.Errorf("the list %s: %w", j.b.backupInfo.Key, err)
	}
	j.Logger.Info("the list's signature is good", "backup", j.dir, "signer", signer)
	return nil
}

func (j *job) get(ctx context.Context, key string) ([]byte, error) {
	body, err := j.Store.Get(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(io.LimitReader(body, signature.MaxSize+1)) // more is no signature
}

// keepSignature puts the list as it came, and its signature, into the version's
// folder: for those who want to know who made it when all else is gone.
func (j *job) keepSignature() error {
	if j.signed == nil {
		return nil
	}
	if err := j.disk.removeAll(newSignature); err != nil {
		return err
	}
	out, err := j.disk.create(newSignature)
	if err != nil {
		return err
	}
	_, err = out.Write(j.signed)
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	if err := j.disk.fsync(newSignature, fetchedList); err != nil {
		return err
	}
	list := j.dir + "/" + manifest.BackupInfo
	if err := j.disk.rename(newSignature, list+signature.Suffix); err != nil {
		return err
	}
	return j.disk.rename(fetchedList, list)
}

// checkOrder refuses, where signatures count, a backup that is older than what is
// archived: a list that was signed long ago is good for ever, and somebody may
// have kept it.
func (r *run) checkOrder(name backupname.Name) error {
	if r.Trust == nil {
		return nil
	}
	versions, err := r.disk.versions(r.local[name.Storage()])
	if err != nil || len(versions) == 0 {
		return err
	}
	if newest := versions[len(versions)-1]; backupname.Compare(name, newest) < 0 {
		return fmt.Errorf("%w: it is older than %s, which is archived: somebody may have put it back; if that was you, archive once without --trust", signature.ErrUntrusted, newest)
	}
	return nil
}
