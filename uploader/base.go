package uploader

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/extsort"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/signature"
)

// baseNumber is the length of what stands before the lines in the records of the
// base's list: numbers that let the last of several lines of one path come first.
const baseNumber = 8

// readBase reads the list of the newest archive, whole and verified. One that is
// damaged, gone since the bucket was listed, or not signed though lists are, is
// worth a full backup rather than none. The caller closes the result.
func (r *run) readBase(ctx context.Context) (known *extsort.Sorter, err error) {
	known = extsort.New(sortMemory)
	if r.base.IsZero() {
		return known, nil
	}
	list, err := r.openList(ctx)
	if err == nil {
		defer list.Close()
		err = r.readEntries(ctx, list, known)
	}
	if err == nil {
		r.report.Base = r.base.String()
		return known, nil
	}
	known.Close() // what was in it does not count
	reason := ""
	switch {
	case errors.Is(err, signature.ErrUntrusted):
		reason = "the list of %s is not signed with this uploader's key"
	case errors.Is(err, manifest.ErrInvalid), errors.Is(err, manifest.ErrTruncated):
		reason = "the list of %s is damaged"
	case errors.Is(err, objstore.ErrNotFound):
		reason = "the list of %s is gone"
	default:
		return nil, fmt.Errorf("list of %s: %w", r.base, err)
	}
	r.report.Full = fmt.Sprintf(reason, r.base)
	r.log.Error("this is a full backup", "reason", r.report.Full, "error", err)
	r.base = backupname.Name{}
	return extsort.New(sortMemory), nil
}

func (r *run) readEntries(ctx context.Context, list io.Reader, known *extsort.Sorter) error {
	lines, done, err := r.baseEntries(ctx, list)
	if err != nil {
		return err
	}
	defer done()
	var record, number []byte
	for e, err := range lines {
		if err != nil {
			return err
		}
		number = binary.BigEndian.AppendUint64(number[:0], ^uint64(known.Len()))
		if record, err = appendEntry(record[:0], &e, number); err != nil {
			return err
		}
		if err := known.Add(record); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) openList(ctx context.Context) (list io.ReadCloser, err error) {
	for _, name := range manifest.ArchiveInfoNames {
		list, err = r.store.Get(ctx, r.base.String()+"/"+name, 0, -1)
		if !errors.Is(err, objstore.ErrNotFound) {
			break
		}
	}
	return list, err
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

// read reads an object, but no more than one byte beyond limit.
func (b *backup) read(ctx context.Context, key string, limit int64) ([]byte, error) {
	body, err := b.store.Get(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(io.LimitReader(body, limit+1))
}
