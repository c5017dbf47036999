package restore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/manifest"
)

// file is a file to restore.
type file struct{ *manifest.Entry }

// modified is the time of modification that the restored file has: the version's
// where none is recorded, as in the mount.
func (f file) modified() time.Time {
	if f.Modified.IsZero() {
		return f.Backup.Time()
	}
	return f.Modified
}

// partial is the name of the file while it is written. It is the same in each
// run, so that what a killed one left is found.
func (f file) partial() string {
	return fmt.Sprintf(".firn-partial-%.8x", sha256.Sum256([]byte(path.Base(f.Path))))
}

// errConflict says that something is in the way, and is to stay.
var errConflict = errors.New("in the way")

// file restores one file. What is wrong with it goes into the report; an error
// is what is wrong with all.
func (r *run) file(ctx context.Context, f file) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	skipped, err := r.restore(ctx, f)
	switch {
	case err == nil && skipped:
		r.report.done(&r.report.Skipped, f.Size)
	case err == nil:
		r.report.done(&r.report.Restored, f.Size)
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%s is full; make room and run it again: %w", r.To, err)
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("cannot write to %s: %w", r.To, err)
	default:
		r.Logger.Warn("not restored", "path", manifest.EscapePath(f.Path), "error", err)
		if err := r.report.problem(f.Path, err); err != nil {
			return err
		}
	}
	r.Progress(1, 0)
	return nil
}

func (r *run) restore(ctx context.Context, f file) (skipped bool, err error) {
	dir, err := r.folder(path.Dir(f.Path))
	if err != nil {
		return false, fmt.Errorf("%w: %w", errConflict, err)
	}
	if dir == nil {
		r.Progress(0, f.Size)
		return false, nil // a dry run
	}
	defer dir.Close()
	if skipped, err = r.isThere(ctx, dir, f); skipped || err != nil {
		return skipped, err
	}
	if r.DryRun {
		r.Progress(0, f.Size)
		return false, nil
	}
	if f.Size >= largeFile {
		select {
		case r.large <- struct{}{}:
			defer func() { <-r.large }()
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	sealed, of, err := r.Catalog.OpenSealed(ctx, r.Version, f.Entry)
	if err != nil {
		return false, err
	}
	defer sealed.Close()
	return false, r.write(ctx, dir, f, sealed, of)
}

// folder opens a folder in the target, and makes it where it is missing. nil in
// a dry run says that it is missing.
func (r *run) folder(name string) (*os.Root, error) {
	if r.target == nil {
		return nil, nil
	}
	dir, err := r.target.OpenRoot(name)
	if !errors.Is(err, os.ErrNotExist) {
		return dir, err
	}
	if r.DryRun {
		return nil, nil
	}
	if err := r.target.MkdirAll(name, 0o777); err != nil {
		return nil, err
	}
	return r.target.OpenRoot(name)
}

// isThere tells whether the file is in its place. errConflict says that another
// one is.
func (r *run) isThere(ctx context.Context, dir *os.Root, f file) (bool, error) {
	name := path.Base(f.Path)
	info, err := dir.Lstat(name)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	switch {
	case info.IsDir():
		return false, fmt.Errorf("%w: it is a folder", errConflict)
	case info.Mode().IsRegular() && info.Size() == f.Size:
		if !f.Modified.IsZero() && info.ModTime().Equal(f.Modified) {
			r.Progress(0, f.Size)
			return true, nil
		}
		same, err := r.sameContent(ctx, dir, f)
		if err != nil {
			return false, err
		}
		if same {
			if err := r.setDetails(dir, name, f); err != nil {
				r.Logger.Warn("the file is there, but its details cannot be set", "path", manifest.EscapePath(f.Path), "error", err)
			}
			return true, nil
		}
	}
	if !r.Overwrite {
		return false, fmt.Errorf("%w: it is another file; --overwrite replaces it", errConflict)
	}
	return false, nil
}

func (r *run) sameContent(ctx context.Context, dir *os.Root, f file) (bool, error) {
	in, err := dir.OpenFile(path.Base(f.Path), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false, err
	}
	defer in.Close()
	sum := sha512.New()
	n, err := r.copy(ctx, sum, in)
	same := n == f.Size && bytes.Equal(sum.Sum(nil), f.SHA512[:])
	if !same {
		r.Progress(0, -n) // it counts when it is written
	}
	return same, err
}

// write decodes into a partial file, which gets its name when it proved right. of
// is the entry that the sealed file has, which may be another version's; the
// details are f's.
func (r *run) write(ctx context.Context, dir *os.Root, f file, sealed io.Reader, of *manifest.Entry) (err error) {
	partial := f.partial()
	plain, err := r.Opener.Open(sealed, of)
	if err != nil {
		return err
	}
	defer plain.Close()
	mode := os.FileMode(0o666)
	if f.HasMode {
		mode = 0o600
	}
	out, err := dir.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, os.ErrExist) { // a killed run's
		if err = dir.Remove(partial); err == nil {
			out, err = dir.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		}
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, dir.Remove(partial))
		}
	}()
	_, err = r.copy(ctx, out, plain)
	if err == nil && f.HasMode {
		err = out.Chmod(f.Mode.Perm()) // takes less than by its name
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	if err := dir.Chtimes(partial, time.Time{}, f.modified()); err != nil {
		return err
	}
	return dir.Rename(partial, path.Base(f.Path))
}

func (r *run) setDetails(dir *os.Root, name string, f file) error {
	if r.DryRun {
		return nil
	}
	if f.HasMode {
		if err := dir.Chmod(name, f.Mode.Perm()); err != nil {
			return err
		}
	}
	return dir.Chtimes(name, time.Time{}, f.modified())
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

// copy is io.Copy that ends with ctx and tells of progress.
func (r *run) copy(ctx context.Context, to io.Writer, from io.Reader) (total int64, err error) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for {
		if err := ctx.Err(); err != nil {
			return total, err
		}
		n, err := from.Read(*buf)
		if n > 0 {
			if _, werr := to.Write((*buf)[:n]); werr != nil {
				return total, werr
			}
		}
		total += int64(n)
		r.Progress(0, int64(n))
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}
