package catalog

import (
	"context"
	"crypto/sha512"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
)

// sealedSQL gives the folders of the last versions that list a sealed file, the
// last of those around the version first, then the newest first.
const sealedSQL = `SELECT (SELECT p.name FROM versions p WHERE p.storage = v.storage AND p.damaged = '' AND p.seq <= n.last
		ORDER BY p.seq DESC LIMIT 1)
	FROM versions v JOIN folders f ON f.path = ?2 JOIN nodes n ON n.folder = f.id
	WHERE v.name = ?1 AND n.name = ?3 AND n.sealed_path = ?4 AND n.sealed_size = ?5 AND n.sealed_sha512 = ?6
	ORDER BY n.first <= v.seq AND n.last >= v.seq DESC, n.last DESC`

// listedSQL gives all versions that list a file at a sealed path, and whether it
// is this one.
const listedSQL = `SELECT p.name, n.sealed_size = ?5 AND n.sealed_sha512 = ?6
	FROM versions p JOIN folders f ON f.path = ?2 JOIN nodes n ON n.folder = f.id
	WHERE p.storage = ?1 AND p.damaged = '' AND n.name = ?3 AND n.first <= p.seq AND n.last >= p.seq AND n.sealed_path = ?4`

// search is the search for one sealed file.
type search struct {
	c    *Catalog
	v    Version
	e    *manifest.Entry
	key  placeKey
	in   *Folders
	hint backupname.Name // where the catalog says that it is, if it was asked before

	listed map[backupname.Name]bool // versions known to list a file of its name: true if it is this one
	last   backupname.Name          // the last of them around v
	failed error                    // a place that could not be looked at
	seen   string                   // what was found instead
}

// OpenSealed finds and opens the sealed file of an entry of v; the caller closes
// it, and opens it with the entry that comes beside it. That is e, or, where the
// sealed file of e is in no folder, the one of another version that has the same
// plain file under the same path: what was lost and came again with a later
// backup. A sealed file that is there and damaged is opened as it is.
//
// Its size is right. Its hash was checked only where the catalog does not know
// that the folder that holds it lists exactly this file: while an archiver is at
// work, or after one died. Errors: ErrMissing, ErrNoVersion where the version was
// removed, or why the file cannot be read. Backup of the entry does not matter.
func (c *Catalog) OpenSealed(ctx context.Context, v Version, e *manifest.Entry) (*os.File, *manifest.Entry, error) {
	root, err := os.OpenRoot(c.root)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot open the archive: %w", err)
	}
	defer root.Close()
	in := NewFolders(root)
	defer in.Close()
	return newSearch(c, in, v, e).run(ctx)
}

func (s *search) run(ctx context.Context) (*os.File, *manifest.Entry, error) {
	of := s.e
	f, err := s.quick(ctx)
	for i := 0; f == nil && err == nil; i++ {
		if f, err = s.everywhere(ctx); f == nil && err == nil && s.failed == nil {
			f, of, err = s.healed(ctx)
		}
		if f != nil || err != nil || s.failed != nil || i == len(patience) {
			break
		}
		err = s.c.places.wait(ctx, patience[i])
	}
	switch {
	case f != nil:
		return f, of, nil
	case err == nil && s.failed != nil:
		err = s.failed
	case err == nil:
		if _, there := statList(s.c.root, s.v.Name); !there {
			err = fmt.Errorf("%w: it was removed from the archive", ErrNoVersion) // and the catalog has not heard of it
			break
		}
		s.c.places.vain()
		err = fmt.Errorf("%w%s", ErrMissing, s.seen)
	}
	return nil, nil, fmt.Errorf("%s of %s: %w", s.e.SealedPath, s.v.Name, err)
}

func newSearch(c *Catalog, in *Folders, v Version, e *manifest.Entry) *search {
	return &search{c: c, v: v, e: e, key: keyOf(v, e), in: in}
}

func (s *search) args(first string) []any {
	dir, name := path.Split(s.e.Path)
	return []any{first, folderPath(s.v, strings.TrimSuffix(dir, "/")), []byte(name),
		[]byte(s.e.SealedPath), s.e.SealedSize, s.e.SealedSHA512[:]}
}

