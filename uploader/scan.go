package uploader

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/extsort"
	"github.com/chipster/firn/internal/manifest"
)

const (
	// scanners is how many look for files at once: more than there are
	// processors, since a disk behind a network takes its time for each answer.
	scanners = 16
	// scanBatch is how many names of a folder one of them takes at a time.
	scanBatch = 1000
)

// scan finds all files of the storage. Links are followed, as the original does;
// a link to a folder above itself is not. The caller closes the result.
func (r *run) scan(ctx context.Context, s *storage) (*extsort.Sorter, error) {
	for _, pattern := range r.Exclude {
		if !doublestar.ValidatePattern(pattern) {
			return nil, fmt.Errorf("exclude: %q is not a pattern", pattern)
		}
	}
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(scanners)
	sc := &scanner{run: r, storage: s, work: work, found: extsort.New(sortMemory)}
	work.Go(func() error { return sc.folder(ctx, "", nil) })
	if err := work.Wait(); err != nil {
		return nil, errors.Join(err, sc.found.Close())
	}
	r.log.Info("scanned", "storage", r.Storage, "files", sc.found.Len())
	return sc.found, nil
}

type scanner struct {
	*run
	storage *storage
	work    *errgroup.Group

	mu     sync.Mutex // for the rest
	found  *extsort.Sorter
	record []byte
}

// beside does something beside the rest, or at once where enough is being done
// already: so nothing waits in a queue, which would grow with the storage.
func (s *scanner) beside(do func() error) error {
	if s.work.TryGo(do) {
		return nil
	}
	return do()
}

// inode tells a folder from all others.
type inode struct{ device, number uint64 }

// folder is one that several may look at: the last of them closes it.
type folder struct {
	*os.File
	path  string
	above []inode // of the folders that lead to it, and its own
	users atomic.Int32
}

func (f *folder) done() {
	if f.users.Add(-1) == 0 {
		f.Close()
	}
}

// folder scans a folder. above holds the folders that lead to it. What cannot
// be read is left out; only the storage itself must be readable.
func (s *scanner) folder(ctx context.Context, dir string, above []inode) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	opened, err := s.storage.open(dir)
	if err != nil {
		return s.unreadable(dir, err)
	}
	f := &folder{File: opened, path: dir}
	f.users.Store(1)
	defer f.done()
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return s.unreadable(dir, err)
	}
	self := inode{stat.Dev, stat.Ino}
	if slices.Contains(above, self) {
		s.Logger.Warn("a link leads to a folder above itself, not followed", "path", dir)
		return nil
	}
	f.above = append(slices.Clip(above), self)
	for {
		entries, err := f.ReadDir(scanBatch)
		if len(entries) > 0 {
			f.users.Add(1)
			if err := s.beside(func() error { return s.batch(ctx, f, entries) }); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return s.unreadable(dir, err)
		}
	}
}

// batch looks at some of a folder's entries, and then into the folders among
// them.
func (s *scanner) batch(ctx context.Context, f *folder, entries []fs.DirEntry) error {
	defer f.done()
	var files []file
	var folders []string
	for _, e := range entries {
		name := e.Name()
		if f.path != "" {
			name = f.path + "/" + name
		}
		switch found, isFolder := s.entry(f, name, e); {
		case isFolder:
			folders = append(folders, name)
		case found != nil:
			files = append(files, *found)
		}
	}
	if err := s.add(files); err != nil {
		return err
	}
	for _, name := range folders {
		if err := s.beside(func() error { return s.folder(ctx, name, f.above) }); err != nil {
			return err
		}
	}
	return nil
}

// entry tells what an entry of a folder is: a file, a folder, or nothing to be
// backed up.
func (s *scanner) entry(dir *folder, name string, e fs.DirEntry) (found *file, isFolder bool) {
	if s.excluded(name) {
		return nil, false
	}
	if e.IsDir() {
		return nil, true
	}
	// A link may lead to a folder, whose files are not all another shard's.
	if !s.Shard.Has(name) && e.Type()&fs.ModeSymlink == 0 {
		return nil, false
	}
	var stat unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), e.Name(), &stat, 0); err != nil {
		if errors.Is(err, unix.ENOENT) && e.Type()&fs.ModeSymlink != 0 {
			s.Logger.Warn("a link leads nowhere, not followed", "path", name)
		} else {
			s.unreadable(name, err)
		}
		return nil, false
	}
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		if err := manifest.CheckPath(name); err != nil { // no list could hold it
			s.leftOut.add(s.Logger, name, err)
			return nil, false
		}
		if !s.Shard.Has(name) {
			return nil, false
		}
		f := fileOf(name, &stat)
		return &f, false
	case unix.S_IFDIR:
		return nil, true
	}
	s.Logger.Info("not a file or folder, ignored", "path", name)
	return nil, false
}

func (s *scanner) add(files []file) error {
	if len(files) == 0 {
		return nil
	}
	s.Scanned(len(files))
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range files {
		s.record = files[i].appendRecord(s.record[:0])
		if err := s.found.Add(s.record); err != nil {
			return err
		}
	}
	return nil
}

func fileOf(name string, stat *unix.Stat_t) file {
	return file{path: name, size: stat.Size, modified: time.Unix(stat.Mtim.Unix()).UTC(), mode: manifest.ModeOf(stat.Mode)}
}

// excluded matches a pattern with a slash against the path, one without
// against the last part of it, as .gitignore does.
func (s *scanner) excluded(name string) bool {
	for _, pattern := range s.Exclude {
		text := name
		if !strings.Contains(pattern, "/") {
			text = path.Base(name)
		}
		if doublestar.MatchUnvalidated(strings.TrimPrefix(pattern, "/"), text) {
			return true
		}
	}
	return false
}

// unreadable leaves out what cannot be read, but for the storage itself.
func (s *scanner) unreadable(name string, err error) error {
	if name == "" {
		return fmt.Errorf("storage: %w", err)
	}
	if errors.Is(err, fs.ErrNotExist) {
		s.leftOut.vanished(s.Logger, name)
		return nil
	}
	s.leftOut.add(s.Logger, name, err)
	return nil
}
