package sha512x2

import (
	"crypto/sha512"
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
	// What is read cannot be written, either.
	if err := syscall.Mprotect(all[page:page+between], syscall.PROT_READ); err != nil {
		t.Fatal(err)
	}
	if atEnd {
		return all[page+between-n : page+between]
	}
	return all[page : page+n]
}

// Not even a byte beyond the slices is read: it may be another's, or nothing. A
// fault ends the test program.
func TestStaysInBounds(t *testing.T) {
	const most = 5 * sha512.BlockSize
	for fence, cut := range map[string]func(b []byte, n int) []byte{
		"before": func(b []byte, n int) []byte { return b[:n] },
		"after":  func(b []byte, n int) []byte { return b[most-n:] },
	} {
		p, q := fenced(t, most, fence == "after"), fenced(t, most, fence == "after")
		t.Run(fence, func(t *testing.T) {
			each(t, func(t *testing.T, i implementation) {
				a, b := i.newDigest(), i.newDigest()
				for n := range most + 1 {
					a.Write(cut(p, n))
					for _, m := range []int{0, n / 2, n, most} {
						Write2(a, b, cut(p, n), cut(q, m))
						Write2(a, b, cut(p, m), cut(q, n))
					}
				}
			})
		})
	}
}
