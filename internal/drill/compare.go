package drill

import (
	"bytes"
	"context"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/manifest"
)

// compare reads the files again that package restore says to have restored. An
// error is ctx's.
func (t *trial) compare(ctx context.Context, to string) error {
	root, err := os.OpenRoot(to)
	if err != nil {
		t.problem("", err)
		return nil
	}
	defer root.Close()
	var mu sync.Mutex
	told, absent := t.Problems.Count, int64(0)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range t.entries {
		group.Go(func() error {
			e := &t.entries[i]
			err := t.readAgain(ctx, root, e)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case errors.Is(err, fs.ErrNotExist):
				absent++
			case err != nil:
				t.problem(e.Path, err)
			default:
				t.Right.Files++
				t.Right.Bytes += e.Size
			}
			t.r.Progress(1, 0)
			return nil
		})
	}
	err = group.Wait()
	if err == nil && absent > told {
		t.problem("", fmt.Errorf("%d files are not there that should have been restored", absent-told))
	}
	return err
}

// readAgain compares one file with the list, as it is on the disk and not in
// memory that the system keeps what was written in.
func (t *trial) readAgain(ctx context.Context, root *os.Root, e *manifest.Entry) error {
	f, err := root.OpenFile(e.Path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return err
	}
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) // some file systems have no such memory
	sum := sha512.New()
	buf := make([]byte, 256<<10)
	var size int64
	for {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		n, err := f.Read(buf)
		sum.Write(buf[:n])
		size += int64(n)
		t.r.Progress(0, int64(n))
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("was restored, and cannot be read again: %w", err)
		}
	}
	if size != e.Size || !bytes.Equal(sum.Sum(nil), e.SHA512[:]) {
		return errors.New("was restored, and what was read again is not what the list has")
	}
	return nil
}
