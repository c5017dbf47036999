package uploader

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
)

// attempts is how often a file that changes while it is read is tried.
const attempts = 3

// sealer is what sealing needs and can be used again for the next file.
type sealer struct {
	envelope.Writer
	source source
	sealed bytes.Buffer // a small file
}

// patiently adds a file to the package, again if it changes meanwhile.
func (p *packing) patiently(ctx context.Context, s *sealer, path string) (e manifest.Entry, err error) {
	for n := range attempts {
		if n > 0 {
			select {
			case <-ctx.Done():
				return e, ctx.Err()
			case <-time.After(p.retryDelay << n):
			}
		}
		var source sourceError
		e, err = p.once(ctx, s, path)
		if !errors.As(err, &source) {
			return e, err
		}
		p.log.Debug("file to be tried again", "path", path, "error", err)
	}
	return e, err
}

func (p *packing) once(ctx context.Context, s *sealer, path string) (e manifest.Entry, err error) {
	if err := s.source.open(ctx, p.storage, path, p.Progress); err != nil {
		return e, err
	}
	defer s.source.Close()
	session := p.session
	if session == nil {
		if session, err = p.recipients.NewSession(); err != nil {
			return e, err
		}
		defer session.Wipe()
	}
	before := &s.source.file
	e = manifest.Entry{
		Path: path, SealedPath: manifest.SealedPath(path, p.recipients.Suffix()), Backup: p.name,
		Details: manifest.Details{Modified: before.modified, Mode: before.mode, HasMode: true, Key: p.sealedFor},
	}
	if before.size < smallSize {
		err = p.small(s, session, &e)
	} else {
		err = p.large(s, session, &e)
	}
	return e, err // not in one with the calls: e might be read before they fill it
}

// small seals a file into memory, beside others, and adds it when it is known
// to be whole.
func (p *packing) small(s *sealer, session *envelope.Session, e *manifest.Entry) error {
	s.sealed.Reset()
	s.sealed.Grow(int(s.source.size) + 4096) // what does not compress becomes longer
	sums, err := s.seal(session, &s.sealed)
	if err != nil {
		return err
	}
	setSums(e, sums)
	p.mu.Lock()
	defer p.mu.Unlock()
	e.Offset, err = p.out.add(e.SealedPath, s.sealed.Bytes(), e.Modified)
	return err
}

// large has a file flow into the package, which is the file's as long.
func (p *packing) large(s *sealer, session *envelope.Session, e *manifest.Entry) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.out.begin(e.SealedPath); err != nil {
		return err
	}
	sums, err := s.seal(session, p.out)
	var source sourceError
	if errors.As(err, &source) {
		if err := p.out.giveUp(); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	setSums(e, sums)
	e.Offset, err = p.out.end(e.Modified)
	return err
}

// seal seals the source, and tells whether it was whole.
func (s *sealer) seal(session *envelope.Session, out io.Writer) (envelope.Sums, error) {
	if err := s.Reset(session, out, s.source.size); err != nil {
		return envelope.Sums{}, err
	}
	_, err := s.ReadFrom(&s.source)
	sums, closeErr := s.Writer.Close()
	if err == nil {
		err = closeErr
	}
	if err == nil {
		err = s.source.same(sums.Size)
	}
	return sums, err
}

func setSums(e *manifest.Entry, s envelope.Sums) {
	e.Size, e.SHA512, e.SealedSize, e.SealedSHA512, e.Blocks = s.Size, s.SHA512, s.SealedSize, s.SealedSHA512, s.Blocks
}
