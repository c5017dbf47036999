package uploader

import (
	"bytes"
	"context"
	"crypto/sha512"
	"fmt"
	"io"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/extsort"
	"github.com/chipster/firn/internal/manifest"
)

// fresh are files that are to be sealed, sorted by path.
type fresh struct {
	*extsort.Sorter
	size int64 // bytes of the plain files
}

func newFresh() *fresh { return &fresh{Sorter: extsort.New(sortMemory)} }

func (f *fresh) add(record []byte) error {
	_, rest := cutRecord(record)
	f.size += sizeOf(rest)
	return f.Add(record)
}

// plan compares what was found with the base's list, and with what an unfinished
// backup holds: it lists what need not be sealed, and returns what has to be. The
// caller closes that.
func (r *run) plan(ctx context.Context, s *storage, found *extsort.Sorter) (*fresh, error) {
	left, err := r.compare(ctx, s, found)
	if err != nil {
		return nil, err
	}
	unchanged := r.list.Len()
	if r.resumed != nil {
		all := left
		defer all.Close()
		if left, err = r.keep(ctx, s, all); err != nil {
			return nil, err
		}
	}
	r.log.Info("planned", "backup", r.name, "base", r.report.Base, "new", left.Len(), "bytes", left.size, "resumed", r.report.Resumed, "unchanged", unchanged)
	r.Planned(int(left.Len()), left.size)
	return left, nil
}

// compare goes along what was found and the base's list at once.
func (r *run) compare(ctx context.Context, s *storage, found *extsort.Sorter) (*fresh, error) {
	files := found.All() // now, since it writes down what is in memory still: the base needs the room
	base, err := r.readBase(ctx)
	if err != nil {
		return nil, err
	}
	defer base.Close()
	known, stop := follow(base.All())
	defer stop()
	c := comparison{run: r, storage: s, known: known, fresh: newFresh()}
	for record, err := range files {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = c.file(ctx, record)
		}
		if err != nil {
			c.fresh.Close() // the error that counts is the one before
			return nil, err
		}
	}
	r.explain(c.resealed)
	return c.fresh, nil
}

// comparison is one of what was found with the base's list.
type comparison struct {
	*run
	storage  *storage
	known    *cursor // of the base's list
	fresh    *fresh
	resealed int    // files that are sealed for others
	last     []byte // path
}

// file lists a file that was found, or has it sealed.
func (c *comparison) file(ctx context.Context, record []byte) error {
	path, rest := cutRecord(record)
	if bytes.Equal(path, c.last) { // a folder that is changed while it is read may tell a name twice
		return nil
	}
	c.last = append(c.last[:0], path...)
	known, listed, err := c.known.find(path)
	if err != nil {
		return err
	}
	if !listed {
		return c.fresh.add(record)
	}
	f := parseFile(path, rest)
	e, err := manifest.ParseLine(string(known[baseNumber:]))
	if err == nil {
		listed, err = c.carries(ctx, f, &e)
	}
	switch {
	case err != nil:
		return err
	case !listed:
		return c.fresh.add(record)
	}
	return c.take(&f, &e)
}

// carries tells whether the base's line of a file can be listed again.
func (c *comparison) carries(ctx context.Context, f file, e *manifest.Entry) (bool, error) {
	switch {
	case c.Full:
		return false, nil
	case !c.sameRecipients(e):
		c.resealed++
		return false, nil
	case e.SealedPath != manifest.SealedPath(f.path, c.recipients.Suffix()):
		return false, nil // another program chose it, and another file may need it
	}
	return c.unchanged(ctx, c.storage, f, e)
}

// take lists a file that was sealed before, with what is known of it now.
func (r *run) take(f *file, e *manifest.Entry) (err error) {
	e.Modified, e.Mode, e.HasMode = f.modified, f.mode, true
	if r.record, err = appendEntry(r.record[:0], e, nil); err != nil {
		return err
	}
	r.report.Size += e.Size
	return r.list.Add(r.record)
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
