package uploader

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// The header's length must not depend on what is filled in later.
func TestHeaderKeepsItsLength(t *testing.T) {
	for _, name := range []string{"a", strings.Repeat("n", 100), strings.Repeat("n", 101), strings.Repeat("n/", 400) + "n"} {
		want, err := tarHeader(name, 0, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int64{1, 8<<30 - 1, 8 << 30, 5 << 40} {
			h, err := tarHeader(name, size, time.Unix(1557307577, 38e6))
			if err != nil || len(h) != len(want) {
				t.Errorf("%d bytes of name, %d of size: header of %d, not %d: %v", len(name), size, len(h), len(want), err)
			}
			r, err := tar.NewReader(bytes.NewReader(h)).Next()
			if err != nil || r.Size != size || r.Name != name {
				t.Errorf("%d came back as %+v, %v", size, r, err)
			}
		}
		abandoned := abandonedName(len(name))
		if len(abandoned) != len(name) || strings.Trim(abandoned, "~/") != "" || strings.HasSuffix(abandoned, "/") || strings.Contains(abandoned, "//") {
			t.Errorf("%q for a name of %d", abandoned, len(name))
		}
	}
}

// Members of random sizes, some of them given up, over parts of any size: the
// package is a tar file of those that were kept.
func TestPackageWriter(t *testing.T) {
	w := newWorld(t)
	for round := range 60 {
		partSize := 4096 << rand.IntN(5)
		key := fmt.Sprintf("package%d.tar", round)
		p := newPackageWriter(context.Background(), w.store, key, &partPool{size: partSize})
		type kept struct {
			name   string
			data   []byte
			offset int64
		}
		var want []kept
		for i := range 1 + rand.IntN(20) {
			m := kept{name: fmt.Sprintf("%d%s.lz4", i, strings.Repeat("x", rand.IntN(150))), data: random(rand.IntN(3 * partSize))}
			if err := p.begin(m.name); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(struct{ io.Writer }{p}, bytes.NewReader(m.data)); err != nil {
				t.Fatal(err)
			}
			if rand.IntN(3) == 0 {
				if err := p.giveUp(); err != nil {
					t.Fatal(err)
				}
				continue
			}
			var err error
			if m.offset, err = p.end(time.Now()); err != nil {
				t.Fatal(err)
			}
			want = append(want, m)
		}
		if err := p.complete(); err != nil {
			t.Fatal(err)
		}
		whole := w.get(key)
		r := tar.NewReader(bytes.NewReader(whole))
		for _, m := range want {
			h, err := r.Next()
			for err == nil && strings.Trim(h.Name, "~/") == "" {
				h, err = r.Next()
			}
			if err != nil || h.Name != m.name {
				t.Fatalf("round %d: %+v, %v, want %s", round, h, err, m.name)
			}
			data, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(data, m.data) || !bytes.Equal(whole[m.offset:m.offset+int64(len(m.data))], m.data) {
				t.Fatalf("round %d: %s is not what was written: %v", round, m.name, err)
			}
		}
	}
}

func TestGroups(t *testing.T) {
	for _, c := range []struct{ files, small, medium int }{
		{1, 0, 0}, {499, 0, 0}, {500, 1, 1}, {9_999, 1, 1}, {10_000, 2, 2}, {99_999, 2, 2}, {100_000, 2, 3}, {999_999, 2, 3}, {1_000_000, 3, 4},
	} {
		if small, medium := prefixLengths(c.files); small != c.small || medium != c.medium {
			t.Errorf("%d files: %d and %d, want %d and %d", c.files, small, medium, c.small, c.medium)
		}
	}
	files := []file{
		{path: "ab/abc", size: 10}, {path: "ab/abd", size: smallSize - 1}, {path: "x/large", size: mediumSize}, {path: "y/large", size: mediumSize},
		{path: "m", size: smallSize}, {path: "n", size: mediumSize - 1}, {path: "x/a b\n", size: mediumSize},
	}
	var got []string
	for name, n := range packagesOf(t, files) {
		got = append(got, fmt.Sprint(name, " ", n))
	}
	slices.Sort(got)
	want := []string{"_medium_files.tar 2", "_small_files.tar 2", "a=b=.tar 1", "large.tar 1", "large_2.tar 1"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	many := make([]file, 600)
	for i := range many {
		many[i] = file{path: fmt.Sprintf("d/%x-file", i), size: 1}
	}
	many[0].path = "ä" // a name shorter than its prefix is its own prefix
	if names := packagesOf(t, many); names["=_small_files.tar"] != 1 || len(names) != 16 {
		t.Errorf("%v", names)
	}
}

// packagesOf hands out files, and tells how many come into each package.
func packagesOf(t *testing.T, files []file) map[string]int {
	t.Helper()
	all := newFresh()
	defer all.Close()
	for i := range files {
		if err := all.add(files[i].appendRecord(nil)); err != nil {
			t.Fatal(err)
		}
	}
	sorted, err := byPackage(all)
	if err != nil {
		t.Fatal(err)
	}
	defer sorted.Close()
	names := map[string]int{}
	var mu sync.Mutex
	var work errgroup.Group
	err = handOut(t.Context(), sorted.All(), func(g *group) {
		work.Go(func() error {
			n := 0
			for _, more, err := g.next(t.Context()); more && err == nil; _, more, err = g.next(t.Context()) {
				n++
			}
			mu.Lock()
			defer mu.Unlock()
			if names[g.name] > 0 {
				return fmt.Errorf("%s comes twice", g.name)
			}
			names[g.name] = n
			return nil
		})
	})
	if err := errors.Join(err, work.Wait()); err != nil {
		t.Fatal(err)
	}
	return names
}
