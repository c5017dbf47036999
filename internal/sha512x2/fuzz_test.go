package sha512x2

import (
	"bytes"
	"crypto/sha512"
	"os"
	"testing"
)

// next takes the length of a piece from cuts, and the piece from data: without
// cuts all of it.
func next(data, cuts *[]byte) []byte {
	n := len(*data)
	if len(*cuts) > 0 {
		n = min(n, int((*cuts)[0])*3) // also several blocks
		*cuts = (*cuts)[1:]
	}
	piece := (*data)[:n]
	*data = (*data)[n:]
	return piece
}

// FuzzWrite2 takes the pieces' lengths for both streams in turn. A zero for both
// is what lets one go on alone.
func FuzzWrite2(f *testing.F) {
	f.Fuzz(func(t *testing.T, p, q, cuts []byte) {
		wantA, wantB := sha512.Sum512(p), sha512.Sum512(q)
		for _, i := range implementations {
			a, b := i.newDigest(), i.newDigest()
			restP, restQ, rest := p, q, cuts
			for len(restP) > 0 || len(restQ) > 0 {
				x, y := next(&restP, &rest), next(&restQ, &rest)
				if len(x) == 0 && len(y) == 0 {
					a.Write(next(&restP, &rest))
					b.Write(next(&restQ, &rest))
				} else {
					Write2(a, b, x, y)
				}
				a.Sum(nil) // which must change nothing
			}
			if got := a.Sum(nil); !bytes.Equal(got, wantA[:]) {
				t.Errorf("%s: the first is %x, not %x", i.name, got, wantA)
			}
			if got := b.Sum(nil); !bytes.Equal(got, wantB[:]) {
				t.Errorf("%s: the second is %x, not %x", i.name, got, wantB)
			}
		}
	})
}

// Without its seeds, the target tests nothing when it is not fuzzed.
func TestFuzzSeedsExist(t *testing.T) {
	seeds, err := os.ReadDir("testdata/fuzz/FuzzWrite2")
	if err != nil || len(seeds) < 4 {
		t.Errorf("%d seeds, %v", len(seeds), err)
	}
}
