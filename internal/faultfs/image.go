package faultfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Image is an ext4 file system in a file, which stands for a disk. What was
// written but not synced is only in the system's memory: ext4 is told not to
// write it on its own for ten minutes, and not to make up for programs that
// rename a file over another one without syncing it.
type Image struct{ file string }

const imageSize = 16 << 20

// emptyDisk is an empty file system. It is made once: each program that a test
// starts holds the locks of the others for an instant.
var emptyDisk = sync.OnceValues(func() (string, error) {
	file, err := os.CreateTemp("", "firn-disk-")
	if err != nil {
		return "", err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	if err := file.Truncate(imageSize); err != nil {
		return "", err
	}
	// Nothing is left for later, when the kernel would write in the background.
	out, err := exec.Command("mkfs.ext4", "-q", "-F", "-m", "0", "-b", "4096", "-J", "size=4", "-N", "1024",
		"-E", "lazy_itable_init=0,lazy_journal_init=0", file.Name()).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("mkfs.ext4 (in Debian's package e2fsprogs): %w: %s", err, out)
	}
	b, err := io.ReadAll(file)
	return string(b), err
})

// NewImage makes an empty file system. It lies in memory, as do its snapshots.
func NewImage(t testing.TB) *Image {
	t.Helper()
	empty, err := emptyDisk()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	Tmpfs(t, dir, "size=1g")
	return newImage(t, dir, strings.NewReader(empty))
}

// newImage copies an image, and leaves holes where it is zero.
func newImage(t testing.TB, dir string, from io.Reader) *Image {
	t.Helper()
	to, err := os.CreateTemp(dir, "disk-")
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	block, zeros := make([]byte, 64<<10), make([]byte, 64<<10)
	for at := int64(0); at < imageSize && err == nil; at += int64(len(block)) {
		if _, err = io.ReadFull(from, block); err == nil && !bytes.Equal(block, zeros) {
			_, err = to.WriteAt(block, at)
		}
	}
	if err := errors.Join(err, to.Truncate(imageSize)); err != nil {
		t.Fatal(err)
	}
	return &Image{to.Name()}
}

// Mount mounts the file system on the folder dir until the test ends or
// Unmount is called. After a power failure this is what recovers it.
func (i *Image) Mount(t testing.TB, dir string) {
	t.Helper()
	disk, err := i.loop()
	if err != nil {
		t.Fatalf("this test needs loop devices, as root: %v", err)
	}
	defer disk.Close() // the kernel gives the device back when it is unmounted
	mount(t, disk.Name(), dir, "ext4", 0, "commit=600,noauto_da_alloc")
}

// loop makes a block device of the file.
func (i *Image) loop() (*os.File, error) {
	file, err := os.OpenFile(i.file, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, err
		}
		disk, err := os.OpenFile(fmt.Sprint("/dev/loop", n), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		config := unix.LoopConfig{Fd: uint32(file.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
		if err = unix.IoctlLoopConfigure(int(disk.Fd()), &config); err == nil {
			return disk, nil
		}
		disk.Close()
		if err != unix.EBUSY { // then another test was faster
			return nil, err
		}
	}
}

// Snapshot is the disk as it were if the power failed now. Nothing may be
// writing to it meanwhile. The image goes on unharmed.
func (i *Image) Snapshot(t testing.TB) *Image {
	t.Helper()
	from, err := os.Open(i.file)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	return newImage(t, filepath.Dir(i.file), from)
}

// Remove frees the memory of a snapshot that is not mounted.
func (i *Image) Remove(t testing.TB) {
	t.Helper()
	if err := os.Remove(i.file); err != nil {
		t.Fatal(err)
	}
}
