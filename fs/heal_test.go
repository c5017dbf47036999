package fs

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/keys/keystest"
)

// Files of an old version that were set aside and backed up again are read there
// as if nothing had happened, while others read the later version.
func TestHealedFiles(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	a.recipients = envelope.Recipients{Keys: keystest.Private(t, "curve")}
	files := map[string]string{"ab/large": string(content(9<<20 + 17)), "ab/empty": ""}
	for i := range 10 { // enough in a row for the next ones' keys to be got ahead
		files[fmt.Sprint("ab/", i)] = fmt.Sprint("content of ", i)
	}
	a.add(first, files)
	a.add(third, files) // sealed anew
	aside := filepath.Join(a.root, ".firn", "damaged")
	a.mkdir(aside)
	if err := os.Rename(a.folder(first)+"/ab", aside+"/ab"); err != nil {
		t.Fatal(err)
	}
	m := a.mount(childOptions{KeyFile: original + "/keys/curve.private.base64"})
	later, err := os.Open(m.path(third, "ab/large"))
	if err != nil {
		t.Fatal(err)
	}
	defer later.Close()
	old, err := os.Open(m.path(first, "ab/large"))
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	for _, at := range []int{5 << 20, 100, 9 << 20} {
		for _, f := range []*os.File{old, later} {
			got := make([]byte, 17)
			if _, err := f.ReadAt(got, int64(at)); err != nil || !bytes.Equal(got, []byte(files["ab/large"][at:at+17])) {
				t.Errorf("%s at %d: %q, %v", f.Name(), at, got, err)
			}
		}
	}
	if n := m.stats(t).OpenFiles; n != 1 {
		t.Errorf("%d sealed files are open for one", n)
	}
	for range 2 {
		for _, path := range slices.Sorted(maps.Keys(files)) { // in order, as keys are got ahead
			checkFile(t, m.path(first, path), files[path])
		}
	}
	command(t, "cp", "-a", m.path(first, "ab"), t.TempDir())
	if n := strings.Count(m.log.String(), "another version's"); n != len(files) {
		t.Errorf("the log says %d times that another version's files are used: %s", n, m.log)
	}
}
