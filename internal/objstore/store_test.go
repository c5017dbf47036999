package objstore_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/objstore/objstoretest"
)

// fixture is a store, empty at first, and what only a test asks of it.
type fixture struct {
	objstore.Store
	// unfinished names the writes that were neither completed nor aborted.
	unfinished func() []string
	// abandon begins an upload as a process does that is killed then.
	abandon func(key string)
	// isFolder says that the server keeps keys as paths, so "//" is "/".
	isFolder bool
}

func TestDirStore(t *testing.T) {
	dir := t.TempDir()
	testStore(t, fixture{
		Store:      openDir(t, dir),
		unfinished: func() []string { return dirNames(t, dir, objstore.TmpDir) },
		abandon:    func(string) { writeFile(t, filepath.Join(dir, objstore.TmpDir, rand.Text()), "data") },
	})
}

func TestS3Store(t *testing.T) {
	o := objstoretest.VersityGW(t)
	testStore(t, s3Fixture(t, o))
}

func TestS3Prefix(t *testing.T) {
	o := objstoretest.VersityGW(t)
	// Objects beside the prefix, which must not be seen.
	outer := openS3(t, o)
	put(t, outer, "pre/fiy", "outside")
	put(t, outer, "pre/fix-too/x", "outside")
	o.Prefix = "pre/fix"
	s := s3Fixture(t, o)
	for name, test := range map[string]func(*testing.T, fixture, string){
		"AbortUploads": testAbortUploads, "OddKeys": testOddKeys, "Ranges": testRanges, "ListOrder": testListOrder, "Overwrite": testOverwrite, "Delete": testDelete,
	} {
		t.Run(name, func(t *testing.T) { test(t, s, name+"/") })
	}
	put(t, s, "key", "inside")
	if got := get(t, outer, "pre/fix/key"); got != "inside" {
		t.Errorf("pre/fix/key is %q", got)
	}
	if got := list(t, s, ""); slices.ContainsFunc(got, func(k string) bool { return strings.Contains(k, "fix") || k == "" }) {
		t.Errorf("listed from outside: %q", got)
	}
}

