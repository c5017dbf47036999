package catalog

import (
	"cmp"
	"context"
	"iter"
	"path"
	"strings"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
)

// Kind is what happened to a file between two versions.
type Kind int

const (
	Added Kind = iota + 1
	Removed
	Changed
)

func (k Kind) String() string {
	switch k {
	case Added:
		return "added"
	case Removed:
		return "removed"
	case Changed:
		return "changed"
	}
	return "unknown"
}

// Change is one difference between two versions.
type Change struct {
	Kind Kind
	Path string
	Old  *manifest.Entry // nil where added
	New  *manifest.Entry // nil where removed
}

// Diff yields the files whose content, by size and SHA-512, is not the same in
// versions a and b, in the order of Files. The versions may be of different
// storages. The first error ends it, see Files.
func (c *Catalog) Diff(ctx context.Context, a, b Version) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		for _, v := range []Version{a, b} {
			if _, err := c.Lookup(ctx, v, ""); err != nil {
				yield(Change{}, err)
				return
			}
		}
		// What both list in one row is left out by the database.
		var notInA, notInB backupname.Name
		if a.Name.Storage() == b.Name.Storage() {
			notInA, notInB = a.Name, b.Name
		}
		nextOld, stopOld := iter.Pull2(c.walk(ctx, a, notInB, ""))
		defer stopOld()
		nextNew, stopNew := iter.Pull2(c.walk(ctx, b, notInA, ""))
		defer stopNew()
		merge(pull(nextOld), pull(nextNew), yield)
	}
}

// pull makes nil of the end.
func pull(next func() (manifest.Entry, error, bool)) func() (*manifest.Entry, error) {
	return func() (*manifest.Entry, error) {
		e, err, ok := next()
		if !ok || err != nil {
			return nil, err
		}
		return &e, nil
	}
}

func merge(nextOld, nextNew func() (*manifest.Entry, error), yield func(Change, error) bool) {
	older, err := nextOld()
	newer, errNew := nextNew()
	for {
		if err = cmp.Or(err, errNew); err != nil {
			yield(Change{}, err)
			return
		}
		if older == nil && newer == nil {
			return
		}
		change := Change{Old: older, New: newer}
		order := compareFiles(older, newer)
		if order <= 0 {
			change.Kind, change.Path = Removed, older.Path
			older, err = nextOld()
		} else {
			change.Old = nil
		}
		if order >= 0 {
			change.Kind, change.Path = Added, newer.Path
			newer, errNew = nextNew()
		} else {
			change.New = nil
		}
		if order == 0 {
			change.Kind = Changed
			if change.Old.Size == change.New.Size && change.Old.SHA512 == change.New.SHA512 {
				continue
			}
		}
		if !yield(change, nil) {
			return
		}
	}
}

// compareFiles is the order of Files; nil comes after all.
func compareFiles(a, b *manifest.Entry) int {
	if a == nil || b == nil {
		if a == nil {
			return 1
		}
		return -1
	}
	dirA, nameA := path.Split(a.Path)
	dirB, nameB := path.Split(b.Path)
	return cmp.Or(
		strings.Compare(strings.TrimSuffix(dirA, "/"), strings.TrimSuffix(dirB, "/")),
		strings.Compare(nameA, nameB))
}
