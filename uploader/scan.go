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
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/manifest"
)

// file is a regular file that was found.
type file struct {
	path     string
	size     int64
	modified time.Time
	mode     fs.FileMode
}

// scan finds all files of the storage, in the order of their paths. Links are
// followed, as the original does; a link to a folder above itself is not.
func (r *run) scan(ctx context.Context, s *storage) ([]file, error) {
	for _, pattern := range r.Exclude {
		if !doublestar.ValidatePattern(pattern) {
			return nil, fmt.Errorf("exclude: %q is not a pattern", pattern)
		}
	}
	sc := &scanner{run: r, storage: s}
	if err := sc.folder(ctx, "", nil); err != nil {
		return nil, err
	}
	slices.SortFunc(sc.found, func(a, b file) int { return strings.Compare(a.path, b.path) })
	r.log.Info("scanned", "storage", r.Storage, "files", len(sc.found))
	return sc.found, nil
}

type scanner struct {
	*run
	storage *storage
	found   []file
}

// inode tells a folder from all others.
type inode struct{ device, number uint64 }

// folder scans a folder. above holds the folders that lead to it. What cannot
// be read is left out; only the storage itself must be readable.
func (s *scanner) folder(ctx context.Context, dir string, above []inode) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := s.storage.open(dir)
	if err != nil {
		return s.unreadable(dir, err)
	}
	defer f.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return s.unreadable(dir, err)
	}
	self := inode{stat.Dev, stat.Ino}
	if slices.Contains(above, self) {
		s.Logger.Warn("a link leads to a folder above itself, not followed", "path", dir)
		return nil
	}
	above = append(slices.Clip(above), self)
	for {
		entries, err := f.ReadDir(1000)
		for _, e := range entries {
			if err := s.entry(ctx, f, path.Join(dir, e.Name()), e, above); err != nil {
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

func (s *scanner) entry(ctx context.Context, dir *os.File, name string, e fs.DirEntry, above []inode) error {
	if s.excluded(name) {
		return nil
	}
	if e.IsDir() {
		return s.folder(ctx, name, above)
	}
	var stat unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), e.Name(), &stat, 0); err != nil {
		if errors.Is(err, unix.ENOENT) && e.Type()&fs.ModeSymlink != 0 {
			s.Logger.Warn("a link leads nowhere, not followed", "path", name)
			return nil
		}
		return s.unreadable(name, err)
	}
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		if err := manifest.CheckPath(name); err != nil { // no list could hold it
			s.leftOut.add(s.Logger, name, err)
			return nil
		}
		s.found = append(s.found, fileOf(name, &stat))
	case unix.S_IFDIR:
		return s.folder(ctx, name, above)
	default:
		s.Logger.Info("not a file or folder, ignored", "path", name)
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
