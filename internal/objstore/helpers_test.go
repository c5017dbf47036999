package objstore_test

import (
	"io"
	"math/rand/v2"
	"testing"

	"github.com/chipster/firn/internal/objstore"
)

func put(t *testing.T, s objstore.Store, key, data string) {
	t.Helper()
	if err := s.Put(t.Context(), key, []byte(data)); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, s objstore.Store, key string) string {
	t.Helper()
	r, err := s.Get(t.Context(), key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func list(t *testing.T, s objstore.Store, prefix string) []string {
	t.Helper()
	var keys []string
	for o, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}

func create(t *testing.T, s objstore.Store, key string) objstore.Upload {
	t.Helper()
	u, err := s.Create(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Abort() })
	return u
}

func writePart(t *testing.T, u objstore.Upload, n int, data string) {
	t.Helper()
	if err := u.WritePart(t.Context(), n, []byte(data)); err != nil {
		t.Fatal(err)
	}
}

func complete(t *testing.T, u objstore.Upload) {
	t.Helper()
	if err := u.Complete(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// noise is n bytes that are nowhere alike.
func noise(seed uint64, n int) []byte {
	var key [32]byte
	key[0] = byte(seed)
	data := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(data)
	return data
}
