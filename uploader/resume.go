package uploader

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/signature"
)

// keep takes over the packages of the backup that this run goes on with. One of
// which a file is not current any more is left, and all its other files are
// sealed again: the archiver takes no member that no list names.
func (r *run) keep(ctx context.Context, s *storage, p *plan) error {
	if r.resumed == nil {
		return nil
	}
	fresh := make(map[string]file, len(p.fresh))
	for _, f := range p.fresh {
		fresh[f.path] = f
	}
	packages := r.resumed.packages()
	for _, key := range slices.Sorted(maps.Keys(packages)) {
		if !packages[key] {
			continue
		}
		entries, err := r.readPackageList(ctx, key)
		if err == nil {
			err = r.stillCurrent(ctx, s, fresh, entries)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.log.Info("a package of the unfinished backup is not used", "package", key, "reason", err)
			continue
		}
		for i := range entries {
			e := &entries[i]
			f := fresh[e.Path]
			e.Modified, e.Mode, e.HasMode = f.modified, f.mode, true
			r.report.Resumed++
			r.report.ResumedSize += e.Size
			delete(fresh, e.Path)
		}
		p.resumed = append(p.resumed, entries...)
	}
	p.fresh = slices.DeleteFunc(p.fresh, func(f file) bool {
		_, ok := fresh[f.path]
		return !ok
	})
	return nil
}

// readPackageList reads what a package holds. Where lists are signed, this one
// has to be: its lines are going to be.
func (r *run) readPackageList(ctx context.Context, key string) (entries []manifest.Entry, err error) {
	key += packageListSuffix
	list, err := r.read(ctx, key, maxPackageList)
	if err == nil && len(list) > maxPackageList {
		err = fmt.Errorf("its list is longer than %d bytes", maxPackageList)
	}
	if err != nil {
		return nil, err
	}
	if r.signer != nil {
		sig, err := r.read(ctx, key+signature.Suffix, signature.MaxSize)
		if err != nil {
			return nil, err
		}
		if _, err := r.signer.Trusted().Verify(key, bytes.NewReader(list), sig); err != nil {
			return nil, err
		}
	}
	for e, err := range manifest.Read(bytes.NewReader(list)) {
		if err != nil {
			return nil, err
		}
		if e.Backup != r.name || r.key(e.Package)+packageListSuffix != key {
			return nil, fmt.Errorf("the list names another package: %s", e.Package)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// maxPackageList bounds what is read into memory of a list in the bucket: the
// lines of some 150,000 files. A package of more is made again.
const maxPackageList = 64 << 20

// read reads an object, but no more than one byte beyond limit.
func (b *backup) read(ctx context.Context, key string, limit int64) ([]byte, error) {
	body, err := b.store.Get(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(io.LimitReader(body, limit+1))
}

func (r *run) stillCurrent(ctx context.Context, s *storage, fresh map[string]file, entries []manifest.Entry) error {
	for i := range entries {
		e := &entries[i]
		f, ok := fresh[e.Path]
		ok = ok && r.sameRecipients(e) && e.SealedPath == manifest.SealedPath(f.path, r.recipients.Suffix())
		if ok {
			var err error
			if ok, err = r.unchanged(ctx, s, f, e); err != nil {
				return err
			}
		}
		if !ok {
			return fmt.Errorf("%q has changed since", e.Path)
		}
	}
	return nil
}

// baseEntries reads the list of the newest archive; where lists are signed, only
// what this uploader's own key has signed: a line that is carried over is signed
// again, and nobody else's may be.
func (r *run) baseEntries(ctx context.Context, list io.Reader) (entries func(func(manifest.Entry, error) bool), done func(), err error) {
	if r.signer == nil {
		return manifest.Read(list), func() {}, nil
	}
	key := r.base.String() + "/" + manifest.BackupInfo
	sig, err := r.read(ctx, key+signature.Suffix, signature.MaxSize)
	var signed io.ReadCloser
	if err == nil {
		signed, err = r.store.Get(ctx, key, 0, -1)
	}
	if errors.Is(err, objstore.ErrNotFound) {
		err = fmt.Errorf("%w: %w", signature.ErrUntrusted, err)
	}
	if err != nil {
		return nil, nil, err
	}
	return r.signer.Trusted().Archived(r.base, list, signed, sig), func() { signed.Close() }, nil
}

// packageName keeps the packages of a run that goes on with a backup apart
// from those that are there, and from what the run before may still be sending:
// files' own names have no "_" in a package's.
func (b *backup) packageName(name string) string {
	if b.resumed == nil {
		return name
	}
	_, token, _ := strings.Cut(b.lease.key, "/"+leasePrefix)
	return strings.TrimSuffix(name, ".tar") + "_" + strings.ToLower(token[:6]) + ".tar"
}
