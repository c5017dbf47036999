package catalog

import (
	"context"
	"os"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
)

// resealedSQL gives the other sealed files that the lists have of a plain file,
// each with the last version that lists it, the newest first.
const resealedSQL = `SELECT (SELECT p.name FROM versions p WHERE p.storage = ?1 AND p.damaged = '' AND p.seq <= n.last
		ORDER BY p.seq DESC LIMIT 1), n.sealed_path, n.sealed_size, n.sealed_sha512, n.extra
	FROM folders f JOIN nodes n ON n.folder = f.id
	WHERE f.path = ?2 AND n.name = ?3 AND NOT (n.sealed_path = ?4 AND n.sealed_size = ?5 AND n.sealed_sha512 = ?6)
		AND n.size = ?7 AND n.sha512 = ?8
	ORDER BY n.last DESC`

// healed looks for a sealed file that can stand for the one that is missing: the
// same plain file, sealed again for another version. All that is known of it
// comes from that version's list, so it is verified as any other.
func (s *search) healed(ctx context.Context) (*os.File, *manifest.Entry, error) {
	others, err := s.resealed(ctx)
	if err != nil {
		return nil, nil, err
	}
	var failed error
	for i := range others {
		e := &others[i]
		o := newSearch(s.c, s.in, Version{Name: e.Backup}, e)
		f, err := o.quick(ctx)
		if f == nil && err == nil {
			f, err = o.everywhere(ctx)
		}
		if err != nil {
			return nil, nil, err
		}
		if f != nil {
			if s.c.places.tell(s.key) {
				s.c.log.Info("a sealed file is missing; another version's of the same file is used",
					"version", s.v.Name.String(), "path", s.e.Path, "instead", e.Backup.String())
			}
			return f, e, nil
		}
		if failed == nil {
			failed = o.failed
		}
	}
	s.failed = failed // that one cannot be read now is not that there is none
	return nil, nil, nil
}

func (s *search) resealed(ctx context.Context) (others []manifest.Entry, err error) {
	args := append(s.args(s.v.Name.Storage()), s.e.Size, s.e.SHA512[:])
	err = s.c.use(ctx, func(db *database) error {
		others = nil
		rows, err := db.read.QueryContext(ctx, resealedSQL, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		var r row
		var version string
		for rows.Next() {
			if err := rows.Scan(&version, &r.sealedPath, &r.sealedSize, &r.sealedSHA, &r.extra); err != nil {
				return err
			}
			name, err := backupname.Parse(version)
			if err != nil {
				return err
			}
			n, err := r.node(Version{Name: name}, "")
			if err != nil {
				return err
			}
			n.Entry.Path, n.Entry.Size, n.Entry.SHA512 = s.e.Path, s.e.Size, s.e.SHA512
			others = append(others, n.Entry)
		}
		return rows.Err()
	})
	return others, err
}
