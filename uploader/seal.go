package uploader

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
)

// attempts is how often a file that changes while it is read is tried.
const attempts = 3

// sourceError is one of the storage's, which costs a file; any other error is
// one of the bucket's and ends the run.
type sourceError struct{ error }

func (e sourceError) Unwrap() error { return e.error }

var errChanged = errors.New("changed while it was read")

// seal makes the packages of the new files and returns their entries.
func (r *run) seal(ctx context.Context, s *storage, fresh []file) ([]manifest.Entry, error) {
	var mu sync.Mutex
	var all []manifest.Entry
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(r.Workers)
	for _, g := range groups(fresh) {
		work.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			entries, err := r.sealPackage(ctx, s, g)
			if err != nil {
				return fmt.Errorf("package %s: %w", g.name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, entries...)
			if len(entries) > 0 {
				r.report.Packages++
			}
			return nil
		})
	}
	err := work.Wait()
	for i := range all {
		r.report.New++
		r.report.NewSize += all[i].Size
		r.report.Sealed += all[i].SealedSize
	}
	r.report.Vanished, r.report.LeftOut, r.report.Examples = r.leftOut.gone, r.leftOut.count, r.leftOut.examples
	return all, err
}

func (r *run) sealPackage(ctx context.Context, s *storage, g group) (entries []manifest.Entry, err error) {
	session, err := r.recipients.NewSession()
	if err != nil {
		return nil, err
	}
	p := newPackageWriter(ctx, r.store, r.key(g.name), &r.parts)
	for _, f := range g.files {
		e, err := r.sealFile(ctx, s, session, p, f)
		var source sourceError
		switch {
		case errors.As(err, &source) && errors.Is(err, fs.ErrNotExist):
			r.leftOut.vanished(r.log, f.path)
		case errors.As(err, &source):
			r.leftOut.add(r.log, f.path, source.error)
		case err != nil:
			return nil, p.abort(err)
		default:
			e.Package = g.name
			entries = append(entries, e)
		}
		r.Progress(1, 0)
	}
	if len(entries) == 0 {
		p.abort(nil) // nothing that could be read: no package
		return nil, nil
	}
	if err := p.complete(); err != nil {
		return nil, err
	}
	r.log.Info("package uploaded", "package", g.name, "files", len(entries), "bytes", p.offset)
	return entries, nil
}

// sealFile adds one file to a package, again if it changes meanwhile.
func (r *run) sealFile(ctx context.Context, s *storage, session *envelope.Session, p *packageWriter, f file) (e manifest.Entry, err error) {
	for n := range attempts {
		if n > 0 {
			select {
			case <-ctx.Done():
				return e, ctx.Err()
			case <-time.After(r.retryDelay << n):
			}
		}
		var source sourceError
		e, err = r.trySealFile(ctx, s, session, p, f)
		if !errors.As(err, &source) {
			return e, err
		}
		r.log.Debug("file to be tried again", "path", f.path, "error", err)
	}
	return e, err
}

func (r *run) trySealFile(ctx context.Context, s *storage, session *envelope.Session, p *packageWriter, f file) (manifest.Entry, error) {
	none := manifest.Entry{}
	in, err := s.open(f.path)
	if err != nil {
		return none, sourceError{err}
	}
	defer in.Close()
	before, err := statFile(f.path, in)
	if err != nil {
		return none, sourceError{err}
	}
	e := manifest.Entry{
		Path: f.path, SealedPath: manifest.SealedPath(f.path, r.recipients.Suffix()), Backup: r.name,
		Details: manifest.Details{Modified: before.modified, Mode: before.mode, HasMode: true, Key: r.sealedFor},
	}
	if err := p.begin(e.SealedPath); err != nil {
		return none, err
	}
	sums, err := r.pipe(ctx, session, p, in, before.size)
	if err == nil {
		err = sameFile(in, before, sums.Size)
	}
	var source sourceError
	if errors.As(err, &source) {
		if err := p.giveUp(); err != nil {
			return none, err
		}
		return none, err
	}
	if err != nil {
		return none, err
	}
	e.Size, e.SHA512, e.SealedSize, e.SealedSHA512 = sums.Size, sums.SHA512, sums.SealedSize, sums.SealedSHA512
	e.Offset, err = p.end(before.modified)
	return e, err
}

// pipe reads a file through the envelope into the package.
func (r *run) pipe(ctx context.Context, session *envelope.Session, p *packageWriter, in *os.File, size int64) (envelope.Sums, error) {
	sealer, err := session.NewWriter(p, size)
	if err != nil {
		return envelope.Sums{}, err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{sealer}, &source{ctx: ctx, in: in, left: size, progress: r.Progress}, make([]byte, 256<<10))
	sums, closeErr := sealer.Close()
	return sums, errors.Join(err, closeErr)
}

// source marks the errors of the storage, and stops when ctx ends.
type source struct {
	ctx      context.Context
	in       *os.File
	left     int64 // of the file as it was when it was opened
	progress func(int, int64)
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.in.Read(p)
	s.progress(0, int64(n))
	if s.left -= int64(n); s.left < 0 {
		return 0, sourceError{errChanged} // it grows, maybe faster than it is read
	}
	if err != nil && err != io.EOF {
		err = sourceError{err}
	}
	return n, err
}

func statFile(path string, in *os.File) (file, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(in.Fd()), &stat); err != nil {
		return file{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return file{}, &fs.PathError{Op: "read", Path: path, Err: errors.New("it is no regular file any more")}
	}
	return fileOf(path, &stat), nil
}

// sameFile tells that a file was not written to while it was read.
func sameFile(in *os.File, before file, read int64) error {
	after, err := statFile(before.path, in)
	if err != nil {
		return sourceError{err}
	}
	if read != before.size || after.size != before.size || !after.modified.Equal(before.modified) {
		return sourceError{errChanged}
	}
	return nil
}
