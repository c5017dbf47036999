package catalog

import (
	"bytes"
	"crypto/sha512"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/chipster/firn/internal/manifest"
)

// Indexes of blocks outlive the process, and are bounded.
func TestBlockIndex(t *testing.T) {
	a := newArchive(t)
	database := filepath.Join(t.TempDir(), "c.sqlite")
	c := a.open(database)
	id := func(i int) manifest.Hash { return sha512.Sum512([]byte(fmt.Sprint(i))) }
	check := func(c *Catalog, i int, want []byte) {
		t.Helper()
		if got, err := c.BlockIndex(t.Context(), id(i)); err != nil || !bytes.Equal(got, want) || (got == nil) != (want == nil) {
			t.Errorf("index %d is %d bytes, %v, want %d", i, len(got), err, len(want))
		}
	}
	check(c, 1, nil)
	must(t, c.KeepBlockIndex(t.Context(), id(1), []byte("first")))
	must(t, c.KeepBlockIndex(t.Context(), id(2), bytes.Repeat([]byte("2"), maxBlockIndex)))
	must(t, c.KeepBlockIndex(t.Context(), id(3), make([]byte, maxBlockIndex+1)))
	must(t, c.KeepBlockIndex(t.Context(), id(1), []byte("second")))
	for range 2 {
		check(c, 1, []byte("second"))
		check(c, 2, bytes.Repeat([]byte("2"), maxBlockIndex))
		check(c, 3, nil)
		must(t, c.Close())
		c = a.open(database)
	}
	// As if so many were kept meanwhile.
	if _, err := c.db.write.Exec(`UPDATE block_indexes SET age = age + ? WHERE sealed_sha512 = ?`, maxBlockIndexes, func() []byte { h := id(1); return h[:] }()); err != nil {
		t.Fatal(err)
	}
	must(t, c.KeepBlockIndex(t.Context(), id(4), []byte("4")))
	check(c, 2, nil)
	check(c, 1, []byte("second"))
	check(c, 4, []byte("4"))
}

func TestFollowing(t *testing.T) {
	a := newArchive(t)
	files := listing{}
	for _, p := range []string{"ab/a", "ab/b", "ab/b.", "ab/c/x", "ab/d", "b"} {
		files[p] = seal(p, p)
	}
	n := night(t, "s", 1)
	a.archive(n, files)
	c := a.newCatalog()
	for _, test := range []struct {
		dir, name string
		count     int
		want      string
	}{
		{"ab", "", 2, "[a b]"}, {"ab", "a", 3, "[b b. c]"}, {"ab", "aa", 1, "[b]"}, {"ab", "d", 9, "[]"}, {"", "ab", 9, "[b]"}, {"x", "", 9, "[]"},
	} {
		nodes, err := c.Following(t.Context(), Version{Name: n}, test.dir, test.name, test.count)
		names := []string{}
		for _, n := range nodes {
			names = append(names, n.Name)
		}
		if got := fmt.Sprint(names); err != nil || got != test.want {
			t.Errorf("after %q in %q: %s, %v, want %s", test.name, test.dir, got, err, test.want)
		}
	}
}
