package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
)

// worker looks at files, one after another.
type worker struct {
	*run
	in *catalog.Folders
}

// batches looks at files until there are no more.
func (r *run) batches(ctx context.Context, batches iter.Seq[[]catalog.Sealed]) error {
	w := &worker{r, catalog.NewFolders(r.root)}
	defer w.in.Close()
	for files := range batches {
		for i := range files {
			if err := w.file(ctx, &files[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// file looks at one sealed file. What is wrong with it goes into the report; an
// error is what is wrong with the run.
func (r *worker) file(ctx context.Context, s *catalog.Sealed) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p, err := r.check(ctx, s)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	r.report.looked(s.SealedSize)
	if p != nil {
		r.problem(p)
	}
	r.Progress(1, 0)
	return nil
}

// problem notes what is wrong, and lets the log tell of it at once: a long run
// may be interrupted.
func (r *run) problem(p *Problem) {
	if r.report.add(p) {
		r.Logger.Warn("not as listed", "kind", p.Kind, "folder", p.Folder, "sealed", p.SealedPath, "path", p.Path, "detail", p.Detail)
	}
}

// problemOf is a problem with a sealed file that is in its place, or in none.
func problemOf(kind Kind, s *catalog.Sealed, detail string) *Problem {
	entry := s.Entry // the file is one of a batch, which is not to stay in memory with it
	return &Problem{
		Kind: kind, Storage: s.Last.Storage(), Path: manifest.EscapePath(s.Path), SealedPath: s.SealedPath, Folder: s.Last.String(),
		First: s.First.String(), Last: s.Last.String(), Newest: s.Newest, Detail: detail, Entry: &entry,
	}
}

// sealedFile is an open file of the archive.
type sealedFile struct {
	*os.File
	folder backupname.Name // the version's
	size   int64
}

// check returns nil where nothing is wrong with a file.
func (r *worker) check(ctx context.Context, s *catalog.Sealed) (*Problem, error) {
	chosen := r.isChosen(s.SealedPath)
	for again := false; ; again = true {
		f, err := r.open(s.Last, s.SealedPath)
		if err != nil || f.size != s.SealedSize || again {
			if f != nil {
				f.Close()
			}
			var p *Problem
			if f, p, err = r.search(ctx, s); f == nil {
				return p, err
			}
		}
		var p *Problem
		if chosen || f.size != s.SealedSize {
			p, err = r.read(ctx, f, s)
		}
		f.Close()
		if errors.Is(err, unix.ESTALE) && !again {
			continue // another host moved or deleted it
		}
		if err != nil {
			p = damaged(Unreadable, f, s, err.Error(), nil)
		}
		return p, nil
	}
}

// open opens what lies in a place, if it is a regular file.
func (r *worker) open(folder backupname.Name, sealedPath string) (*sealedFile, error) {
	f, info, err := r.in.Open(folder, sealedPath)
	if err != nil {
		return nil, err
	}
	return &sealedFile{f, folder, info.Size()}, nil
}

// search looks for a file that is not where the lists had it, as the mount does:
// an archiver may have moved it, or deleted its version. Where it returns
// neither a file nor a problem, nothing is wrong.
//
// It returns a file of the wrong size only where that is all that there is.
func (r *worker) search(ctx context.Context, s *catalog.Sealed) (*sealedFile, *Problem, error) {
	var why error
	for range 2 { // an archiver may have been faster once
		if _, err := r.Catalog.Refresh(ctx); err != nil {
			r.Logger.Warn("the catalog is not up to date", "error", err)
		}
		opened, of, err := r.Catalog.OpenSealed(ctx, catalog.Version{Name: s.Last}, &s.Entry)
		switch {
		case err == nil && of.SealedPath == s.SealedPath && of.SealedSHA512 == s.SealedSHA512:
			return r.found(ctx, opened, s)
		case err == nil:
			opened.Close()
			return r.healed(s, of)
		}
		why = err
		if listed, err := r.isListed(ctx, s.Last, s); !listed || err != nil {
			return nil, nil, err
		}
	}
	f, err := r.open(s.Last, s.SealedPath)
	switch {
	case err == nil:
		return f, nil, nil
	case errors.Is(err, catalog.ErrNotRegular):
		return nil, problemOf(Missing, s, "in its place is another thing: "+err.Error()), nil
	case !isAbsent(err):
		return nil, problemOf(Unreadable, s, err.Error()), nil
	case errors.Is(why, catalog.ErrMissing):
		return nil, problemOf(Missing, s, why.Error()), nil
	}
	return nil, problemOf(Unreadable, s, why.Error()), nil
}

func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ESTALE)
}

// found takes a file that the catalog found, and notes where it lies.
func (r *worker) found(ctx context.Context, f *os.File, s *catalog.Sealed) (*sealedFile, *Problem, error) {
	folder, err := backupname.Parse(filepath.Base(strings.TrimSuffix(f.Name(), "/"+s.SealedPath)))
	right := folder == s.Last
	if err == nil && !right {
		if err := r.expect(folder, s.SealedPath); err != nil {
			return nil, nil, errors.Join(err, f.Close())
		}
		if backupname.Compare(folder, s.Last) > 0 { // moved on since the run began, if it is listed there
			right, err = r.isListed(ctx, folder, s)
		}
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	if !right {
		r.report.count(&r.report.Misplaced)
	}
	return &sealedFile{f, folder, s.SealedSize}, nil, nil
}

// isListed tells whether a version is there and lists exactly this file.
func (r *worker) isListed(ctx context.Context, folder backupname.Name, s *catalog.Sealed) (bool, error) {
	n, err := r.Catalog.Lookup(ctx, catalog.Version{Name: folder}, s.Path)
	for _, not := range []error{catalog.ErrNoVersion, catalog.ErrNotExist, catalog.ErrDamaged} {
		if errors.Is(err, not) {
			return false, nil
		}
	}
	return n.Entry.SealedPath == s.SealedPath && n.Entry.SealedSHA512 == s.SealedSHA512, err
}

// healed is a file that is missing while another version has the same plain file,
// sealed anew: after a repair, that is how it should be with older versions. Of
// the newest one it is a problem, for the other may go with its version.
func (r *worker) healed(s *catalog.Sealed, of *manifest.Entry) (*sealedFile, *Problem, error) {
	f, err := r.open(s.Last, s.SealedPath)
	switch {
	case err == nil:
		return f, nil, nil // it is there, and wrong
	case !isAbsent(err) && !errors.Is(err, catalog.ErrNotRegular):
		return nil, problemOf(Unreadable, s, err.Error()), nil
	case s.Newest:
		return nil, problemOf(Missing, s, fmt.Sprintf("%s has the same plain file, as %s", of.Backup, of.SealedPath)), nil
	}
	r.report.count(&r.report.Healed)
	return nil, nil, nil
}

// damaged is a problem with a file that was read.
func damaged(kind Kind, f *sealedFile, s *catalog.Sealed, detail string, ranges []envelope.Range) *Problem {
	p := problemOf(kind, s, detail)
	p.Folder, p.Ranges, p.size = f.folder.String(), ranges, f.size
	return p
}
