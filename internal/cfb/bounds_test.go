package cfb

import (
	"testing"

	"github.com/chipster/firn/internal/memorytest"
)

// Not even a byte beyond the slices is read: it may be another's, or nothing. A
// fault ends the test program.
func TestStaysInBounds(t *testing.T) {
	const most = 1100 // two of the largest groups of blocks, and some
	for fence, cut := range map[string]func(b []byte, n int) []byte{
		"before": func(b []byte, n int) []byte { return b[:n] },
		"after":  func(b []byte, n int) []byte { return b[most-n:] },
	} {
		src, dst := memorytest.Memory(t, most, fence == "after"), memorytest.Memory(t, most, fence == "after")
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
