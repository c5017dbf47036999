package restore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
)

// Of an old version whose sealed files were set aside, and that were backed up
// again since, each file comes back with its bytes and its own details.
func TestRestoreHealed(t *testing.T) {
	const later = "file-storage_2026-01-05T01:10:00.123Z"
	files := []plainFile{
		{path: "small", content: "content", details: manifest.Details{Modified: someTime, Mode: 0o600, HasMode: true}},
		{path: "ab/large", content: strings.Repeat("content", 1_000_000)},
		{path: "gone", content: "what was deleted since"},
	}
	old := makeArchive(t, files...)
	files[0].details = manifest.Details{Modified: someTime.AddDate(1, 0, 0), Mode: 0o644, HasMode: true}
	again := makeArchiveFor(t, envelope.Recipients{}, later, files[:2]...) // nothing is encrypted any more
	if err := os.Rename(filepath.Join(again.root, later), filepath.Join(old.root, later)); err != nil {
		t.Fatal(err)
	}
	for _, f := range files[:2] {
		if err := os.Remove(old.sealed(f.path)); err != nil {
			t.Fatal(err)
		}
	}
	o := old.options(t)
	mustRun(t, o)
	checkTree(t, o.To, contentOf(files))
	info, err := os.Stat(filepath.Join(o.To, "small"))
	if err != nil || !info.ModTime().Equal(someTime) || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}
