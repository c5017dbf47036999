package objstore_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chipster/firn/internal/faultfs"
)

// The power fails when a write has returned: the object is there afterwards, and
// so are all that were written before it. What was under way is not there, or
// as it was.
func TestDirPowerLoss(t *testing.T) {
	t.Parallel()
	disk, at := faultfs.NewImage(t), t.TempDir()
	disk.Mount(t, at)
	s := openDir(t, at)
	large := string(noise(1, 3<<20))
	want := map[string]string{}
	check := func(what string) {
		t.Helper()
		later := t.TempDir()
		snapshot := disk.Snapshot(t)
		snapshot.Mount(t, later)
		must(t, os.RemoveAll(filepath.Join(later, "lost+found")))
		s := openDir(t, later)
		keys := list(t, s, "")
		if !slices.Equal(keys, slices.Sorted(maps.Keys(want))) {
			t.Errorf("after %s: there is %q, not %q", what, keys, slices.Sorted(maps.Keys(want)))
		}
		for _, key := range keys {
			if got := get(t, s, key); got != want[key] {
				t.Errorf("after %s: %q has %d bytes, not the %d that were written", what, key, len(got), len(want[key]))
			}
		}
	}
	for i, key := range []string{"a", "deep/deeper/file", "deep/deeper/another", "backup//srv/x/y.tar", "backup/../.", "a"} {
		data := fmt.Sprint("put ", i)
		put(t, s, key, data)
		want[key] = data
		check(fmt.Sprintf("Put %d of %q", i, key))
	}
	for _, order := range [][]int{{1, 2, 3}, {3, 1, 2}} {
		key := fmt.Sprint("uploads/of ", order, "/x.tar")
		u := create(t, s, key)
		for _, n := range order {
			writePart(t, u, n, large[(n-1)<<20:n<<20])
			check(fmt.Sprintf("part %d of %q", n, key))
		}
		complete(t, u)
		want[key] = large
		check(fmt.Sprintf("Complete of %q", key))
	}
	must(t, s.Delete(t.Context(), "a"))
	put(t, s, "b/c", "")
	delete(want, "a")
	want["b/c"] = ""
	check("Delete and Put")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
