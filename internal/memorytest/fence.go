// Package memorytest is for tests of what code does with memory: it gives memory
// whose neighbourhood nobody may touch, for what is written in assembly (a read or
// write beyond it ends the test program), and tells how much something took.
package memorytest

import (
	"os"
	"syscall"
	"testing"
)

// Memory gives n bytes between two pages that cannot be read or written, at the
// start or at the end of what is between them, until the test ends.
func Memory(t testing.TB, n int, atEnd bool) []byte {
	t.Helper()
	return memory(t, n, atEnd, syscall.PROT_READ|syscall.PROT_WRITE)
}

// ReadOnly is Memory, of zeros that cannot be written either.
func ReadOnly(t testing.TB, n int, atEnd bool) []byte {
	t.Helper()
	return memory(t, n, atEnd, syscall.PROT_READ)
}

func memory(t testing.TB, n int, atEnd bool, protection int) []byte {
	t.Helper()
	page := os.Getpagesize()
	between := (n + page - 1) / page * page
	all, err := syscall.Mmap(-1, 0, between+2*page, syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Munmap(all) })
	if err := syscall.Mprotect(all[page:page+between], protection); err != nil {
		t.Fatal(err)
	}
	if atEnd {
		return all[page+between-n : page+between]
	}
	return all[page : page+n]
}
