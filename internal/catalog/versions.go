package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/signature"
)

// Version is one version of a storage: a folder of the archive with a list.
// What the catalog answers depends on the name alone, so a Version can be kept.
type Version struct {
	Name       backupname.Name
	Files      int64
	Size       int64  // bytes of the plain files
	SealedSize int64  // bytes of the sealed files
	Damaged    string // why its list cannot be read, else ""
	Untrusted  bool   // since nobody trusted has signed it: Damaged says more
}

// Readable returns nil, or why nothing can be read of a version: ErrDamaged, or
// signature.ErrUntrusted.
func (v *Version) Readable() error {
	switch {
	case v.Untrusted:
		return &unreadable{signature.ErrUntrusted, v.Damaged}
	case v.Damaged != "":
		return &unreadable{ErrDamaged, fmt.Sprintf("%v: %s: %s", ErrDamaged, v.Name, v.Damaged)}
	}
	return nil
}

// unreadable is an error whose text was kept in the database.
type unreadable struct {
	kind error
	text string
}

func (e *unreadable) Error() string { return e.text }
func (e *unreadable) Unwrap() error { return e.kind }

// Latest is what the newest version of a storage is called in Find.
const Latest = "latest"

// maxCandidates are listed where a name is ambiguous.
const maxCandidates = 5

// record is a version's row.
type record struct {
	stamp
	Version
	seq   int64
	retry bool // its list was not read for reasons that may pass
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// records reads all versions, in order.
func records(ctx context.Context, q querier) ([]record, error) {
	rows, err := q.QueryContext(ctx, `SELECT name, seq, list, list_size, list_mtime, files, size, sealed_size, damaged, untrusted, retry FROM versions`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []record
	for rows.Next() {
		var r record
		var text string
		err := rows.Scan(&text, &r.seq, &r.list, &r.stamp.size, &r.mtime, &r.Files, &r.Version.Size, &r.SealedSize, &r.Damaged, &r.Untrusted, &r.retry)
		if err != nil {
			return nil, err
		}
		if r.Name, err = backupname.Parse(text); err != nil {
			return nil, err
		}
		r.name = r.Name
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b record) int { return backupname.Compare(a.name, b.name) })
	return all, rows.Err()
}

// Versions are all versions of a storage, or of all storages where storage is
// "", ordered by backupname.Compare.
func (c *Catalog) Versions(ctx context.Context, storage string) ([]Version, error) {
	var versions []Version
	err := c.use(ctx, func(db *database) error {
		all, err := records(ctx, db.read)
		versions = versions[:0]
		for _, r := range all {
			if storage == "" || r.name.Storage() == storage {
				versions = append(versions, r.Version)
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("versions of the archive: %w", err)
	}
	return versions, nil
}

// Find finds a version by its full name, by "<storage>/<time>", by
// "<storage>/latest", or by the beginning of one of the first two where only
// one version has it. Errors: ErrNoVersion, ErrAmbiguous. A damaged version is
// found as well.
func (c *Catalog) Find(ctx context.Context, spec string) (Version, error) {
	all, err := c.Versions(ctx, "")
	if err != nil {
		return Version{}, err
	}
	var found []Version
	for _, v := range slices.Backward(all) { // newest first within a storage
		storage, full := v.Name.Storage(), v.Name.String()
		slashed := storage + "/" + v.Name.TimeText()
		switch {
		case spec == full || spec == slashed || spec == storage+"/"+Latest:
			return v, nil
		case spec != "" && (strings.HasPrefix(full, spec) || strings.HasPrefix(slashed, spec)):
			found = append(found, v)
		}
	}
	switch len(found) {
	case 0:
		return Version{}, fmt.Errorf("%w: %q; the archive has %d versions", ErrNoVersion, spec, len(all))
	case 1:
		return found[0], nil
	}
	return Version{}, fmt.Errorf("%w: %q may be %s", ErrAmbiguous, spec, candidates(found))
}

func candidates(found []Version) string {
	var names []string
	for _, v := range found[:min(len(found), maxCandidates)] {
		names = append(names, v.Name.String())
	}
	text := strings.Join(names, ", ")
	if more := len(found) - len(names); more > 0 {
		text += fmt.Sprintf(" or one of %d others", more)
	}
	return text
}
