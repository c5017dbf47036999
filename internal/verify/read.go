package verify

import (
	"context"
	"crypto/sha512"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
)

var buffers = sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}

// read compares all bytes of a file with the list. An error is that they cannot
// be read.
func (r *run) read(ctx context.Context, f *sealedFile, s *catalog.Sealed) (*Problem, error) {
	in := &source{ctx: ctx, r: r, f: f.File, counts: true}
	sum := sha512.New()
	var opened error
	if r.Opener != nil && f.size == s.SealedSize {
		opened = r.openAll(io.TeeReader(in, sum), &s.Entry)
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	_, err := io.CopyBuffer(sum, in, *buf) // all, or what was not needed to open it
	if in.err != nil {                     // which the envelope may have met
		err = in.err
	}
	r.report.read(in.n, err == nil)
	if err != nil {
		return nil, err
	}
	f.size = in.n
	actual := manifest.Hash(sum.Sum(nil))
	switch {
	case f.size != s.SealedSize || actual != s.SealedSHA512:
		return r.locate(ctx, f, s, actual)
	case opened != nil:
		p := damaged(NotOpenable, f, s, opened.Error(), nil)
		p.key = keyError(opened)
		return p, nil
	}
	return nil, nil
}

// openAll opens a file and reads it to its end, where the envelope and the size
// and the SHA-512 of the plain file are known to be right.
func (r *run) openAll(sealed io.Reader, e *manifest.Entry) error {
	plain, err := r.Opener.Open(sealed, e)
	if err != nil {
		return err
	}
	defer plain.Close() // before anybody else reads on: it reads ahead
	_, err = io.Copy(io.Discard, plain)
	return err
}

// locate finds out where a file is wrong, for which it is read once more.
func (r *run) locate(ctx context.Context, f *sealedFile, s *catalog.Sealed, actual manifest.Hash) (*Problem, error) {
	kind, detail := Changed, "its SHA-512 is not the one of the list"
	switch {
	case f.size < s.SealedSize:
		kind = Truncated
	case f.size > s.SealedSize:
		kind = Longer
	}
	if kind != Changed {
		detail = fmt.Sprintf("it has %d bytes, not %d", f.size, s.SealedSize)
	}
	ranges, err := envelope.Locate(&source{ctx: ctx, r: r, f: f.File}, f.size, &s.Entry)
	if err != nil {
		return nil, err
	}
	p := damaged(kind, f, s, detail, ranges)
	p.actual = &actual
	return p, nil
}

// source reads a file no faster than it may, and ends with ctx.
type source struct {
	ctx    context.Context
	r      *run
	f      *os.File
	counts bool // as progress

	n   int64 // bytes read by Read
	err error // that Read met, but for the end of the file
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.some(p, s.f.Read)
	s.n += int64(n)
	if err != nil && err != io.EOF && s.err == nil {
		s.err = err
	}
	return n, err
}

// ReadAt is io.ReaderAt's.
func (s *source) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && err == nil {
		var some int
		some, err = s.some(p[n:], func(p []byte) (int, error) { return s.f.ReadAt(p, off+int64(n)) })
		n += some
	}
	if n == len(p) {
		err = nil
	}
	return n, err
}

func (s *source) some(p []byte, read func([]byte) (int, error)) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := read(p[:min(len(p), s.r.burst)])
	if s.counts {
		s.r.Progress(0, int64(n))
	}
	if werr := s.r.wait(s.ctx, n); werr != nil {
		return n, werr
	}
	return n, err
}

// wait waits until bytes that were read may have been. It is WaitN but for how
// it ends: that one fails before the deadline of ctx. Whoever read nothing has
// nothing to wait for: the end of a file is no turn at the disk.
func (r *run) wait(ctx context.Context, n int) error {
	if n == 0 {
		return nil
	}
	delay := r.limit.ReserveN(time.Now(), n).Delay()
	if delay <= 0 {
		return nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
