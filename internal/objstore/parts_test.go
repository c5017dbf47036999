package objstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/objstore/objstoretest"
)

func testPartsAnyOrder(t *testing.T, s fixture, dir string) {
	data := noise(1, 3*objstore.MinPart+17)
	for name, order := range map[string][]int{
		"up": {1, 2, 3, 4}, "down": {4, 3, 2, 1}, "first last": {2, 4, 3, 1},
	} {
		key := dir + name
		u := create(t, s, key)
		for _, n := range order {
			if got := list(t, s, key); len(got) > 0 {
				t.Fatalf("%s: visible before Complete", name)
			}
			writePart(t, u, n, string(data[(n-1)*objstore.MinPart:min(n*objstore.MinPart, len(data))]))
		}
		complete(t, u)
		if get(t, s, key) != string(data) {
			t.Errorf("%s: other data", name)
		}
	}
	u := create(t, s, dir+"at once")
	var wg sync.WaitGroup
	for n := 4; n > 0; n-- {
		wg.Go(func() {
			part := bytes.Clone(data[(n-1)*objstore.MinPart : min(n*objstore.MinPart, len(data))])
			if err := u.WritePart(t.Context(), n, part); err != nil {
				t.Error(err)
			}
			clear(part) // ours again
		})
	}
	wg.Wait()
	complete(t, u)
	if get(t, s, dir+"at once") != string(data) {
		t.Error("at once: other data")
	}
}

func testPartsOfAnySize(t *testing.T, s fixture, dir string) {
	sizes := []int{objstore.MinPart + 3, objstore.MinPart, objstore.MinPart + 1<<20, 1}
	want := make([]byte, 0, 4*objstore.MinPart)
	parts := make([][]byte, len(sizes))
	for i, size := range sizes {
		parts[i] = noise(uint64(i), size)
		want = append(want, parts[i]...)
	}
	for _, order := range [][]int{{2, 3, 1, 4}, {4, 3, 1, 2}} {
		key := dir + fmt.Sprint(order)
		u := create(t, s, key)
		for _, n := range order {
			writePart(t, u, n, string(parts[n-1]))
		}
		complete(t, u)
		if get(t, s, key) != string(want) {
			t.Errorf("%v: other data", order)
		}
	}
}

func testPartsGap(t *testing.T, s fixture, dir string) {
	u := create(t, s, dir+"gap")
	writePart(t, u, 1, strings.Repeat("x", objstore.MinPart))
	writePart(t, u, 3, "x")
	if err := u.Complete(t.Context()); err == nil || !strings.Contains(err.Error(), "part 2") {
		t.Errorf("Complete without part 2: %v", err)
	}
	if err := create(t, s, dir+"none").Complete(t.Context()); err == nil {
		t.Error("Complete without parts: no error")
	}
	if got := list(t, s, dir); len(got) > 0 {
		t.Errorf("visible: %q", got)
	}
}

func testPartsRefused(t *testing.T, s fixture, dir string) {
	u := create(t, s, dir+"x")
	writePart(t, u, 2, "x")
	for _, n := range []int{-1, 0, 2, objstore.MaxParts + 1} {
		if err := u.WritePart(t.Context(), n, []byte("y")); err == nil {
			t.Errorf("part %d: no error", n)
		}
	}
}

func testAbort(t *testing.T, s fixture, dir string) {
	u := create(t, s, dir+"x")
	writePart(t, u, 1, "data")
	for range 2 {
		if err := u.Abort(); err != nil {
			t.Fatal(err)
		}
	}
	if err := u.Complete(t.Context()); err == nil {
		t.Error("Complete after Abort: no error")
	}
	if got := list(t, s, dir); len(got) > 0 {
		t.Errorf("visible: %q", got)
	}
	u = create(t, s, dir+"y")
	writePart(t, u, 1, "data")
	complete(t, u)
	if err := u.Abort(); err != nil {
		t.Errorf("Abort after Complete: %v", err)
	}
	if get(t, s, dir+"y") != "data" {
		t.Error("Abort after Complete took the object away")
	}
}

func testAbortAfterCancel(t *testing.T, s fixture, dir string) {
	ctx, cancel := context.WithCancel(t.Context())
	u, err := s.Create(ctx, dir+"x")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := u.WritePart(ctx, 1, []byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("WritePart: %v", err)
	}
	if err := u.Abort(); err != nil {
		t.Error(err)
	}
}

func testAbortUploads(t *testing.T, s fixture, dir string) {
	put(t, s, dir+"a/object", "data")
	for _, key := range []string{"a/1", "a/2/x", "b/1"} {
		s.abandon(dir + key)
	}
	n, err := s.AbortUploads(t.Context(), dir+"a/")
	if err != nil {
		t.Fatal(err)
	}
	left := s.unfinished()
	if n != 3-len(left) || n < 2 {
		t.Errorf("dropped %d; left are %q", n, left)
	}
	for _, key := range left { // a Dir leaves none
		if !strings.HasSuffix(key, "/b/1") {
			t.Errorf("%s is left", key)
		}
	}
	for range 2 {
		if _, err := s.AbortUploads(t.Context(), dir); err != nil {
			t.Error(err)
		}
	}
	if got := list(t, s, dir); !slices.Equal(got, []string{dir + "a/object"}) {
		t.Errorf("the objects are %q", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.AbortUploads(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestAbortUploadsPages has more uploads than a page holds, two of each key.
func TestAbortUploadsPages(t *testing.T) {
	o := objstoretest.VersityGW(t)
	s := openS3(t, o)
	var g errgroup.Group
	g.SetLimit(8)
	const keys = 520
	for i := range 2 * keys {
		g.Go(func() error {
			_, err := s.Create(t.Context(), fmt.Sprintf("x/%d", i%keys))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if n, err := s.AbortUploads(t.Context(), "x/"); n != 2*keys || err != nil {
		t.Errorf("dropped %d of %d, %v", n, 2*keys, err)
	}
	if left := objstoretest.Uploads(t, o); len(left) > 0 {
		t.Errorf("%d are left", len(left))
	}
}
