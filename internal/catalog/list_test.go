package catalog

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/manifest"
)

// largeFolder is one that takes three pages, with a folder in its middle.
func largeFolder(t testing.TB) (*archive, *Catalog, Version) {
	a, files := newArchive(t), listing{}
	for i := range 2*listingPage + 10 {
		s := seal(fmt.Sprintf("ab/%05d\xff", i), "12345"[:i%5])
		if i%3 > 0 {
			s.Modified = time.Unix(int64(i), int64(i)).UTC()
		}
		if i%2 > 0 {
			s.Mode, s.HasMode = 0o640, true
		}
		if i%7 == 0 {
			s.Key, s.Blocks = "key", "blocks"
		}
		files[s.Path] = s
	}
	files["ab/02000/file"] = seal("ab/02000/file", "x")
	n := night(t, "file-storage", 1)
	a.publish(n, files)
	return a, a.newCatalog(), Version{Name: n}
}

// Listings and single items say the same as ReadDir.
func TestListing(t *testing.T) {
	_, c, v := largeFolder(t)
	var want []Item
	for n, err := range c.ReadDir(t.Context(), v, "ab") {
		must(t, err)
		e := n.Entry
		want = append(want, Item{n.Name, n.Dir, e.Size, e.Modified, e.Mode, e.HasMode})
	}
	if len(want) != 2*listingPage+11 {
		t.Fatalf("%d items", len(want))
	}
	for _, attributes := range []bool{true, false} {
		l := c.List(v, "ab")
		for _, after := range []int{-1, 0, 2000, listingPage - 1, listingPage, len(want) - 1, -1} {
			l.After("")
			if after >= 0 {
				l.After(want[after].Name)
			}
			var got []Item
			for {
				page, err := l.Next(t.Context(), attributes)
				must(t, err)
				if len(page) == 0 {
					break
				}
				got = append(got, page...)
			}
			same := slices.EqualFunc(got, want[after+1:], func(got, want Item) bool {
				return got == want || !attributes && got == Item{Name: want.Name, Dir: want.Dir}
			})
			if !same {
				t.Errorf("attributes %v, after %d: %d items, want %d", attributes, after, len(got), len(want)-after-1)
			}
		}
	}
	// Page by page with attributes or without, and back and forth in between.
	l := c.List(v, "ab")
	for step, after := range []int{-1, 0, 5, 2000, listingPage - 1, -1, listingPage} {
		l.After("")
		if after >= 0 {
			l.After(want[after].Name)
		}
		at := after + 1
		for n := range 2 {
			attributes := (step+n)%2 > 0
			page, err := l.Next(t.Context(), attributes)
			must(t, err)
			for _, got := range page {
				if got != want[at] && (attributes || got != Item{Name: want[at].Name, Dir: want[at].Dir}) {
					t.Fatalf("step %d, page %d: %+v, want %+v", step, n, got, want[at])
				}
				at++
			}
		}
	}
	for _, i := range []int{0, 1, 2, 3, 2000, 2001, 2002, len(want) - 1} {
		if got, err := c.Item(t.Context(), v, "ab/"+want[i].Name); err != nil || got != want[i] {
			t.Errorf("%+v, %v, want %+v", got, err, want[i])
		}
	}
}

func TestListingOfWhatIsNotThere(t *testing.T) {
	a, c, v := largeFolder(t)
	none := Version{Name: night(t, "file-storage", 9)}
	for what, x := range map[string]struct {
		v    Version
		path string
		list error
		item error
	}{
		"no folder":     {v, "xy", ErrNotExist, ErrNotExist},
		"a file":        {v, "ab/00000\xff", unix.ENOTDIR, nil},
		"below a file":  {v, "ab/00000\xff/x", ErrNotExist, ErrNotExist},
		"no such path":  {v, "ab//x", ErrNotExist, ErrNotExist},
		"no version":    {none, "ab", ErrNoVersion, ErrNoVersion},
		"a folder":      {v, "ab", nil, nil},
		"the root":      {v, "", nil, ErrNotExist},
		"no version's ": {none, "", ErrNoVersion, ErrNotExist},
	} {
		for _, attributes := range []bool{true, false} {
			if _, err := c.List(x.v, x.path).Next(t.Context(), attributes); !errors.Is(err, x.list) {
				t.Errorf("%s: listing it: %v", what, err)
			}
		}
		if _, err := c.Item(t.Context(), x.v, x.path); !errors.Is(err, x.item) {
			t.Errorf("%s: looking it up: %v", what, err)
		}
	}
	l := c.List(v, "ab")
	_, err := l.Next(t.Context(), false)
	must(t, err)
	a.publish(v.Name, listing{"ab/x": seal("ab/x", "other")})
	refresh(t, c)
	more := 0
	for err == nil && more <= listingPage { // a page may have been read before
		var page []Item
		page, err = l.Next(t.Context(), false)
		more += len(page)
	}
	if !errors.Is(err, ErrChanged) {
		t.Errorf("the version was replaced: %d more items, %v", more, err)
	}
	must(t, os.WriteFile(a.file(v.Name, manifest.ArchiveInfo), []byte("no list\n"), 0o644))
	refresh(t, c)
	if _, err := c.List(v, "").Next(t.Context(), true); !errors.Is(err, ErrDamaged) {
		t.Errorf("the list is damaged: %v", err)
	}
	if _, err := c.Item(t.Context(), v, "ab/x"); !errors.Is(err, ErrDamaged) {
		t.Errorf("the list is damaged: %v", err)
	}
}
