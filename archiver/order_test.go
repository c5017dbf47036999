package archiver

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func randomPath(r *rand.Rand) string {
	parts := make([]string, 1+r.IntN(4))
	for i := range parts {
		parts[i] = []string{"a", "b", "a-", "a.", "ab", "\x01", "é", "\xff"}[r.IntN(8)]
	}
	return strings.Join(parts, "/")
}

// Files of a folder follow one another, and come back from their keys.
func TestFolderKey(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var keys [][]byte
	for n := range int64(2000) {
		path := randomPath(r)
		slash := strings.LastIndexByte(path, '/')
		want := item{dir: path[:max(slash, 0)], name: path[slash+1:], number: n, offset: 1 << 40, size: 256, from: 7}
		key := want.appendTo(nil, path)
		var d decoder
		if got := d.item(key); got != want || got.path() != path {
			t.Fatalf("%q comes back as %+v", path, got)
		}
		keys = append(keys, key)
	}
	slices.SortFunc(keys, bytes.Compare)
	seen := map[string]bool{}
	last := ""
	var d decoder
	for _, key := range keys {
		if dir := d.item(key).dir; dir != last {
			if seen[dir] {
				t.Fatalf("%q comes twice", dir)
			}
			last = dir
			seen[dir] = true
		}
	}
}

// What is below a path follows it at once.
func TestTreeKey(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 1))
	paths := map[string]bool{}
	for range 2000 {
		paths[randomPath(r)] = true
	}
	all := sorted(paths)
	slices.SortFunc(all, func(a, b string) int { return bytes.Compare(treeKey(nil, a), treeKey(nil, b)) })
	for i, p := range all {
		below := 0
		for _, q := range all {
			if strings.HasPrefix(q, p+"/") {
				below++
			}
		}
		for _, q := range all[i+1 : i+1+below] {
			if !strings.HasPrefix(q, p+"/") {
				t.Fatalf("%q is among what is below %q", q, p)
			}
		}
		if got := pathOfTreeKey(treeKey(nil, p)); got != p {
			t.Errorf("%q comes back as %q", p, got)
		}
	}
}

// Lines are found by what was added for them, whether in memory or in a file.
func TestLookup(t *testing.T) {
	for _, n := range []int64{0, 1, 1000, 2 * lookupMemory / lookupEntry} {
		l := newLookup()
		for i := range n {
			must(t, l.add(fmt.Sprint("file ", i/2*2), line{i, i * 10})) // some texts twice
		}
		must(t, l.build())
		if inFile := l.file != nil; inFile != (n > lookupMemory/lookupEntry) {
			t.Errorf("%d entries are in a file: %t", n, inFile)
		}
		for i := int64(0); i < n; i += 2 {
			got, err := l.find(fmt.Sprint("file ", i))
			if err != nil || !slices.Contains(got, line{i, i * 10}) || i+1 < n && !slices.Contains(got, line{i + 1, (i + 1) * 10}) {
				t.Fatalf("%d of %d: %v, %v", i, n, got, err)
			}
		}
		if got, err := l.find("none"); len(got) > 0 || err != nil {
			t.Errorf("%v, %v", got, err)
		}
		l.close()
	}
}

func TestLineStarts(t *testing.T) {
	starts := newLineStarts(strings.NewReader("one\n\nthree\n"))
	buf := make([]byte, 3)
	for _, err := starts.Read(buf); err == nil; _, err = starts.Read(buf) {
	}
	for _, want := range []int64{0, 4, 5, 11} {
		if got := starts.next(); got != want {
			t.Errorf("%d, not %d", got, want)
		}
	}
}
