package uploader

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"golang.org/x/sys/unix"
)

// sourceError is one of the storage's, which costs a file; any other error is
// one of the bucket's and ends the run.
type sourceError struct{ error }

func (e sourceError) Unwrap() error { return e.error }

var errChanged = errors.New("changed while it was read")

// source is a file of the storage that is being read. It marks the errors of
// the storage, and stops when ctx ends.
//
// It is no os.File: registering each with the poller, which regular files have
// no use for, takes as many system calls as reading it.
type source struct {
	file     // as it was when it was opened
	ctx      context.Context
	fd       int
	left     int64 // bytes that are still to come
	progress func(int, int64)
}

func (s *source) open(ctx context.Context, storage *storage, path string, progress func(int, int64)) error {
	fd, err := storage.openFD(path)
	if err != nil {
		return sourceError{err}
	}
	*s = source{file: file{path: path}, ctx: ctx, fd: fd, progress: progress}
	if s.file, err = s.stat(); err != nil {
		s.Close()
		return err
	}
	s.left = s.size
	return nil
}

func (s *source) Close() error {
	s.ctx = nil
	return unix.Close(s.fd)
}

func (s *source) stat() (file, error) {
	var stat unix.Stat_t
	if err := retry(func() error { return unix.Fstat(s.fd, &stat) }); err != nil {
		return file{}, sourceError{&fs.PathError{Op: "stat", Path: s.path, Err: err}}
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return file{}, sourceError{&fs.PathError{Op: "read", Path: s.path, Err: errors.New("it is no regular file any more")}}
	}
	return fileOf(s.path, &stat), nil
}

func (s *source) Read(p []byte) (n int, err error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	err = retry(func() (err error) {
		n, err = unix.Read(s.fd, p)
		return err
	})
	if err != nil {
		return 0, sourceError{&fs.PathError{Op: "read", Path: s.path, Err: err}}
	}
	s.progress(0, int64(n))
	if s.left -= int64(n); s.left < 0 {
		return 0, sourceError{errChanged} // it grows, maybe faster than it is read
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// same tells that the file was not written to while it was read.
func (s *source) same(read int64) error {
	after, err := s.stat()
	if err != nil {
		return err
	}
	if read != s.size || after.size != s.size || !after.modified.Equal(s.modified) {
		return sourceError{errChanged}
	}
	return nil
}

// retry calls again what a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
