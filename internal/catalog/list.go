package catalog

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"fmt"
	iofs "io/fs"
	"path"
	"strings"
	"time"

	"github.com/chipster/firn/internal/manifest"
)

// Item is what listings show of a file or a folder: its name, and where they
// were asked for, a file's attributes. It costs a fraction of a Node.
type Item struct {
	Name     string
	Dir      bool
	Size     int64
	Modified time.Time     // zero where the list does not say
	Mode     iofs.FileMode // where HasMode is set
	HasMode  bool
}

// listingPage is how many items are read at once: about a hundred kilobytes. Few
// enough that a folder of some thousand has pages to be read ahead.
const listingPage = 1024

// What is in the first row is of the version, which makes no name sort before
// it: text comes before all bytes. So SQLite need not repeat it in each row, and
// need not sort.
const (
	namesSQL = `SELECT damaged AS name, list_size AS child, list_mtime AS mtime FROM versions WHERE name = ?1
		UNION ALL SELECT n.name, n.child, NULL ` + itemsFrom
	itemsSQL = `SELECT damaged AS name, list_size AS child, list_mtime AS mtime, NULL, NULL FROM versions WHERE name = ?1
		UNION ALL SELECT n.name, n.child, NULL, n.size, substr(n.extra, 1, ` + attributeBytes + `) ` + itemsFrom
	itemsFrom = `FROM versions v CROSS JOIN folders f CROSS JOIN nodes n
		WHERE v.name = ?1 AND f.path = ?2 AND n.folder = f.id AND n.name > ?3 AND n.first <= v.seq AND n.last >= v.seq
		ORDER BY 1 LIMIT ?4`
	// Of a version that there is, it gives one row.
	itemSQL = `SELECT v.damaged, n.child, n.size, substr(n.extra, 1, ` + attributeBytes + `) FROM versions v
		LEFT JOIN folders f ON f.path = ?2
		LEFT JOIN nodes n ON n.folder = f.id AND n.name = ?3 AND n.first <= v.seq AND n.last >= v.seq
		WHERE v.name = ?1`
	// attributeBytes are enough for those of the extra columns that listings
	// show, which come first. A large file's others can be megabytes.
	attributeBytes = `128`
)

// parse reads the attributes at the beginning of the extra columns.
func (i *Item) parse(extra []byte) error {
	end := 0
	for _, column := range []string{"\tmtime=", "\tmode="} {
		if bytes.HasPrefix(extra[end:], []byte(column)) {
			if n := bytes.IndexByte(extra[end+1:], '\t'); n >= 0 {
				end += 1 + n
			} else {
				end = len(extra)
			}
		}
	}
	if end == 0 {
		return nil
	}
	d, err := manifest.ParseDetails(string(extra[:end]))
	i.Modified, i.Mode, i.HasMode = d.Modified, d.Mode, d.HasMode
	return err
}

// Item finds a file or a folder by its path, as Lookup does, with its attributes
// alone. It does not wait for anything that takes long, so no context ends it
// half way.
func (c *Catalog) Item(ctx context.Context, v Version, name string) (Item, error) {
	if name == "" || manifest.CheckPath(name) != nil {
		return Item{}, fmt.Errorf("%q in %s: %w", name, v.Name, ErrNotExist)
	}
	dir, base := path.Split(name)
	item := Item{Name: base}
	err := c.use(ctx, func(db *database) error {
		var damaged string
		var child, size sql.NullInt64
		var extra sql.RawBytes
		// The driver starts a goroutine a statement for a context that can end.
		rows, err := db.item.QueryContext(context.WithoutCancel(ctx), v.Name.String(), folderPath(v, strings.TrimSuffix(dir, "/")), []byte(base))
		if err != nil {
			return err
		}
		defer rows.Close()
		if !rows.Next() {
			return cmp.Or(rows.Err(), noVersion(v))
		}
		if err := rows.Scan(&damaged, &child, &size, &extra); err != nil {
			return err
		}
		switch item.Dir, item.Size = child.Valid, size.Int64; {
		case damaged != "":
			return damagedVersion(v, damaged)
		case !child.Valid && !size.Valid:
			return ErrNotExist
		}
		return item.parse(extra)
	})
	if err != nil {
		return Item{}, fmt.Errorf("%q in %s: %w", name, v.Name, err)
	}
	return item, nil
}

