package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/manifest"
)

// Node is a file or a folder of a version.
type Node struct {
	Name  string // the last part of its path; "" for the root folder
	Dir   bool
	Entry manifest.Entry // of a file only; Backup is the version's own name, wherever the sealed file lies
}

// pageSize is how many rows are read at once. No connection is held between two
// pages, so whoever walks a version can take its time and ask for other things.
const pageSize = 512

const nodeColumns = ` n.name, n.child, n.size, n.sha512, n.sealed_path, n.sealed_size, n.sealed_sha512, n.extra `

// Of a version that there is, these give at least one row.
const (
	lookupSQL = `SELECT v.damaged, v.list_size, v.list_mtime, ` + nodeColumns + ` FROM versions v
		LEFT JOIN folders f ON f.path = ?2
		LEFT JOIN nodes n ON n.folder = f.id AND n.name = ?3 AND n.first <= v.seq AND n.last >= v.seq
		WHERE v.name = ?1`
	listSQL = `SELECT v.damaged, v.list_size, v.list_mtime, ` + nodeColumns + ` FROM versions v
		LEFT JOIN folders f ON f.path = ?2
		LEFT JOIN nodes n ON n.folder = f.id AND n.name > ?3 AND n.first <= v.seq AND n.last >= v.seq
		WHERE v.name = ?1 ORDER BY n.name LIMIT ?4`
)

// row is where rows are read into, one after another. Its bytes are the
// driver's until the next one.
type row struct {
	damaged                           string
	stamp                             stamp // size and mtime only
	name                              sql.RawBytes
	child, size, sealedSize           sql.NullInt64
	sha, sealedPath, sealedSHA, extra sql.RawBytes
}

func (r *row) versionFields() []any { return []any{&r.damaged, &r.stamp.size, &r.stamp.mtime} }

func (r *row) nodeFields() []any {
	return []any{&r.name, &r.child, &r.size, &r.sha, &r.sealedPath, &r.sealedSize, &r.sealedSHA, &r.extra}
}

func (r *row) node(v Version, dir string) (n Node, err error) {
	if r.child.Valid {
		return Node{Name: string(r.name), Dir: true}, nil
	}
	e := &n.Entry
	e.Path = dir + "/" + string(r.name)
	n.Name = e.Path[len(dir)+1:]
	if dir == "" {
		e.Path = n.Name
	}
	e.Size, e.SealedPath, e.SealedSize, e.Backup = r.size.Int64, string(r.sealedPath), r.sealedSize.Int64, v.Name
	copy(e.SHA512[:], r.sha)
	copy(e.SealedSHA512[:], r.sealedSHA)
	if len(r.extra) > 0 {
		if e.Details, err = manifest.ParseDetails(string(r.extra)); err != nil {
			err = fmt.Errorf("%s in %s: %w", e.Path, v.Name, err)
		}
	}
	return n, err
}

// join puts a name behind a folder's path, of which "" is the root's.
func join(dir, name string) string {
	if dir == "" || name == "" {
		return dir + name
	}
	return dir + "/" + name
}

// folderPath is the path of a folder in the table of folders.
func folderPath(v Version, dir string) []byte { return []byte(join(v.Name.Storage(), dir)) }

func noVersion(v Version) error { return fmt.Errorf("%w: %q", ErrNoVersion, v.Name) }

func damagedVersion(v Version, why string) error {
	return fmt.Errorf("%w: %s: %s", ErrDamaged, v.Name, why)
}

// maxPageBytes ends a page early: a file of terabytes has megabytes of blocks in
// its line.
const maxPageBytes = 8 << 20

// page reads nodes of one folder, and the stamp of the list that they are of. cut
// says that there may be more than it had room for.
func (c *Catalog) page(ctx context.Context, v Version, dir string, stmt func(*database) *sql.Stmt, args ...any) (nodes []Node, cut bool, s stamp, err error) {
	args = append([]any{v.Name.String(), folderPath(v, dir)}, args...)
	var r row
	found := false
	err = c.use(ctx, func(db *database) error {
		nodes, found, cut = nodes[:0], false, false
		size := 0
		rows, err := stmt(db).QueryContext(ctx, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		fields := append(r.versionFields(), r.nodeFields()...)
		for rows.Next() {
			if err := rows.Scan(fields...); err != nil {
				return err
			}
			found = true
			if r.name == nil {
				continue
			}
			n, err := r.node(v, dir)
			if err != nil {
				return err
			}
			nodes = append(nodes, n)
			if size += len(r.extra); size > maxPageBytes {
				cut = true
				return nil
			}
		}
		return rows.Err()
	})
	switch {
	case err != nil:
		err = fmt.Errorf("catalog of %s: %w", v.Name, err)
	case !found:
		err = noVersion(v)
	case r.damaged != "":
		err = damagedVersion(v, r.damaged)
	}
	return nodes, cut, r.stamp, err
}

// Lookup finds a file or a folder by its path; "" is the root folder. Errors:
// ErrNotExist, ErrNoVersion, ErrDamaged.
func (c *Catalog) Lookup(ctx context.Context, v Version, name string) (Node, error) {
	if name != "" && manifest.CheckPath(name) != nil {
		return Node{}, fmt.Errorf("%q in %s: %w", name, v.Name, ErrNotExist)
	}
	dir, base := path.Split(name)
	nodes, _, _, err := c.page(ctx, v, strings.TrimSuffix(dir, "/"), func(db *database) *sql.Stmt { return db.lookup }, []byte(base))
	switch {
	case err != nil:
		return Node{}, err
	case name == "":
		return Node{Dir: true}, nil
	case len(nodes) == 0:
		return Node{}, fmt.Errorf("%q in %s: %w", name, v.Name, ErrNotExist)
	}
	return nodes[0], nil
}

// ReadDir yields what is in a folder, ordered by the bytes of the names. The
// first error ends it: ErrNotExist, unix.ENOTDIR, ErrNoVersion, ErrDamaged,
// ErrChanged.
func (c *Catalog) ReadDir(ctx context.Context, v Version, dir string) iter.Seq2[Node, error] {
	return func(yield func(Node, error) bool) {
		var list stamp
		for after := ""; ; {
			nodes, cut, s, err := c.page(ctx, v, dir, func(db *database) *sql.Stmt { return db.list }, []byte(after), pageSize)
			switch {
			case err != nil:
			case after != "" && s != list:
				err = fmt.Errorf("%w: %s", ErrChanged, v.Name)
			case after == "" && len(nodes) == 0:
				err = c.checkFolder(ctx, v, dir)
			}
			if err != nil {
				yield(Node{}, err)
				return
			}
			for _, n := range nodes {
				if !yield(n, nil) {
					return
				}
			}
			if len(nodes) < pageSize && !cut {
				return
			}
			list, after = s, nodes[len(nodes)-1].Name
		}
	}
}

// Following yields up to count files and folders of a folder, those that ReadDir
// yields after the one called name. A folder that is not there has none.
func (c *Catalog) Following(ctx context.Context, v Version, dir, name string, count int) ([]Node, error) {
	nodes, _, _, err := c.page(ctx, v, dir, func(db *database) *sql.Stmt { return db.list }, []byte(name), count)
	return nodes, err
}

// checkFolder tells why a folder in which nothing was found may be empty: only
// the root folder can be.
func (c *Catalog) checkFolder(ctx context.Context, v Version, dir string) error {
	n, err := c.Lookup(ctx, v, dir)
	if err == nil && !n.Dir {
		err = fmt.Errorf("%q in %s: %w", dir, v.Name, unix.ENOTDIR)
	}
	return err
}
