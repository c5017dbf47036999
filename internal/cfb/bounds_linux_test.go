package cfb

import (
	"os"
	"syscall"
	"testing"
)

// fenced gives n bytes between two pages that nobody may touch, at the start or
// at the end of what is between them.
func fenced(t *testing.T, n int, atEnd bool) []byte {
	t.Helper()
	page := os.Getpagesize()
	between := (n + page - 1) / page * page
	all, err := syscall.Mmap(-1, 0, between+2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Munmap(all) })
	for _, fence := range [][]byte{all[:page], all[page+between:]} {
		if err := syscall.Mprotect(fence, syscall.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	if atEnd {
		return all[page+between-n : page+between]
	}
	return all[page : page+n]
}

// Not even a byte beyond the slices is read: it may be another's, or nothing. A
// fault ends the test program.
func TestStaysInBounds(t *testing.T) {
	const most = 1100 // two of the largest groups of blocks, and some
	for fence, cut := range map[string]func(b []byte, n int) []byte{
		"before": func(b []byte, n int) []byte { return b[:n] },
		"after":  func(b []byte, n int) []byte { return b[most-n:] },
	} {
		src, dst := fenced(t, most, fence == "after"), fenced(t, most, fence == "after")
		t.Run(fence, func(t *testing.T) {
			each(t, func(t *testing.T, i implementation) {
				for _, begin := range crypters(mustKey(t, i, make([]byte, 32)), [BlockSize]byte{}) {
					for n := range most + 1 {
						begin()(cut(dst, n), cut(src, n))
					}
				}
			})
		})
	}
}
