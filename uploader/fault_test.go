package uploader

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chipster/firn/internal/objstore"
)

var errBucket = errors.New("the bucket is on fire")

// failingStore fails at the n-th write, and only there: what follows must not
// make up for it.
type failingStore struct {
	objstore.Store
	left atomic.Int64
}

func (s *failingStore) fail() error {
	if s.left.Add(-1) == -1 {
		return errBucket
	}
	return nil
}

func (s *failingStore) Put(ctx context.Context, key string, data []byte) error {
	if err := s.fail(); err != nil {
		return err
	}
	return s.Store.Put(ctx, key, data)
}

func (s *failingStore) Create(ctx context.Context, key string) (objstore.Upload, error) {
	if err := s.fail(); err != nil {
		return nil, err
	}
	u, err := s.Store.Create(ctx, key)
	if err != nil {
		return nil, err
	}
	return &failingUpload{u, s}, nil
}

type failingUpload struct {
	objstore.Upload
	store *failingStore
}

func (u *failingUpload) WritePart(ctx context.Context, n int, data []byte) error {
	if err := u.store.fail(); err != nil {
		return err
	}
	return u.Upload.WritePart(ctx, n, data)
}

func (u *failingUpload) Complete(ctx context.Context) error {
	if err := u.store.fail(); err != nil {
		return err
	}
	return u.Upload.Complete(ctx)
}

// Wherever the bucket fails, the run ends with its error and leaves nothing;
// and once it does not fail, the backup is there.
func TestBucketFailsAtEveryStep(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"a", "b", "c"} {
		w.write(name, random(300_000))
	}
	w.write("d", random(1_200_000))
	for n := int64(0); ; n++ {
		if n > 100 {
			t.Fatal("it never succeeds")
		}
		failing := &failingStore{Store: w.store}
		failing.left.Store(n)
		r, err := w.backup(func(o *Options) { o.Store = failing })
		if err == nil {
			if len(w.check(r.Backup, opener(t, "curve"), false)) != 4 {
				t.Error("the backup is not whole")
			}
			if n < 10 {
				t.Errorf("only %d writes: the test misses parts", n)
			}
			return
		}
		if !errors.Is(err, errBucket) {
			t.Fatalf("write %d: %v", n, err)
		}
		if keys := w.keys(); len(keys) != 0 {
			t.Fatalf("write %d failed and left %v", n, keys)
		}
		left, err := filepath.Glob(filepath.Join(w.bucket, ".firn-tmp", "*"))
		if err != nil || len(left) != 0 {
			t.Fatalf("write %d failed and left %v, %v", n, left, err)
		}
	}
}

// lostAnswer writes the list and says that it did not.
type lostAnswer struct {
	objstore.Store
	deleted []string
}

func (s *lostAnswer) Put(ctx context.Context, key string, data []byte) error {
	if err := s.Store.Put(ctx, key, data); err != nil || !strings.HasSuffix(key, "/backup-info") {
		return err
	}
	return errBucket
}

func (s *lostAnswer) Delete(ctx context.Context, keys ...string) error {
	s.deleted = append(s.deleted, keys...)
	return s.Store.Delete(ctx, keys...)
}

// A run that failed must not leave a list without its packages, not even if it
// is killed while it cleans up: the list goes first.
func TestListArrivesThoughTheRunFails(t *testing.T) {
	w := newWorld(t)
	w.write("a", random(10))
	store := &lostAnswer{Store: w.store}
	_, err := w.backup(func(o *Options) { o.Store = store })
	if !errors.Is(err, errBucket) || len(w.keys()) != 0 {
		t.Errorf("%v, %v", err, w.keys())
	}
	if len(store.deleted) != 2 || !strings.HasSuffix(store.deleted[0], "/backup-info") {
		t.Errorf("deleted in the order %v", store.deleted)
	}
}

func TestCancelled(t *testing.T) {
	w := newWorld(t)
	w.write("a", random(3_000_000))
	ctx, cancel := context.WithCancel(context.Background())
	w.now = w.now.Add(1)
	_, err := Run(ctx, Options{
		Store: w.store, Storage: w.storage, Name: "file-storage", partSize: 64 << 10,
		Progress: func(int, int64) { cancel() },
	})
	if !errors.Is(err, context.Canceled) || len(w.keys()) != 0 {
		t.Errorf("%v, %v", err, w.keys())
	}
}

// Nothing of a file touches a disk of the backed-up host on its way.
func TestNoTemporaryFiles(t *testing.T) {
	w := newWorld(t)
	w.write("a", random(3_000_000))
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	before := tree(t, w.storage)
	w.mustBackup(nil)
	if after := tree(t, w.storage); before != after || tree(t, tmp) != "" {
		t.Errorf("%s became %s; %s", before, after, tree(t, tmp))
	}
}

func tree(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(name string, _ os.DirEntry, err error) error {
		if name != dir {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}