// quick looks where the file was found before, where it should be as far as is
// known already, in the version's own folder, where all files of the newest one
// are, and where the catalog says.
func (s *search) quick(ctx context.Context) (*os.File, error) {
	if p, ok := s.c.places.get(s.key); ok {
		if f, info := s.open(p.folder); f != nil {
			if os.SameFile(info, p.info) && info.ModTime().Equal(p.info.ModTime()) {
				return f, nil
			}
			_ = f.Close()
		}
	}
	if !s.hint.IsZero() {
		if f, _ := s.open(s.hint); f != nil {
			return f, nil
		}
	}
	if f, _ := s.open(s.v.Name); f != nil {
		return f, nil
	}
	var folders []backupname.Name
	err := s.c.use(ctx, func(db *database) (err error) {
		rows, err := db.sealed.QueryContext(ctx, s.args(s.v.Name.String())...)
		if err == nil {
			folders, err = names(rows)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for i, folder := range folders {
		if i == 0 {
			s.last = folder
		}
		if f, _ := s.open(folder); f != nil {
			return f, nil
		}
	}
	return nil, nil
}

// names reads and closes rows of one column.
func names(rows *sql.Rows) (all []backupname.Name, err error) {
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		name, err := backupname.Parse(text)
		if err != nil {
			return nil, err
		}
		all = append(all, name)
	}
	return all, rows.Err()
}

// everywhere looks into all folders of the storage, with a list or without one.
// Files only move forward, so it goes forward from where the file should be,
// then from the version itself, and to earlier ones at last.
func (s *search) everywhere(ctx context.Context) (*os.File, error) {
	if s.listed == nil {
		if err := s.findListed(ctx); err != nil {
			return nil, err
		}
	}
	folders, err := folderNames(s.c.root)
	if err != nil {
		return nil, err
	}
	for _, folder := range s.order(folders) {
		f, info := s.open(folder)
		if f == nil {
			continue
		}
		ok, known := s.listed[folder]
		var err error
		if !known {
			ok, err = s.isIt(ctx, f)
		}
		if ok && err == nil {
			s.c.places.put(s.key, place{folder, info})
			return f, nil
		}
		_ = f.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		s.note(folder, err)
	}
	return nil, nil
}

// findListed asks which folders' lists tell whether what is there is the file: to
// hash it instead can take hours.
func (s *search) findListed(ctx context.Context) error {
	return s.c.use(ctx, func(db *database) error {
		s.listed = map[backupname.Name]bool{}
		rows, err := db.read.QueryContext(ctx, listedSQL, s.args(s.v.Name.Storage())...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var text string
			var isIt bool
			if err := rows.Scan(&text, &isIt); err != nil {
				return err
			}
			name, err := backupname.Parse(text)
			if err != nil {
				return err
			}
			s.listed[name] = isIt
		}
		return rows.Err()
	})
}

func (s *search) order(folders []backupname.Name) []backupname.Name {
	folders = slices.DeleteFunc(folders, func(n backupname.Name) bool { return n.Storage() != s.v.Name.Storage() })
	at := func(name backupname.Name) int {
		i, _ := slices.BinarySearchFunc(folders, name, backupname.Compare)
		return i
	}
	own := at(s.v.Name)
	last := own
	if !s.last.IsZero() {
		last = max(own, at(s.last))
	}
	earlier := slices.Clone(folders[:own])
	slices.Reverse(earlier)
	return slices.Concat(folders[last:], folders[own:last], earlier)
}

// open opens what may be the file in a folder: a regular file of the right
// size. Where there is none, it returns nil.
func (s *search) open(folder backupname.Name) (*os.File, os.FileInfo) {
	f, info, err := s.in.Open(folder, s.e.SealedPath)
	switch {
	case errors.Is(err, ErrNotRegular):
		s.note(folder, nil)
		return nil, nil
	case err != nil:
		s.note(folder, err)
		return nil, nil
	case info.Size() != s.e.SealedSize:
		s.note(folder, nil)
		_ = f.Close()
		return nil, nil
	}
	return f, info
}

// note remembers why a candidate was none, for the error at the end.
func (s *search) note(folder backupname.Name, err error) {
	switch {
	case err == nil:
		s.seen = fmt.Sprintf("; what has its name in %s is another file", folder)
	case !isAbsent(err) && !errors.Is(err, unix.ENAMETOOLONG) && !errors.Is(err, unix.ELOOP) && s.failed == nil:
		s.failed = err
	}
}

// isIt compares the hash, and rewinds.
func (s *search) isIt(ctx context.Context, f *os.File) (bool, error) {
	h := sha512.New()
	buf := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, err := f.Read(buf)
		h.Write(buf[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			return false, err
		}
	}
	_, err := f.Seek(0, io.SeekStart)
	return err == nil && manifest.Hash(h.Sum(nil)) == s.e.SealedSHA512, err
}
