package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mount mounts the archive until the end of the test, by a process of its own,
// and returns the folder.
func (w *world) mount() string {
	w.Helper()
	dir, err := os.MkdirTemp(w.dir, "mount")
	must(w, err)
	w.Cleanup(func() {
		if isMounted(dir) {
			w.Errorf("%s is still mounted", dir)
			_ = exec.Command("fusermount3", "-u", "-z", dir).Run()
		}
	})
	d := w.daemon(firn, slices.Concat([]string{"--quiet", "mount", w.archive, dir, w.catalog()}, w.open)...)
	d.await("mount", func() bool { return isMounted(dir) })
	return dir
}

// isMounted asks the kernel's table: to look at the folder itself would hang
// where the file system does.
func isMounted(dir string) bool {
	table, err := os.ReadFile("/proc/self/mountinfo")
	return err == nil && strings.Contains(string(table), " "+dir+" ")
}

// inMount is where a mount shows a version.
func inMount(mount, version string) string {
	storage, instant, _ := strings.Cut(version, "_")
	return filepath.Join(mount, storage, instant)
}

// await waits for a new version to appear in a mount.
func (w *world) await(folder string) {
	w.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		_, err := os.Stat(folder)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("the new version does not appear: %v", err)
		}
	}
}

// Whoever copies from a mount gets what was backed up, or an error.
func TestMountRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t).withFolder()
	withNewKey(w)
	newSite(t, w.storage).fill(3, 1)
	version := w.upload()
	w.pull()
	files := tree(t, w.storage)

	// Without the key everything is listed, and nothing can be read.
	key := w.open
	w.open = nil
	dir := inMount(w.mount(), version)
	for path, f := range files {
		if info, err := os.Lstat(dir + "/" + path); err != nil || info.Size() != f.size {
			t.Errorf("%q without a key: %v", path, err)
		}
		if _, err := os.ReadFile(dir + "/" + path); f.size > 0 && !errors.Is(err, os.ErrPermission) {
			t.Errorf("%q is read without a key: %v", path, err)
		}
	}

	// One bit of each sealed file is wrong.
	w.open = key
	for path := range tree(t, w.archive+"/"+version) {
		if name := filepath.Join(w.archive, version, path); strings.HasSuffix(name, ".gpg") {
			data, err := os.ReadFile(name)
			must(t, err)
			data[len(data)-30] ^= 4
			must(t, os.WriteFile(name, data, 0o600))
		}
	}
	dir = inMount(w.mount(), version)
	for path, f := range files {
		if _, err := os.ReadFile(dir + "/" + path); f.size > 0 && !errors.Is(err, syscall.EIO) {
			t.Errorf("%q of %d bytes is damaged, and was read: %v", path, f.size, err)
		}
	}
	if _, stderr, code := w.run(nil, "rsync", "-r", dir+"/", w.path("copy")); code != 23 {
		t.Errorf("rsync ends with %d\n%s", code, stderr)
	}
}
