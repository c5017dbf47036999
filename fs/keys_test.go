package fs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/keys/keystest"
)

// Who opens the files of a folder in their order finds the keys of the next ones
// there. Who does not costs nothing.
func TestKeysAhead(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	a.recipients = envelope.Recipients{Keys: keystest.Private(t, "chipster")}
	files := map[string]string{}
	var names []string
	for i := range 60 {
		names = append(names, fmt.Sprintf("ab/%02d", i))
		files[names[i]] = names[i]
	}
	a.add(first, files) // each with a session key of its own
	o := childOptions{KeyFile: original + "/keys/chipster.private.base64"}
	read := func(names []string) Stats {
		m := a.mount(o)
		for _, name := range names {
			checkFile(t, m.path(first, name), files[name])
		}
		return m.stats(t)
	}
	if r := read(names); r.KeysAhead < 10 || r.BlockMisses != 60 || r.SealedBytesRead == 0 {
		t.Errorf("in order: %+v", r)
	}
	slices.Reverse(names)
	if r := read(names); r.KeysAhead != 0 {
		t.Errorf("the other way round: %+v", r)
	}
	if err := os.Remove(a.sealed(first, "ab/30")); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(names)
	m := a.mount(o)
	for _, name := range names {
		if b, err := os.ReadFile(m.path(first, name)); (err == nil) != (name != "ab/30") || err == nil && string(b) != files[name] {
			t.Errorf("%s: %q, %v", filepath.Base(name), b, err)
		}
	}
}
