// Package shard splits the files of a storage among machines that work side by
// side: each takes those whose paths' hashes fall to it.
//
// It promises that every path belongs to exactly one shard of a number of them,
// the same on every machine and in every version of firn.
package shard

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// MaxCount is how many shards there can be at most.
const MaxCount = 1000

// Shard is one part of several. The zero value is the only one: all files.
type Shard struct {
	Index int // from 1 to Count
	Count int // 0: there are no shards
}

// Parse reads "2/4", the second of four. "" is the zero value.
func Parse(s string) (Shard, error) {
	if s == "" {
		return Shard{}, nil
	}
	index, count, ok := strings.Cut(s, "/")
	i, err := strconv.Atoi(index)
	n, err2 := strconv.Atoi(count)
	if !ok || err != nil || err2 != nil || n < 1 || n > MaxCount || i < 1 || i > n {
		return Shard{}, fmt.Errorf("%q is no shard: write I/N, such as 2/4 for the second of four, with N up to %d", s, MaxCount)
	}
	return Shard{i, n}, nil
}

// String is what Parse reads.
func (s Shard) String() string {
	if s.Count == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", s.Index, s.Count)
}

// IsZero tells that there are no shards.
func (s Shard) IsZero() bool { return s.Count == 0 }

// First tells that this is the shard which does what is to be done once.
func (s Shard) First() bool { return s.Index <= 1 }

// Has tells whether a file is this shard's. Path is that of the plain file, below
// its storage.
func (s Shard) Has(path string) bool {
	if s.Count <= 1 {
		return true
	}
	h := fnv.New64a()
	h.Write([]byte(path)) // never fails
	sum := h.Sum64()
	sum ^= sum >> 32 // the low bits of similar paths are similar
	return int(sum%uint64(s.Count)) == s.Index-1
}
