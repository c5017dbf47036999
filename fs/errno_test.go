package fs

import (
	"context"
	"fmt"
	"io"
	"syscall"
	"testing"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
)

func TestErrno(t *testing.T) {
	for _, c := range []struct {
		err  error
		want syscall.Errno
	}{
		{nil, 0},
		{context.Canceled, syscall.EINTR},
		{envelope.ErrKey, syscall.EACCES},
		{envelope.ErrDamaged, syscall.EIO},
		{envelope.ErrUnsupported, syscall.EIO},
		{catalog.ErrDamaged, syscall.EIO},
		{catalog.ErrMissing, syscall.EIO},
		{fmt.Errorf("%w: %w", catalog.ErrMissing, catalog.ErrNotExist), syscall.EIO},
		{catalog.ErrNotExist, syscall.ENOENT},
		{catalog.ErrNoVersion, syscall.ESTALE},
		{catalog.ErrChanged, syscall.ESTALE},
		{syscall.EMFILE, syscall.EMFILE},
		{syscall.EACCES, syscall.EACCES},
		{io.ErrUnexpectedEOF, syscall.EIO},
	} {
		err := c.err
		if err != nil {
			err = fmt.Errorf("ab/file: %w", err)
		}
		if got := errnoOf(err); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
}
