package uploader

import (
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// scanned are the paths that a scan finds, in order.
func (w *world) scanned(r *run) (paths []string) {
	w.t.Helper()
	s, err := openStorage(w.storage)
	if err != nil {
		w.t.Fatal(err)
	}
	defer s.Close()
	found, err := r.scan(w.t.Context(), s)
	if err != nil {
		w.t.Fatal(err)
	}
	defer found.Close()
	for record, err := range found.All() {
		if err != nil {
			w.t.Fatal(err)
		}
		f := parseFile(cutRecord(record))
		info, err := os.Stat(filepath.Join(w.storage, f.path))
		if err != nil || info.Size() != f.size || !info.ModTime().Equal(f.modified) || info.Mode() != f.mode {
			w.t.Errorf("%q is found as %+v, and is %v: %v", f.path, f, info, err)
		}
		paths = append(paths, f.path)
	}
	return paths
}

// oneByOne finds the same as the scan, one after the other. above are the folders
// that lead to this one.
func oneByOne(t *testing.T, root, dir string, above []fs.FileInfo) (paths []string) {
	t.Helper()
	self, err := os.Stat(filepath.Join(root, dir))
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(above, func(a fs.FileInfo) bool { return os.SameFile(a, self) }) {
		return nil
	}
	entries, err := os.ReadDir(filepath.Join(root, dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		switch info, err := os.Stat(filepath.Join(root, name)); {
		case err != nil:
		case info.IsDir():
			paths = append(paths, oneByOne(t, root, name, append(slices.Clip(above), self))...)
		case info.Mode().IsRegular():
			paths = append(paths, name)
		}
	}
	return paths
}

// A scan by many finds what one alone finds: in folders flat and deep, behind
// links, and where links go round.
func TestScanFindsAll(t *testing.T) {
	w := newWorld(t)
	for i := range 2*scanBatch + 500 {
		w.write(fmt.Sprintf("flat/%d", i), nil)
	}
	for i := range 300 {
		w.write(fmt.Sprintf("%d/%d/%d/f%d", i%7, i%5, i%3, i), make([]byte, i))
	}
	for i := range 3 * scanners {
		w.write(fmt.Sprintf("many/%d/only", i), nil)
	}
	w.write(strings.Repeat("d/", 200)+"deep", nil)
	w.chmod("flat/7", 0o4711)
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "linked"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{
		"0/out": outside, "1/out": outside, "many/up": "..", "many/1/up": "../..", "0/0/0/self": ".", "0/other": "../1", "1/other": "../0", "one": "flat/1", "nowhere": "missing",
	} {
		if err := os.Symlink(to, filepath.Join(w.storage, link)); err != nil {
			t.Fatal(err)
		}
	}
	want := oneByOne(t, w.storage, "", nil)
	slices.Sort(want)
	for range rounds(10) {
		var told atomic.Int64
		r := &run{Options: Options{Logger: slog.New(slog.DiscardHandler), Scanned: func(n int) { told.Add(int64(n)) }}, backup: &backup{log: slog.New(slog.DiscardHandler)}}
		got := w.scanned(r)
		if !slices.Equal(got, want) {
			t.Fatalf("found %d files, not %d", len(got), len(want))
		}
		if told.Load() != int64(len(want)) || r.leftOut.count != 0 {
			t.Errorf("told of %d files, and of %d left out", told.Load(), r.leftOut.count)
		}
	}
	if len(want) < 2900 {
		t.Errorf("only %d files: the test misses parts", len(want))
	}
}

// However many files and folders there are, few descriptors are open.
func TestScanOpensFewFolders(t *testing.T) {
	w := newWorld(t)
	for i := range 2000 {
		w.write(fmt.Sprintf("%d/f", i), nil)
	}
	most := atomic.Int64{}
	r := &run{Options: Options{Logger: slog.New(slog.DiscardHandler), Scanned: func(int) {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Error(err)
		}
		most.Store(max(most.Load(), int64(len(list))))
	}}, backup: &backup{log: slog.New(slog.DiscardHandler)}}
	before, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	if got := w.scanned(r); len(got) != 2000 {
		t.Errorf("%d files", len(got))
	}
	if more := int(most.Load()) - len(before); more > 4*scanners {
		t.Errorf("%d descriptors more than before", more)
	}
	if after, err := os.ReadDir("/proc/self/fd"); err != nil || len(after) > len(before)+1 {
		t.Errorf("%d descriptors, %d before: %v", len(after), len(before), err)
	}
}
