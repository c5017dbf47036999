package uploader

import (
	"context"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/signature"
)

// plan is what a run has to do.
type plan struct {
	fresh   []file           // to be sealed
	resumed []manifest.Entry // sealed by the run that this one goes on with
	carried []manifest.Entry // unchanged: listed with where they are
}

// plan compares what was found with the base's list.
func (r *run) plan(ctx context.Context, s *storage, found []file) (*plan, error) {
	base, err := r.readBase(ctx)
	if err != nil {
		return nil, err
	}
	p := &plan{}
	var resealed int
	for _, f := range found {
		e, listed := base[f.path]
		switch {
		case !listed:
		case r.Full:
			listed = false
		case !r.sameRecipients(&e):
			listed = false
			resealed++
		case e.SealedPath != manifest.SealedPath(f.path, r.recipients.Suffix()):
			listed = false // another program chose it, and another file may need it
		default:
			if listed, err = r.unchanged(ctx, s, f, &e); err != nil {
				return nil, err
			}
		}
		if listed {
			e.Modified, e.Mode, e.HasMode = f.modified, f.mode, true
			p.carried = append(p.carried, e)
			continue
		}
		p.fresh = append(p.fresh, f)
	}
	r.explain(resealed)
	if err := r.keep(ctx, s, p); err != nil {
		return nil, err
	}
	var size int64
	for _, f := range p.fresh {
		size += f.size
	}
	r.log.Info("planned", "backup", r.name, "base", r.report.Base, "new", len(p.fresh), "bytes", size, "resumed", len(p.resumed), "unchanged", len(p.carried))
	r.Planned(len(p.fresh), size)
	return p, nil
}

// explain says in the report and the log why a backup is a full one.
func (r *run) explain(resealed int) {
	switch {
	case r.report.Full != "": // readBase knows
	case r.base.IsZero():
		r.report.Full = "there is no archive to be incremental against"
	case r.Full:
		r.report.Full = "a full backup was asked for"
	case resealed > 0:
		r.report.Full = fmt.Sprintf("%d files are sealed for others than %s", resealed, r.sealedFor)
	}
	if r.report.Full != "" {
		r.log.Info("full backup", "backup", r.name, "reason", r.report.Full)
	}
}

// readBase reads the list of the newest archive. One that is damaged, gone since
// the bucket was listed, or not signed though lists are, is worth a full backup
// rather than none.
func (r *run) readBase(ctx context.Context) (map[string]manifest.Entry, error) {
	if r.base.IsZero() {
		return nil, nil
	}
	entries := make(map[string]manifest.Entry)
	list, err := r.openList(ctx)
	if err == nil {
		defer list.Close()
		err = r.readEntries(ctx, list, entries)
	}
	reason := ""
	switch {
	case err == nil:
		r.report.Base = r.base.String()
		return entries, nil
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
	return nil, nil
}

func (r *run) readEntries(ctx context.Context, list io.Reader, entries map[string]manifest.Entry) error {
	lines, done, err := r.baseEntries(ctx, list)
	if err != nil {
		return err
	}
	defer done()
	for e, err := range lines {
		if err != nil {
			return err
		}
		entries[e.Path] = e
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

// sameRecipients tells whether a sealed file is for those that the new ones are
// for. What the original sealed does not say for whom, but whether at all.
func (r *run) sameRecipients(e *manifest.Entry) bool {
	if e.Key != "" {
		return e.Key == r.sealedFor
	}
	return envelope.IsEncrypted(e.SealedPath) == r.recipients.Encrypts()
}

func (r *run) unchanged(ctx context.Context, s *storage, f file, e *manifest.Entry) (bool, error) {
	if f.size != e.Size {
		return false, nil
	}
	if !r.Checksum {
		return e.Modified.IsZero() || e.Modified.Equal(f.modified), nil
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	in, err := s.open(f.path)
	if err != nil {
		return false, nil // sealing it will say why it cannot be read
	}
	defer in.Close()
	sum := sha512.New()
	if _, err := io.Copy(sum, in); err != nil {
		return false, nil
	}
	return manifest.Hash(sum.Sum(nil)) == e.SHA512, nil
}
