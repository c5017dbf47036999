package objstore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/chipster/firn/internal/objstore"
)

func testWriteStream(t *testing.T, s fixture, dir string) {
	for _, size := range []int{0, 1, objstore.MinPart - 1, objstore.MinPart, objstore.MinPart + 1, 3 * objstore.MinPart, 3*objstore.MinPart + 5} {
		data := noise(uint64(size), size)
		// A reader that gives little at a time, as pipes do.
		r := struct{ io.Reader }{bytes.NewReader(data)}
		n, err := objstore.WriteStream(t.Context(), s, dir+"x", r, objstore.MinPart)
		if err != nil || n != int64(size) {
			t.Fatalf("%d bytes: wrote %d, %v", size, n, err)
		}
		if get(t, s, dir+"x") != string(data) {
			t.Errorf("%d bytes: other data", size)
		}
	}
	if _, err := objstore.WriteStream(t.Context(), s, dir+"y", strings.NewReader(""), objstore.MinPart-1); err == nil {
		t.Error("too small parts: no error")
	}
}

// testWriteStreamFails ends a stream in the third part, in each way there is.
func testWriteStreamFails(t *testing.T, s fixture, dir string) {
	broken := errors.New("broken pipe")
	ctx, cancel := context.WithCancel(t.Context())
	for name, c := range map[string]struct {
		ctx  context.Context
		end  func() error
		want error
	}{
		"error":  {t.Context(), func() error { return broken }, broken},
		"cancel": {ctx, func() error { cancel(); return nil }, context.Canceled},
		"panic":  {t.Context(), func() error { panic(broken) }, broken},
	} {
		t.Run(name, func(t *testing.T) {
			r := io.MultiReader(bytes.NewReader(noise(1, 2*objstore.MinPart)), endReader(c.end), bytes.NewReader(noise(2, objstore.MinPart)))
			n, err := tryWriteStream(c.ctx, s, dir+name, r)
			if n != 0 || !errors.Is(err, c.want) {
				t.Errorf("wrote %d, %v; want %v", n, err, c.want)
			}
			if got := list(t, s, dir); len(got) > 0 {
				t.Errorf("visible: %q", got)
			}
			if left := s.unfinished(); len(left) > 0 {
				t.Errorf("not aborted: %q", left)
			}
		})
	}
}

func tryWriteStream(ctx context.Context, s objstore.Store, key string, r io.Reader) (n int64, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = p.(error)
		}
	}()
	return objstore.WriteStream(ctx, s, key, r, objstore.MinPart)
}

// endReader does something at the end of a stream.
type endReader func() error

func (end endReader) Read([]byte) (int, error) {
	if err := end(); err != nil {
		return 0, err
	}
	return 0, io.EOF
}
