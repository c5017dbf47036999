package faultfs

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

func write(t *testing.T, file string, sync bool) {
	t.Helper()
	f, err := os.Create(file)
	if err == nil {
		_, err = f.WriteString("content")
	}
	if err == nil && sync {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func content(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// What was not synced is gone after a power failure: without that, no test with
// an Image could fail.
func TestImageForgets(t *testing.T) {
	t.Parallel()
	disk, at, later := NewImage(t), t.TempDir(), t.TempDir()
	disk.Mount(t, at)
	write(t, at+"/synced", true)
	write(t, at+"/not synced", false)
	disk.Snapshot(t).Mount(t, later)
	if got := content(later + "/synced"); got != "content" {
		t.Error(got)
	}
	if _, err := os.Lstat(later + "/not synced"); !errors.Is(err, os.ErrNotExist) {
		t.Error("what was not synced is there:", err)
	}
	Unmount(t, later)
	// The folder's entry is synced, the bytes are not.
	dir, err := os.Open(at)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		t.Fatal(err)
	}
	disk.Snapshot(t).Mount(t, later)
	if got := content(later + "/not synced"); got != "" {
		t.Errorf("the bytes that were not synced are %q", got)
	}
	if got := content(at + "/not synced"); got != "content" {
		t.Error("the snapshot changed the disk:", got)
	}
}

// Each kind of operation can fail, and fails as it is told.
func TestFaulty(t *testing.T) {
	dir := t.TempDir()
	f := NewFaulty(t, t.TempDir(), dir)
	work := func() error {
		file := filepath.Join(dir, "folder", "file")
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		out, err := os.Create(file)
		if err != nil {
			return err
		}
		_, err = out.WriteString("content")
		if err := errors.Join(err, out.Sync(), out.Chmod(0o600), out.Close()); err != nil {
			return err
		}
		if err := os.Rename(file, file+"2"); err != nil {
			return err
		}
		if _, err := os.ReadFile(file + "2"); err != nil {
			return err
		}
		names, err := os.ReadDir(filepath.Dir(file))
		if err == nil && len(names) != 1 {
			err = errors.New("the file is not listed")
		}
		if err != nil {
			return err
		}
		return errors.Join(os.Remove(file+"2"), os.Remove(filepath.Dir(file)))
	}
	if err := work(); err != nil {
		t.Fatal(err)
	}
	total, _ := f.Operations()
	var kinds []string
	for n := 1; n <= total; n++ {
		f.Fail(syscall.EIO, func(i int, _ string) bool { return i == n })
		err := work()
		if _, failed := f.Operations(); len(failed) == 1 {
			kinds = append(kinds, failed...)
		} else if err != nil {
			t.Errorf("operation %d: %v without a fault", n, err)
		}
		f.Fail(0, nil)
		if err := os.RemoveAll(filepath.Join(dir, "folder")); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []string{"mkdir folder", "create file", "write", "fsync", "setattr", "flush", "rename file2", "open", "read",
		"opendir", "readdir", "unlink file2", "rmdir folder", "lookup folder", "lookup file2"} {
		if !slices.Contains(kinds, kind) {
			t.Errorf("no %s failed; %q", kind, kinds)
		}
	}
}
