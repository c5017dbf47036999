package e2e

import (
	"crypto/sha512"
	"encoding/hex"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// file is what is compared of a file besides its path.
type file struct {
	size     int64
	hash     string // SHA-512, hexadecimal
	modified time.Time
	mode     fs.FileMode
}

// tree describes all files below a folder by their paths. There must be
// nothing but regular files and folders.
func tree(t testing.TB, dir string) map[string]file {
	t.Helper()
	files := map[string]file{}
	must(t, filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			t.Errorf("%q is a %v", name, info.Mode())
			return nil
		}
		hash, err := hashOf(name)
		path, _ := filepath.Rel(dir, name)
		files[path] = file{info.Size(), hash, info.ModTime(), info.Mode().Perm()}
		return err
	}))
	return files
}

func hashOf(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha512.New()
	_, err = io.Copy(sum, f)
	return hex.EncodeToString(sum.Sum(nil)), err
}

// sameTree compares two trees. mask are the permission bits that count.
func sameTree(t testing.TB, what string, got, want map[string]file, mask fs.FileMode) {
	t.Helper()
	if len(want) == 0 {
		t.Errorf("%s: nothing to compare with", what)
	}
	for _, path := range slices.Sorted(maps.Keys(want)) {
		g, ok := got[path]
		w := want[path]
		switch {
		case !ok:
			t.Errorf("%s: %q is missing", what, path)
		case g.size != w.size || g.hash != w.hash:
			t.Errorf("%s: %q has other content: %d bytes instead of %d", what, path, g.size, w.size)
		case !g.modified.Equal(w.modified):
			t.Errorf("%s: %q is of %v, not of %v", what, path, g.modified, w.modified)
		case g.mode&mask != w.mode&mask:
			t.Errorf("%s: %q has mode %v, not %v", what, path, g.mode&mask, w.mode&mask)
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%s: %q should not be there", what, path)
		}
	}
}

// checkHashes compares a tree with the SHA-512 of each file.
func checkHashes(t testing.TB, what string, got map[string]file, want map[string]string) {
	t.Helper()
	hashes := map[string]string{}
	for path, f := range got {
		hashes[path] = f.hash
	}
	if len(want) == 0 || !maps.Equal(hashes, want) {
		t.Errorf("%s: %d files\n%v\nexpected %d\n%v", what, len(hashes), hashes, len(want), want)
	}
}

// checkRsync asks rsync what it would have to do to make a folder like another.
func (w *world) checkRsync(from, to string) {
	w.Helper()
	// Times of folders are not backed up.
	out := w.must("rsync", "-rlt", "--omit-dir-times", "--checksum", "--delete", "--dry-run", "--itemize-changes", from+"/", to+"/")
	if out != "" {
		w.Errorf("rsync finds that %s differs:\n%s", to, out)
	}
}

// keepCopy keeps a folder as it is. Its files are linked, so whoever changes
// one in the original must put a new file in its place.
func (w *world) keepCopy(name string) string {
	w.Helper()
	to := w.path("copy-of-" + name)
	w.must("cp", "-al", "--", w.storage, to)
	return to
}
