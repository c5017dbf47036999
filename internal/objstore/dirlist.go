package objstore

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"
)

// List yields the objects folder by folder: it holds the names of the folders
// on the way down to where it is, not those of the whole store.
func (d *Dir) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		err := d.walk(ctx, ".", "", prefix, func(o Object) bool { return yield(o, nil) })
		if err != nil && err != errStopped {
			yield(Object{}, d.fail("list", prefix, err))
		}
	}
}

// errStopped says that the caller of List has seen enough.
var errStopped = errors.New("stopped")

// walk yields the objects below dir, whose keys begin with base.
func (d *Dir) walk(ctx context.Context, dir, base, prefix string, yield func(Object) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := d.entries(dir, "")
	if err != nil {
		return err
	}
	// A folder sorts as its keys do: "a.x" < "a/x" < "a0".
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	for _, e := range entries {
		key := base + e.name
		switch {
		case strings.HasSuffix(e.name, "/"):
			if strings.HasPrefix(key, prefix) || strings.HasPrefix(prefix, key) {
				err = d.walk(ctx, e.file, key, prefix, yield)
			}
		case strings.HasPrefix(key, prefix) && isPathOf(key, e.file):
			err = d.yieldFile(key, e.file, yield)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *Dir) yieldFile(key, file string, yield func(Object) bool) error {
	info, err := d.root.Lstat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // deleted since its folder was read
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return nil
	}
	if !yield(Object{Key: key, Size: info.Size(), Modified: info.ModTime()}) {
		return errStopped
	}
	return nil
}

// entry is what stands between two slashes of keys.
type entry struct {
	name string // with a slash at the end if more follows
	file string // its path in the store
}

// entries reads a folder. Names that are written in several pieces are put
// together, text being the pieces so far, for they sort among the others.
func (d *Dir) entries(dir, text string) ([]entry, error) {
	f, err := d.root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // deleted since the folder above was read
	}
	if err != nil {
		return nil, err
	}
	found, err := f.ReadDir(-1)
	f.Close()
	if err != nil {
		return nil, err
	}
	var entries []entry
	for _, e := range found {
		file := path.Join(dir, e.Name())
		piece, more := strings.CutPrefix(e.Name(), markMore)
		switch {
		case file == tmpDir:
		case more && e.IsDir():
			inner, err := d.entries(file, text+piece)
			if err != nil {
				return nil, err
			}
			entries = append(entries, inner...)
		case e.IsDir():
			entries = append(entries, entry{decodeName(text, e.Name()) + "/", file})
		default:
			entries = append(entries, entry{decodeName(text, e.Name()), file})
		}
	}
	return entries, nil
}
