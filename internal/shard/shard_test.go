package shard

import (
	"fmt"
	"testing"
)

// Each path is one shard's, and all have about as many, whatever the names look
// like.
func TestHas(t *testing.T) {
	for name, path := range map[string]func(int) string{
		"numbers": func(i int) string { return fmt.Sprintf("file-%06d", i) },
		"folders": func(i int) string { return fmt.Sprintf("%02x/%02x/x", i%256, i/256) },
		"uuids":   func(i int) string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", i*2654435761, i) },
	} {
		for _, count := range []int{1, 2, 3, 4, 7, 16, 100} {
			const files = 20_000
			for index := range count {
				n := 0
				for i := range files {
					if (Shard{index + 1, count}).Has(path(i)) {
						n++
					}
				}
				if want := files / count; n < want*7/10 || n > want*13/10+1 {
					t.Errorf("%s: shard %d of %d has %d files, not about %d", name, index+1, count, n, want)
				}
			}
			for i := range 1000 {
				owners := 0
				for index := range count {
					if (Shard{index + 1, count}).Has(path(i)) {
						owners++
					}
				}
				if owners != 1 {
					t.Fatalf("%q belongs to %d of %d shards", path(i), owners, count)
				}
			}
		}
	}
	if s := (Shard{}); !s.Has("anything") || !s.IsZero() || !s.First() {
		t.Error("without shards, a file is left out")
	}
}

// Machines with different versions of firn must agree.
func TestStable(t *testing.T) {
	for path, want := range map[string]int{"a": 1, "b": 2, "file-storage/ab/cd": 4, "0b5bb0e3-52a6-4f0d-8f4e-7b2b3ba4a3b3": 2} {
		for i := range 4 {
			if (Shard{i + 1, 4}).Has(path) != (i+1 == want) {
				t.Errorf("%q is not in shard %d/4", path, want)
			}
		}
	}
}

func TestParse(t *testing.T) {
	for _, text := range []string{"", "1/1", "2/4", "1000/1000"} {
		if s, err := Parse(text); err != nil || s.String() != text {
			t.Errorf("%q: %v, %v", text, s, err)
		}
	}
	for _, text := range []string{"0/4", "5/4", "4", "/", "1/", "/2", "a/b", "-1/2", "1/0", "1/1001", "1/2/3", " 1/2"} {
		if s, err := Parse(text); err == nil {
			t.Errorf("%q became %v", text, s)
		}
	}
	if !(Shard{1, 4}).First() || (Shard{2, 4}).First() {
		t.Error("First")
	}
}
