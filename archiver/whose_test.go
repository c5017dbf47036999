package archiver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
)

const somebody = "somebody"

// uploadOf makes a backup of new files, whose list says whose it is, as the
// uploader's do. Of those without bytes the package has nothing.
func (w *world) uploadOf(t *testing.T, n backupname.Name, files []sealed) {
	t.Helper()
	var entries []manifest.Entry
	for i, f := range files {
		if i == 0 {
			f.entry.Installation = somebody
		}
		entries = append(entries, f.entry)
	}
	packed := slices.DeleteFunc(slices.Clone(files), func(f sealed) bool { return f.bytes == nil })
	w.put(t, n.String()+"/_small_files.tar", pack(t, packed...))
	w.put(t, n.String()+"/backup-info", list(t, entries...))
}

// checkWhose holds that a version's list has these paths, here and in the bucket,
// and says on its first line whose it is, and nowhere else.
func (w *world) checkWhose(t *testing.T, n backupname.Name, paths []string) {
	t.Helper()
	for _, root := range []string{w.root, w.bucket} {
		var got, want []string
		for _, e := range readEntries(t, filepath.Join(root, n.String(), "archive-info")) {
			got = append(got, fmt.Sprintf("%s of %q", e.Path, e.Installation))
		}
		for i, p := range paths {
			want = append(want, fmt.Sprintf("%s of %q", p, []string{somebody, ""}[min(i, 1)]))
		}
		if !slices.Equal(got, want) {
			t.Errorf("the list in %s has %s, not %s", root, got, want)
		}
	}
}

// Whichever files do not come, or are taken off the list: it still says whose it
// is, or the next backup could be anybody's.
func TestListStaysSomebodys(t *testing.T) {
	all := []string{"a", "b", "c"}
	for what, gone := range map[string][]string{
		"none": nil, "the first": {"a"}, "a later one": {"b"}, "the first two": {"a", "b"}, "the first and the last": {"a", "c"}, "all": all,
	} {
		left := slices.DeleteFunc(slices.Clone(all), func(p string) bool { return slices.Contains(gone, p) })
		files := func(w *world) (n backupname.Name, files []sealed) {
			n = w.nameAt(t, "fs")
			for _, p := range all {
				files = append(files, w.seal(n, p, p))
			}
			return n, files
		}
		t.Run(what+"/does not come", func(t *testing.T) {
			w := newWorld(t)
			n, files := files(w)
			for i, p := range all {
				if slices.Contains(gone, p) {
					files[i].bytes = nil
				}
			}
			w.uploadOf(t, n, files)
			report, err := Run(t.Context(), w.options())
			if b := report.Backups[0]; !slices.Equal(b.Missing.First, sealedPaths(gone)) || errors.Is(err, ErrIncomplete) != (len(gone) > 0) {
				t.Fatalf("%v: %+v", err, b)
			}
			w.checkWhose(t, n, left)
		})
		t.Run(what+"/is taken off", func(t *testing.T) {
			w := newWorld(t)
			n, files := files(w)
			w.uploadOf(t, n, files)
			w.run(t)
			w.checkWhose(t, n, all)
			var damaged []Damaged
			for _, p := range gone {
				damaged = append(damaged, w.damaged(t, n, p))
				must(t, os.Remove(w.folder(n, p+".lz4.gpg")))
			}
			if report := mustRepair(t, w.repairOptions(damaged...)); !slices.Equal(report.Unlisted, gone) {
				t.Fatalf("%+v", report)
			}
			w.checkWhose(t, n, left)
		})
	}
}

func sealedPaths(paths []string) (sealed []string) {
	for _, p := range paths {
		sealed = append(sealed, manifest.SealedPath(p, ".lz4.gpg"))
	}
	return sealed
}
