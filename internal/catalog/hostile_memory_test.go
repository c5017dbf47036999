//go:build !race

package catalog

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/memorytest"
)

// A hundred thousand lines, each in folders of its own, are what they are: memory
// does not grow with them.
func TestManyFoldersTakeLittleMemory(t *testing.T) {
	a := newArchive(t)
	const count = 20_000
	list := a.lines(0, count, func(i int, e *manifest.Entry) {
		e.Path = fmt.Sprintf("%d/%d/%d/%d/%d/%d/f", i, i, i, i, i, i)
	})
	v := a.place(0, list)
	var c *Catalog
	memory := memorytest.Peak(func() { c = a.quiet(t) })
	if memory > 150<<20 {
		t.Errorf("%d MiB", memory>>20)
	}
	n := 0
	for _, err := range c.Files(t.Context(), v, "") {
		must(t, err)
		n++
	}
	if n != count {
		t.Errorf("%d files of %d", n, count)
	}
}

// Folders in folders in folders make a small list a large database.
func TestDeepFoldersTakeLittleMemory(t *testing.T) {
	a := newArchive(t)
	a.place(1, a.lines(1, 30, func(i int, e *manifest.Entry) { e.Path = fmt.Sprint(i) + strings.Repeat("/a", 2000) }))
	a.place(2, a.lines(2, 30, func(i int, e *manifest.Entry) { e.Path = fmt.Sprint(i) + strings.Repeat("/a", 500) }))
	why := damaged(t, a.quiet(t))
	if len(why) != 1 || !strings.Contains(strings.Join(slices.Collect(maps.Values(why)), ""), "deep in one another") {
		t.Errorf("%v", why)
	}
}

// A folder whose lines are long is read in parts, and all of it.
func TestLongLinesTakeLittleMemory(t *testing.T) {
	a := newArchive(t)
	const count, length = 25, 8 << 20
	long := strings.Repeat("x", length)
	v := a.place(1, a.lines(1, count, func(_ int, e *manifest.Entry) { e.Other = []string{"future=" + long} }))
	c := a.quiet(t)
	memory := memorytest.Peak(func() {
		files, nodes := 0, 0
		for e, err := range c.Files(t.Context(), v, "") {
			must(t, err)
			if files++; len(e.Other) != 1 || len(e.Other[0]) != len(long)+len("future=") {
				t.Errorf("%s: another line", e.Path)
			}
		}
		for _, err := range c.ReadDir(t.Context(), v, "") {
			must(t, err)
			nodes++
		}
		if files != count || nodes != count {
			t.Errorf("%d files and %d nodes, not %d", files, nodes, count)
		}
	})
	if memory > count*length {
		t.Errorf("%d MiB at once", memory>>20)
	}
}

// All memory of a process that reads lists much longer than that is bounded, with
// SQLite's and the code itself.
func TestProcessMemory(t *testing.T) {
	const inChild = "FIRN_TEST_CATALOG_OF"
	if root := os.Getenv(inChild); root != "" {
		must(t, (&archive{t: t, root: root}).newCatalog().Close())
		status, err := os.ReadFile("/proc/self/status")
		must(t, err)
		_, peak, _ := strings.Cut(string(status), "VmHWM:")
		fmt.Println("peak", strings.Fields(peak)[0])
		return
	}
	a, l := newArchive(t), large{200_000}
	for day := range 2 {
		l.write(t, a, day)
	}
	child := exec.Command(os.Args[0], "-test.run=^TestProcessMemory$")
	child.Env = append(os.Environ(), inChild+"="+a.root)
	out, err := child.CombinedOutput()
	var kib int
	if n, scanErr := fmt.Sscanf(string(out), "peak %d", &kib); err != nil || n != 1 || kib > 128<<10 {
		t.Errorf("%d MiB, %v, %v: %s", kib>>10, err, scanErr, out)
	}
	t.Logf("%d MiB", kib>>10)
}
