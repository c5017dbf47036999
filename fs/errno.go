package fs

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
)

// errnos is what programs are told of errors; the first that fits counts. What
// is not in it is EIO.
var errnos = []struct {
	err   error
	errno syscall.Errno
}{
	// Go sends itself signals while it waits for a read. A program that gets
	// EIO for that fails; one that gets EINTR tries again.
	{context.Canceled, syscall.EINTR},
	{context.DeadlineExceeded, syscall.EINTR},
	{envelope.ErrKey, syscall.EACCES},
	{envelope.ErrDamaged, syscall.EIO},
	{catalog.ErrDamaged, syscall.EIO},
	// Not ENOENT: the file is listed, and programs take a file that vanished
	// for one that they need not copy.
	{catalog.ErrMissing, syscall.EIO},
	// What was pruned or replaced: the kernel looks the path up again.
	{catalog.ErrNoVersion, syscall.ESTALE},
	{catalog.ErrChanged, syscall.ESTALE},
	{fs.ErrNotExist, syscall.ENOENT},
	{fs.ErrPermission, syscall.EACCES},
	{syscall.ENOTDIR, syscall.ENOTDIR},
	{syscall.EMFILE, syscall.EMFILE},
	{syscall.ENFILE, syscall.ENFILE},
	{syscall.ENOMEM, syscall.ENOMEM},
}

func errnoOf(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	for _, e := range errnos {
		if errors.Is(err, e.err) {
			return e.errno
		}
	}
	return syscall.EIO
}

// isExpected tells that an error is part of daily life, and nothing to log.
func isExpected(errno syscall.Errno) bool {
	return errno == syscall.EINTR || errno == syscall.ENOENT || errno == syscall.ESTALE
}
