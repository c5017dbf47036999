package envelope

import (
	"crypto/sha512"
	"fmt"
	"hash"
	"io"

	"github.com/chipster/firn/internal/manifest"
)

// verified gives the content of a file, and io.EOF only when it was what the
// list says; else ErrDamaged. It never gives more than the list says.
type verified struct {
	plain io.Reader
	want  *manifest.Entry
	sum   hash.Hash
	n     int64 // bytes given so far
	err   error // how it ended
}

// Verify gives the content of a file, and io.EOF only when it was what the list
// says; else ErrDamaged. It never gives more than the list says. It is not safe
// for concurrent use.
func Verify(plain io.Reader, want *manifest.Entry) io.Reader {
	return &verified{plain: plain, want: want, sum: sha512.New()}
}

func (v *verified) Read(p []byte) (int, error) {
	if v.err != nil || len(p) == 0 {
		return 0, v.err
	}
	// One byte more tells that there is more.
	left := v.want.Size - v.n
	n, err := v.plain.Read(p[:min(int64(len(p)), left+1)])
	switch {
	case int64(n) > left:
		n, err = int(left), fmt.Errorf("%w: more than the %d bytes of the list", ErrDamaged, v.want.Size)
	case err == io.EOF && int64(n) < left:
		err = fmt.Errorf("%w: %d bytes where the list says %d", ErrDamaged, v.n+int64(n), v.want.Size)
	}
	v.sum.Write(p[:n])
	v.n += int64(n)
	if err == io.EOF && manifest.Hash(v.sum.Sum(nil)) != v.want.SHA512 {
		err = fmt.Errorf("%w: the SHA-512 is not the one of the list", ErrDamaged)
	}
	v.err = err
	return n, err
}