func s3Fixture(t *testing.T, o objstore.S3Options) fixture {
	return fixture{
		Store: openS3(t, o),
		abandon: func(key string) {
			u, err := openS3(t, o).Create(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			writePart(t, u, 1, "data")
		},
		unfinished: func() []string { return objstoretest.Uploads(t, o) },
		isFolder:   !objstoretest.IsExternal(),
	}
}

// dirNames lists a folder that may be missing.
func dirNames(t *testing.T, path ...string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(path...))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func openDir(t *testing.T, name string) *objstore.Dir {
	t.Helper()
	d, err := objstore.OpenDir(name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func openS3(t *testing.T, o objstore.S3Options) *objstore.S3 {
	t.Helper()
	s, err := objstore.OpenS3(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// testStore is what every store has to do. The tests share it, each with a
// folder of its own.
func testStore(t *testing.T, s fixture) {
	for name, test := range map[string]func(*testing.T, fixture, string){
		"PutGetHead":       testPutGetHead,
		"OddKeys":          testOddKeys,
		"Ranges":           testRanges,
		"NotFound":         testNotFound,
		"EmptyKey":         testEmptyKey,
		"Overwrite":        testOverwrite,
		"ListPages":        testListPages,
		"ListOrder":        testListOrder,
		"ListStops":        testListStops,
		"Delete":           testDelete,
		"DeleteMany":       testDeleteMany,
		"PartsAnyOrder":    testPartsAnyOrder,
		"PartsOfAnySize":   testPartsOfAnySize,
		"PartsGap":         testPartsGap,
		"PartsRefused":     testPartsRefused,
		"Abort":            testAbort,
		"AbortAfterCancel": testAbortAfterCancel,
		"AbortUploads":     testAbortUploads,
		"WriteStream":      testWriteStream,
		"WriteStreamFails": testWriteStreamFails,
		"Cancelled":        testCancelled,
	} {
		t.Run(name, func(t *testing.T) { test(t, s, name+"/") })
		if left := s.unfinished(); len(left) > 0 {
			t.Errorf("%s left unfinished writes: %q", name, left)
		}
	}
}

func testPutGetHead(t *testing.T, s fixture, dir string) {
	for _, data := range []string{"", "x", strings.Repeat("0123456789", 100_000)} {
		key := fmt.Sprintf("%s%d", dir, len(data))
		put(t, s, key, data)
		if got := get(t, s, key); got != data {
			t.Errorf("%s: read %d bytes, other ones than the %d written", key, len(got), len(data))
		}
		o, err := s.Head(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if o.Key != key || o.Size != int64(len(data)) || time.Since(o.Modified).Abs() > time.Minute {
			t.Errorf("Head = %+v", o)
		}
	}
}

func testOddKeys(t *testing.T, s fixture, dir string) {
	keys := []string{
		"a b", "ä ö/日本語", "plus+plus", "100%", "%41", "a#b", "a?b=c&d", "q'u\"o`te", "x;y,z@:!$()*~",
		`back\slash`, "<tag>&amp;", ".hidden", "..two", "...", "tail.", " lead", "file_2019-05-08T09:26:17.038Z/x.tar",
		strings.Repeat("n", 200),
	}
	if !s.isFolder {
		keys = append(keys, "name//abs/path/x.tar", "two///three", "end/", strings.Repeat("long", 100)+"/x")
	}
	var want []string
	for _, k := range keys {
		put(t, s, dir+k, "data of "+k)
		want = append(want, dir+k)
	}
	for _, k := range keys {
		if got := get(t, s, dir+k); got != "data of "+k {
			t.Errorf("%q: read %q", k, got)
		}
	}
	slices.Sort(want)
	if got := list(t, s, dir); !slices.Equal(got, want) {
		t.Errorf("listed\n%q\nwant\n%q", got, want)
	}
	if err := s.Delete(t.Context(), want...); err != nil {
		t.Fatal(err)
	}
	if got := list(t, s, dir); len(got) > 0 {
		t.Errorf("left after Delete: %q", got)
	}
}

func testRanges(t *testing.T, s fixture, dir string) {
	const data = "0123456789"
	put(t, s, dir+"x", data)
	put(t, s, dir+"empty", "")
	for _, c := range []struct {
		key            string
		offset, length int64
		want           string
	}{
		{"x", 0, -1, data}, {"x", 0, 10, data}, {"x", 3, 4, "3456"}, {"x", 3, -1, "3456789"},
		{"x", 9, 1, "9"}, {"x", 8, 100, "89"}, {"x", 10, -1, ""}, {"x", 10, 5, ""}, {"x", 4, 0, ""}, {"x", 10, 0, ""},
		{"x", 5, 1<<63 - 1, "56789"}, {"empty", 0, -1, ""}, {"empty", 0, 0, ""}, {"empty", 0, 7, ""},
	} {
		r, err := s.Get(t.Context(), dir+c.key, c.offset, c.length)
		if err != nil {
			t.Errorf("%s %d+%d: %v", c.key, c.offset, c.length, err)
			continue
		}
		got, err := io.ReadAll(r)
		if err != nil || string(got) != c.want {
			t.Errorf("%s %d+%d: read %q, %v; want %q", c.key, c.offset, c.length, got, err, c.want)
		}
		if err := r.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	for _, c := range [][2]int64{{11, -1}, {11, 0}, {11, 1}, {-1, 1}, {-1, 0}} {
		if r, err := s.Get(t.Context(), dir+"x", c[0], c[1]); err == nil {
			r.Close()
			t.Errorf("%d+%d: no error", c[0], c[1])
		}
	}
}

func testNotFound(t *testing.T, s fixture, dir string) {
	put(t, s, dir+"folder/x", "")
	for _, key := range []string{"none", "none/below", "folder", "folder/none"} {
		key = dir + key
		_, headErr := s.Head(t.Context(), key)
		_, getErr := s.Get(t.Context(), key, 0, -1)
		_, rangeErr := s.Get(t.Context(), key, 5, 5)
		for _, err := range []error{headErr, getErr, rangeErr} {
			if !errors.Is(err, objstore.ErrNotFound) || errors.Is(err, objstore.ErrDenied) || !strings.Contains(fmt.Sprint(err), key) {
				t.Errorf("%s: error %v; want ErrNotFound with the key", key, err)
			}
		}
	}
	if got := list(t, s, dir+"none/"); len(got) > 0 {
		t.Errorf("listed %q", got)
	}
}

func testEmptyKey(t *testing.T, s fixture, dir string) {
	_, headErr := s.Head(t.Context(), "")
	_, getErr := s.Get(t.Context(), "", 0, -1)
	_, createErr := s.Create(t.Context(), "")
	put(t, s, dir+"x", "")
	for op, err := range map[string]error{
		"Head": headErr, "Get": getErr, "Create": createErr,
		"Put": s.Put(t.Context(), "", nil), "Delete": s.Delete(t.Context(), "", dir+"x"),
	} {
		if err == nil {
			t.Errorf("%s: no error", op)
		}
	}
	if got := list(t, s, dir); len(got) > 0 {
		t.Errorf("Delete did not go on: %q", got)
	}
}

func testOverwrite(t *testing.T, s fixture, dir string) {
	put(t, s, dir+"x", "old, and longer")
	put(t, s, dir+"x", "new")
	if got := get(t, s, dir+"x"); got != "new" {
		t.Errorf("read %q", got)
	}
	u := create(t, s, dir+"x")
	writePart(t, u, 1, "parts")
	if got := get(t, s, dir+"x"); got != "new" {
		t.Errorf("before Complete: read %q", got)
	}
	complete(t, u)
	if got := get(t, s, dir+"x"); got != "parts" {
		t.Errorf("after Complete: read %q", got)
	}
}

func testListPages(t *testing.T, s fixture, dir string) {
	var want []string
	var g errgroup.Group
	g.SetLimit(8)
	for i := range 1100 {
		key := fmt.Sprintf("%s%d/%d", dir, i%7, i)
		want = append(want, key)
		g.Go(func() error { return s.Put(t.Context(), key, []byte("x")) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	if got := list(t, s, dir); !slices.Equal(got, want) {
		t.Errorf("listed %d keys; want the %d that were written, sorted", len(got), len(want))
	}
	for o, err := range s.List(t.Context(), dir+"3/10") {
		if err != nil || o.Size != 1 || time.Since(o.Modified).Abs() > 5*time.Minute {
			t.Fatalf("List: %+v, %v", o, err)
		}
	}
	if err := s.Delete(t.Context(), want...); err != nil {
		t.Fatal(err)
	}
	if got := list(t, s, dir); len(got) > 0 {
		t.Errorf("%d left after Delete", len(got))
	}
}

func testListOrder(t *testing.T, s fixture, dir string) {
	want := []string{"a", "b!", "b-x/y", "b.tar", "b/a", "b/z/q", "b0", "bb/x", "é"}
	for _, k := range want {
		put(t, s, dir+k, "")
	}
	for prefix, n := range map[string]int{"": 9, "b": 7, "b/": 2, "b/z": 1, "b/z/": 1, "b/z/q": 1, "b/z/qq": 0, "c": 0, "é": 1, "b-x": 1} {
		var matching []string
		for _, k := range want {
			if strings.HasPrefix(k, prefix) {
				matching = append(matching, dir+k)
			}
		}
		if got := list(t, s, dir+prefix); !slices.Equal(got, matching) || len(got) != n {
			t.Errorf("List(%q) = %q; want %q", prefix, got, matching)
		}
	}
}

func testListStops(t *testing.T, s fixture, dir string) {
	put(t, s, dir+"a/x", "")
	put(t, s, dir+"b/x", "")
	for _, err := range s.List(t.Context(), dir) {
		if err != nil {
			t.Fatal(err)
		}
		break // a yield after this panics
	}
}

func testDelete(t *testing.T, s fixture, dir string) {
	put(t, s, dir+"a/b/x", "")
	put(t, s, dir+"a/y", "")
	if err := s.Delete(t.Context()); err != nil {
		t.Errorf("of nothing: %v", err)
	}
	if err := s.Delete(t.Context(), dir+"a/b/x", dir+"a/b", dir+"none", dir+"a/y/below"); err != nil {
		t.Error(err)
	}
	if got := list(t, s, dir); !slices.Equal(got, []string{dir + "a/y"}) {
		t.Errorf("left: %q", got)
	}
}

func testDeleteMany(t *testing.T, s fixture, dir string) {
	keys := make([]string, 2500)
	for i := range keys {
		keys[i] = fmt.Sprintf("%s%d", dir, i)
		if i%500 == 1 { // in each batch
			put(t, s, keys[i], "")
		}
	}
	put(t, s, dir+"stays", "")
	if err := s.Delete(t.Context(), keys...); err != nil {
		t.Fatal(err)
	}
	if got := list(t, s, dir); !slices.Equal(got, []string{dir + "stays"}) {
		t.Errorf("left: %q", got)
	}
}

func testCancelled(t *testing.T, s fixture, dir string) {
	put(t, s, dir+"x", "data")
	ctx, cancel := context.WithCancel(t.Context())
	r, err := s.Get(ctx, dir+"x", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	cancel()
	_, headErr := s.Head(ctx, dir+"x")
	_, getErr := s.Get(ctx, dir+"x", 0, -1)
	_, createErr := s.Create(ctx, dir+"y")
	errs := map[string]error{
		"Head": headErr, "Get": getErr, "Create": createErr,
		"Put": s.Put(ctx, dir+"y", nil), "Delete": s.Delete(ctx, dir+"x"),
	}
	for _, err := range s.List(ctx, dir) {
		errs["List"] = err
	}
	for op, err := range errs {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", op, err)
		}
	}
	if got := list(t, s, dir); !slices.Equal(got, []string{dir + "x"}) {
		t.Errorf("there is %q", got)
	}
}
