package main

import "testing"

// What the kernel remembers gets room above the cache's, and a mount at rest none.
func TestMemoryLimit(t *testing.T) {
	const mib = 1 << 20
	for live, want := range map[int64]int64{20 * mib: 384 * mib, 250 * mib: 384 * mib, 600 * mib: 900 * mib} {
		if got := memoryLimit(256*mib, live); got != want {
			t.Errorf("%d MiB in use: %d MiB, want %d", live/mib, got/mib, want/mib)
		}
	}
}
