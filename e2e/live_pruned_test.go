package e2e

import (
	"os"
	"testing"
)

// Who is in the middle of a version that is pruned, and the only one who looks,
// is told that it is gone, and not that the disk is damaged.
func TestPrunedUnderReader(t *testing.T) {
	t.Parallel()
	l := newLive(t)
	l.site.fill(3, 0)
	l.night()
	mount := l.world.mount()
	l.await(inMount(mount, l.all[0].backup))
	root, err := os.OpenRoot(inMount(mount, l.all[0].backup))
	must(t, err)
	defer root.Close()
	for range keepLast {
		l.night() // looks at the archive only
	}
	if !l.isPruned(l.all[0].backup) {
		t.Fatalf("%s is still there", l.all[0].backup)
	}
	// Of what later versions hold too, the right content is as good.
	if _, err := root.Open(held); !isGone(err) {
		t.Errorf("a file that no other version has: %v", err)
	}
}