// Listing reads what is in a folder, a page at a time, and the page after one
// while that is looked at. It holds no connection when no page is read, and need
// not be closed. It is not safe for concurrent use.
type Listing struct {
	c     *Catalog
	v     Version
	dir   string
	after string // the name that came last
	list  stamp  // of the list that it is read of
	ended bool
	page  *page // that was given last
	ahead *page // that follows
}

// page is read once its channel is closed.
type page struct {
	items      []Item
	list       stamp
	err        error
	after      string
	attributes bool
	read       chan struct{}
}

// List begins to list a folder of a version.
func (c *Catalog) List(v Version, dir string) *Listing {
	return &Listing{c: c, v: v, dir: dir, page: &page{}}
}

// After goes to behind a name, or with "" to the beginning.
func (l *Listing) After(name string) { l.after, l.ended, l.ahead = name, false, nil }

// Next returns the next items, with attributes or without, ordered by the bytes of
// the names: none at the end. They are there until the next call. Errors:
// ErrNotExist, unix.ENOTDIR, ErrNoVersion, ErrDamaged, ErrChanged.
func (l *Listing) Next(ctx context.Context, attributes bool) ([]Item, error) {
	if l.ended {
		return nil, nil
	}
	first, p, spare := l.after == "", l.ahead, l.page.items
	if p == nil || p.attributes != attributes {
		p, spare = l.begin(ctx, attributes, spare), nil
	}
	l.ahead = nil
	<-p.read
	switch {
	case p.err != nil:
		return nil, fmt.Errorf("catalog of %s: %w", l.v.Name, p.err)
	case !first && p.list != l.list:
		return nil, fmt.Errorf("%w: %s", ErrChanged, l.v.Name)
	case first && len(p.items) == 0:
		return nil, l.c.checkFolder(ctx, l.v, l.dir)
	}
	l.page, l.list = p, p.list
	if len(p.items) > 0 {
		l.after = p.items[len(p.items)-1].Name
	}
	if l.ended = len(p.items) < listingPage; !l.ended {
		l.ahead = l.begin(ctx, attributes, spare)
	}
	return p.items, nil
}

// begin begins to read the page after the last one, into items that nobody has.
func (l *Listing) begin(ctx context.Context, attributes bool, items []Item) *page {
	p := &page{items: items[:0], after: l.after, attributes: attributes, read: make(chan struct{})}
	c, v, dir := l.c, l.v, l.dir
	go func() {
		defer close(p.read)
		p.err = p.fill(ctx, c, v, dir)
	}()
	return p
}

func (p *page) fill(ctx context.Context, c *Catalog, v Version, dir string) error {
	return c.use(ctx, func(db *database) error {
		found := false
		p.items = p.items[:0]
		stmt := db.names
		if p.attributes {
			stmt = db.items
		}
		// As above: a page takes milliseconds.
		rows, err := stmt.QueryContext(context.WithoutCancel(ctx), v.Name.String(), folderPath(v, dir), []byte(p.after), listingPage+1)
		if err != nil {
			return err
		}
		defer rows.Close()
		var name, extra sql.RawBytes
		var child, mtime, size sql.NullInt64
		fields := []any{&name, &child, &mtime, &size, &extra}
		if !p.attributes {
			fields = fields[:3]
		}
		for rows.Next() {
			if err := rows.Scan(fields...); err != nil {
				return err
			}
			if mtime.Valid { // the version's own row
				found, p.list.size, p.list.mtime = true, child.Int64, mtime.Int64
				if len(name) > 0 {
					return damagedVersion(v, string(name))
				}
				continue
			}
			item := Item{Name: string(name), Dir: child.Valid, Size: size.Int64}
			if err := item.parse(extra); err != nil {
				return fmt.Errorf("%q: %w", join(dir, item.Name), err)
			}
			p.items = append(p.items, item)
		}
		if !found {
			return cmp.Or(rows.Err(), noVersion(v))
		}
		return rows.Err()
	})
}
