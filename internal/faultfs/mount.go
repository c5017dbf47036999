// Package faultfs has file systems that fail, for tests: one that forgets what
// was not synced, as disks do when the power fails (Image); one whose n-th
// operation fails (Faulty); and real ones that are small or read-only (Tmpfs,
// ReadOnly). They are mounted for one test, which must be root, and are gone
// after it, whether it failed or not.
//
// No product code uses it.
package faultfs

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Tmpfs mounts a new file system in memory on the folder dir. Options are such
// as "size=64k,nr_inodes=20".
func Tmpfs(t testing.TB, dir, options string) {
	t.Helper()
	mount(t, "tmpfs", dir, "tmpfs", 0, options)
}

// Remount changes the options of a Tmpfs.
func Remount(t testing.TB, dir, options string) {
	t.Helper()
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, options); err != nil {
		t.Fatalf("remounting %s with %s: %v", dir, options, err)
	}
}

// ReadOnly mounts the folder from on the folder dir, such that nothing can be
// written there.
func ReadOnly(t testing.TB, from, dir string) {
	t.Helper()
	mount(t, from, dir, "", unix.MS_BIND, "")
	if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatalf("mounting %s read-only: %v", dir, err)
	}
}

func mount(t testing.TB, source, dir, kind string, flags uintptr, options string) {
	t.Helper()
	if err := unix.Mount(source, dir, kind, flags, options); err != nil {
		t.Fatalf("this test mounts file systems, as root: mounting %s (%s) on %s: %v", source, options, dir, err)
	}
	cleanUp(t, dir)
}

// cleanUp unmounts dir when the test ends, also when files are open there.
func cleanUp(t testing.TB, dir string) {
	t.Cleanup(func() { Detach(dir) })
}

// Detach takes away what is mounted on dir, if anything is, as soon as no file
// is open there any more.
func Detach(dir string) { _ = unix.Unmount(dir, unix.MNT_DETACH) }

// Unmount takes away what is mounted on dir before the test ends. A file that
// is still open there fails the test, for whoever opened it forgot to close it.
func Unmount(t testing.TB, dir string) {
	t.Helper()
	err := unix.Unmount(dir, 0)
	// A program that is being started holds all open files for an instant.
	for end := time.Now().Add(2 * time.Second); err == unix.EBUSY && time.Now().Before(end); err = unix.Unmount(dir, 0) {
		time.Sleep(5 * time.Millisecond)
	}
	if err != nil {
		t.Fatalf("unmounting %s: %v", dir, err)
	}
}

// Stride is by how much to go on in a long row of faults: n, or 1 where
// FIRN_SOAK is set, for those who have the time.
func Stride(n int) int {
	if os.Getenv("FIRN_SOAK") != "" {
		return 1
	}
	return n
}
