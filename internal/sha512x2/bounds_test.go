package sha512x2

import (
	"crypto/sha512"
	"testing"

	"github.com/chipster/firn/internal/memorytest"
)

// Not even a byte beyond the slices is read: it may be another's, or nothing. A
// fault ends the test program.
func TestStaysInBounds(t *testing.T) {
	const most = 5 * sha512.BlockSize
	for fence, cut := range map[string]func(b []byte, n int) []byte{
		"before": func(b []byte, n int) []byte { return b[:n] },
		"after":  func(b []byte, n int) []byte { return b[most-n:] },
	} {
		p, q := memorytest.ReadOnly(t, most, fence == "after"), memorytest.ReadOnly(t, most, fence == "after")
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
