package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
)

// lastSQL gives, for the files of a folder of a version from one name to another,
// the sealed file's hash and the last readable version that lists it.
const lastSQL = `SELECT n.name, n.sealed_sha512, (SELECT p.name FROM versions p
		WHERE p.storage = v.storage AND p.damaged = '' AND p.seq <= n.last ORDER BY p.seq DESC LIMIT 1)
	FROM versions v JOIN folders f ON f.path = ?2 JOIN nodes n ON n.folder = f.id
	WHERE v.name = ?1 AND n.name >= ?3 AND n.name <= ?4 AND n.first <= v.seq AND n.last >= v.seq AND n.child IS NULL`

// SealedFiles opens the sealed files of a version as OpenSealed does, with less to
// do for each: it keeps folders open, and the places of neighbours are asked for
// at once. It is not safe for concurrent use; there can be several.
type SealedFiles struct {
	c      *Catalog
	v      Version
	root   *os.Root
	in     *Folders
	newest bool // all files are in its own folder
	hints  map[string]hint
	names  map[string]backupname.Name // parsed
}

// hint is where a file is, if it is the one with this hash.
type hint struct {
	sealed manifest.Hash
	folder backupname.Name
}

// SealedFiles are those of a version. The caller closes them.
func (c *Catalog) SealedFiles(ctx context.Context, v Version) (*SealedFiles, error) {
	versions, err := c.Versions(ctx, v.Name.Storage())
	if err != nil {
		return nil, err
	}
	var newest backupname.Name
	for _, one := range versions {
		if one.Damaged == "" {
			newest = one.Name
		}
	}
	root, err := os.OpenRoot(c.root)
	if err != nil {
		return nil, fmt.Errorf("cannot open the archive: %w", err)
	}
	return &SealedFiles{c: c, v: v, root: root, in: NewFolders(root), newest: newest == v.Name, names: map[string]backupname.Name{}}, nil
}

// Close closes what is kept open.
func (s *SealedFiles) Close() {
	s.in.Close()
	_ = s.root.Close()
}

// Expect tells which files are opened next: some of one folder, in the order of
// Files. It is not needed, and helps with versions that are not the newest.
func (s *SealedFiles) Expect(ctx context.Context, files []manifest.Entry) error {
	s.hints = nil
	if s.newest || len(files) == 0 {
		return nil
	}
	dir, from := path.Split(files[0].Path)
	_, to := path.Split(files[len(files)-1].Path)
	return s.c.use(ctx, func(db *database) error {
		rows, err := db.read.QueryContext(ctx, lastSQL, s.v.Name.String(), folderPath(s.v, strings.TrimSuffix(dir, "/")), []byte(from), []byte(to))
		if err != nil {
			return err
		}
		defer rows.Close()
		s.hints = make(map[string]hint, len(files))
		for i := range files {
			s.hints[files[i].Path] = hint{}
		}
		var name, sha, last sql.RawBytes
		for rows.Next() {
			if err := rows.Scan(&name, &sha, &last); err != nil {
				return err
			}
			h, expected := s.hints[dir+string(name)]
			if !expected {
				continue // between them: it is not held in memory
			}
			copy(h.sealed[:], sha)
			if h.folder, err = s.parse(last); err != nil {
				return err
			}
			s.hints[dir+string(name)] = h
		}
		return rows.Err()
	})
}

// parse reads the name of a version, of which there are few.
func (s *SealedFiles) parse(text []byte) (backupname.Name, error) {
	if name, ok := s.names[string(text)]; ok {
		return name, nil
	}
	name, err := backupname.Parse(string(text))
	if err == nil {
		s.names[name.String()] = name
	}
	return name, err
}

// Open is Catalog.OpenSealed.
func (s *SealedFiles) Open(ctx context.Context, e *manifest.Entry) (*os.File, *manifest.Entry, error) {
	search := newSearch(s.c, s.in, s.v, e)
	if h, ok := s.hints[e.Path]; ok && h.sealed == e.SealedSHA512 {
		search.hint = h.folder
	}
	return search.run(ctx)
}
