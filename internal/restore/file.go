package restore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/manifest"
)

// file is a file to restore.
type file struct{ *manifest.Entry }

// modified is the time of modification that the restored file has: the version's
// where none is recorded, as in the mount.
func (f file) modified() unix.Timespec {
	at := f.Modified
	if at.IsZero() {
		at = f.Backup.Time()
	}
	return unix.Timespec{Sec: at.Unix(), Nsec: int64(at.Nanosecond())}
}

// partial is the name of the file while it is written. It is the same in each
// run, so that what a killed one left is found.
func (f file) partial() string {
	return fmt.Sprintf(".firn-partial-%.8x", sha256.Sum256([]byte(path.Base(f.Path))))
}

// isOfTarget tells an error that would meet all files.
func isOfTarget(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EROFS)
}

func (r *run) targetError(err error) error {
	if errors.Is(err, unix.EROFS) {
		return fmt.Errorf("cannot write to %s: %w", r.To, err)
	}
	return fmt.Errorf("%s is full; make room and run it again: %w", r.To, err)
}

// errConflict says that something is in the way, and is to stay.
var errConflict = errors.New("in the way")

// worker restores batches, each of one folder: so the folder and those of the sealed
// files are looked for once.
func (r *run) worker(ctx context.Context, batches iter.Seq[[]manifest.Entry]) error {
	sealed, err := r.Catalog.SealedFiles(ctx, r.Version)
	if err != nil {
		return err
	}
	defer sealed.Close()
	for files := range batches {
		if err := r.batch(ctx, files, sealed); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) batch(ctx context.Context, files []manifest.Entry, sealed *catalog.SealedFiles) error {
	// Of others, a batch can be two from the ends of a folder of millions.
	const neighbours = 16
	if r.Entries == nil && len(r.Patterns) == 0 && r.Shard.Count <= neighbours {
		if err := sealed.Expect(ctx, files); err != nil {
			return err
		}
	}
	dir, err := r.folder(path.Dir(files[0].Path))
	if err != nil {
		err = fmt.Errorf("%w: %w", errConflict, err)
	}
	if dir != nil {
		defer dir.Close()
	}
	for i := range files {
		if err := r.file(ctx, place{dir, err, sealed}, file{&files[i]}); err != nil {
			return err
		}
	}
	return nil
}

// place is where files of a batch come from and go to.
type place struct {
	dir    *folder // nil: a dry run, and it is not there
	err    error   // why it cannot be opened
	sealed *catalog.SealedFiles
}

// file restores one file. What is wrong with it goes into the report; an error
// is what is wrong with all.
func (r *run) file(ctx context.Context, at place, f file) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	skipped, err := r.restore(ctx, at, f)
	switch {
	case err == nil && skipped:
		r.report.done(&r.report.Skipped, f.Size)
	case err == nil:
		r.report.done(&r.report.Restored, f.Size)
	case ctx.Err() != nil:
		return ctx.Err()
	case isOfTarget(err):
		return r.targetError(err)
	default:
		r.Logger.Warn("not restored", "path", manifest.EscapePath(f.Path), "error", err)
		if err := r.report.problem(f.Path, err); err != nil {
			return err
		}
	}
	r.Progress(1, 0)
	return nil
}

func (r *run) restore(ctx context.Context, at place, f file) (skipped bool, err error) {
	switch {
	case at.err != nil:
		return false, at.err
	case at.dir == nil:
		r.Progress(0, f.Size)
		return false, nil // a dry run
	}
	if skipped, err = r.isThere(ctx, at.dir, f); skipped || err != nil {
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
	sealed, of, err := at.sealed.Open(ctx, f.Entry)
	if err != nil {
		return false, err
	}
	defer sealed.Close()
	return false, r.write(ctx, at.dir, f, sealed, of)
}

// isThere tells whether the file is in its place. errConflict says that another
// one is.
func (r *run) isThere(ctx context.Context, dir *folder, f file) (bool, error) {
	st, err := dir.lstat(path.Base(f.Path))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	switch kind := st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFDIR:
		return false, fmt.Errorf("%w: it is a folder", errConflict)
	case kind == unix.S_IFREG && st.Size == f.Size:
		if !f.Modified.IsZero() && time.Unix(st.Mtim.Unix()).Equal(f.Modified) {
			r.Progress(0, f.Size)
			return true, nil
		}
		same, err := r.sameContent(ctx, dir, f)
		if same || err != nil {
			return same, err
		}
	}
	if !r.Overwrite {
		return false, fmt.Errorf("%w: it is another file; --overwrite replaces it", errConflict)
	}
	return false, nil
}

// sameContent reads what is in the file's place. If it is the file, it gets its
// details.
func (r *run) sameContent(ctx context.Context, dir *folder, f file) (bool, error) {
	in, err := dir.open(path.Base(f.Path), unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return false, err
	}
	defer in.Close()
	sum := sha512.New()
	n, err := r.copy(ctx, sum, in)
	if err != nil || n != f.Size || !bytes.Equal(sum.Sum(nil), f.SHA512[:]) {
		r.Progress(0, -n) // it counts when it is written
		return false, err
	}
	if err := r.setDetails(dir, in, f); err != nil {
		r.Logger.Warn("the file is there, but its details cannot be set", "path", manifest.EscapePath(f.Path), "error", err)
	}
	return true, nil
}

func (r *run) setDetails(dir *folder, open *os.File, f file) error {
	if r.DryRun {
		return nil
	}
	if f.HasMode {
		if err := open.Chmod(f.Mode.Perm()); err != nil {
			return err
		}
	}
	return dir.setTime(open.Name(), f.modified())
}

// write decodes into a partial file, which gets its name when it proved right. of
// is the entry that the sealed file has, which may be another version's; the
// details are f's.
func (r *run) write(ctx context.Context, dir *folder, f file, sealed io.Reader, of *manifest.Entry) (err error) {
	plain, err := r.Opener.Open(sealed, of)
	if err != nil {
		return err
	}
	defer plain.Close()
	partial := f.partial()
	out, err := dir.create(partial, f.HasMode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, dir.remove(partial))
		}
	}()
	_, err = r.copy(ctx, out, plain)
	if err == nil && f.HasMode {
		err = out.Chmod(f.Mode.Perm())
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	if err := dir.setTime(partial, f.modified()); err != nil {
		return err
	}
	return dir.rename(partial, path.Base(f.Path))
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
