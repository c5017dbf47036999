package uploader

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/objstore"
)

// guardedStore asks before each change of the bucket.
type guardedStore struct {
	objstore.Store
	before func(change, key string) error
}

func (s *guardedStore) Put(ctx context.Context, key string, data []byte) error {
	if err := s.before("put", key); err != nil {
		return err
	}
	return s.Store.Put(ctx, key, data)
}

func (s *guardedStore) Create(ctx context.Context, key string) (objstore.Upload, error) {
	if err := s.before("create", key); err != nil {
		return nil, err
	}
	u, err := s.Store.Create(ctx, key)
	if err != nil {
		return nil, err
	}
	return &guardedUpload{u, s, key}, nil
}

func (s *guardedStore) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys { // one by one, as a Dir does, so that it can be stopped in between
		if err := s.before("delete", key); err != nil {
			return err
		}
		if err := s.Store.Delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

func (s *guardedStore) AbortUploads(ctx context.Context, prefix string) (int, error) {
	if err := s.before("abort uploads", prefix); err != nil {
		return 0, err
	}
	return s.Store.AbortUploads(ctx, prefix)
}

type guardedUpload struct {
	objstore.Upload
	store *guardedStore
	key   string
}

func (u *guardedUpload) WritePart(ctx context.Context, n int, data []byte) error {
	if err := u.store.before("part", u.key); err != nil {
		return err
	}
	return u.Upload.WritePart(ctx, n, data)
}

func (u *guardedUpload) Complete(ctx context.Context) error {
	if err := u.store.before("complete", u.key); err != nil {
		return err
	}
	return u.Upload.Complete(ctx)
}

func (u *guardedUpload) Abort() error {
	if err := u.store.before("abort", u.key); err != nil {
		return err
	}
	return u.Upload.Abort()
}

var errBucket = errors.New("the bucket is on fire")

// failAt fails at the n-th write, counted from 0, and only there: what follows
// must not make up for it.
func failAt(store objstore.Store, n int64) *guardedStore {
	var left atomic.Int64
	left.Store(n)
	return &guardedStore{store, func(change, key string) error {
		switch change {
		case "put", "create", "part", "complete":
			if left.Add(-1) == -1 {
				return errBucket
			}
		}
		return nil
	}}
}

// Wherever the bucket fails, the run ends with its error and leaves nothing but
// packages that arrived whole; the next run goes on with those that have a list.
func TestBucketFailsAtEveryStep(t *testing.T) {
	for what, test := range map[string]struct {
		files  func(*world) int
		change func(*Options)
		key    string
		atMost int64
	}{
		"plain":             {writeSeveralPackages, func(o *Options) { o.partSize = 256 << 10 }, "", 100},
		"sealed and signed": {writeTwoPackages, func(o *Options) { o.Recipients, o.Signer = recipients(t, "curve"), signerOf(t, "curve") }, "curve", 50},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			total := test.files(w)
			open := envelope.NewOpener(nil)
			if test.key != "" {
				open = opener(t, test.key)
			}
			resumed := 0
			for n := int64(0); ; n += everyOther() {
				if n > test.atMost {
					t.Fatal("it never succeeds")
				}
				w.takeBucket(t.TempDir())
				_, err := w.backup(func(o *Options) {
					test.change(o)
					o.Store = failAt(w.store, n)
				})
				if err == nil {
					if n < 15 || resumed < 4 {
						t.Errorf("only %d writes, %d of them with something to go on with: the test misses parts", n, resumed)
					}
					t.Logf("failed at %d writes, went on after %d of them", n, resumed)
					return
				}
				if !errors.Is(err, errBucket) {
					t.Fatalf("write %d: %v", n, err)
				}
				arrived := w.checkLeft(open, test.key != "")
				if len(arrived) > 0 {
					resumed++
				}
				r := w.mustBackup(test.change)
				w.checkGoesOn(r, arrived, total)
				w.check(r.Backup, open, test.key != "")
				w.checkBucket(r.Backup)
				if t.Failed() {
					t.Fatalf("write %d failed", n)
				}
			}
		})
	}
}

// checkLeft checks that a run that failed left only what a later one can use, and
// a package for each of the two workers that it cannot: one of which the list did
// not arrive. It returns the files that are listed, by path.
func (w *world) checkLeft(open *envelope.Opener, encrypted bool) map[string]manifest.Entry {
	w.t.Helper()
	keys, unlisted := w.keys(), 0
	for _, key := range keys {
		pkg, isPackage := strings.CutSuffix(key, ".tar")
		list, _, isList := strings.Cut(key, packageListSuffix)
		switch {
		case isPackage && !slices.Contains(keys, pkg+".tar"+packageListSuffix):
			unlisted++
		case isPackage, isList && slices.Contains(keys, list), strings.HasSuffix(key, "/backup-info.sig"):
		default:
			w.t.Errorf("left %s", key)
		}
	}
	if unlisted > 2 {
		w.t.Errorf("%d packages have no list: %q", unlisted, keys)
	}
	w.checkNothingUnfinished()
	return w.arrived(open, encrypted)
}

// arrived are the files of the packages that are whole and have a list, of
// backups that are not there yet. Each of them has to be as the list says.
func (w *world) arrived(open *envelope.Opener, encrypted bool) map[string]manifest.Entry {
	w.t.Helper()
	all := map[string]manifest.Entry{}
	keys := w.keys()
	for _, key := range keys {
		backup, _, _ := strings.Cut(key, "/")
		if !strings.HasSuffix(key, ".tar"+packageListSuffix) || slices.Contains(keys, backup+"/backup-info") {
			continue
		}
		for path, e := range w.checkEntries(backup, w.readList(key), open, encrypted) {
			if _, twice := all[path]; twice {
				w.t.Errorf("%q is in two packages", path)
			}
			all[path] = e
		}
	}
	return all
}

// checkGoesOn checks that a run took over all that had arrived, and made nothing
// of it again.
func (w *world) checkGoesOn(r *Report, arrived map[string]manifest.Entry, total int) {
	w.t.Helper()
	if r.Resumed != len(arrived) || r.New != total-len(arrived) || r.Files != total {
		w.t.Errorf("of %d files, %d had arrived: %+v", total, len(arrived), r)
	}
	var size int64
	for _, e := range w.list(r.Backup) {
		before, ok := arrived[e.Path]
		if !ok {
			continue
		}
		size += e.Size
		if e.Backup != before.Backup || e.Package != before.Package || e.Offset != before.Offset || e.SealedSHA512 != before.SealedSHA512 {
			w.t.Fatalf("%q was in %s/%s, and is in %s/%s", e.Path, before.Backup, before.Package, e.Backup, e.Package)
		}
	}
	if size != r.ResumedSize {
		w.t.Errorf("%d bytes had arrived: %+v", size, r)
	}
}

// writeSeveralPackages writes files that make five packages.
func writeSeveralPackages(w *world) (total int) {
	for i := range 501 {
		w.write(fmt.Sprintf("dir%d/%c%d", i%7, "abc"[i%3], i), random(50+i))
	}
	w.write("a.large", random(1_200_000))
	w.write("d.large", random(1_500_000))
	return 503
}

// writeTwoPackages writes three small files and two larger ones.
func writeTwoPackages(w *world) (total int) {
	for _, name := range []string{"a", "b", "c"} {
		w.write(name, random(30_000))
	}
	w.write("x", random(1<<20))
	w.write("y", random(1<<20+1))
	return 5
}

// lostAnswer writes the list and says that it did not.
type lostAnswer struct{ objstore.Store }

func (s *lostAnswer) Put(ctx context.Context, key string, data []byte) error {
	if err := s.Store.Put(ctx, key, data); err != nil || !strings.HasSuffix(key, "/backup-info") {
		return err
	}
	return errBucket
}

// A list is never there without what it names, not even where the run fails
// because it does not know that the list arrived: then the backup is whole.
func TestListArrivesThoughTheRunFails(t *testing.T) {
	w := newWorld(t)
	total := writeSeveralPackages(w)
	var lists atomic.Int32
	_, err := w.backup(func(o *Options) {
		o.Signer = signerOf(t, "curve")
		o.Store = &guardedStore{&lostAnswer{w.store}, func(change, key string) error {
			if pkg, ok := strings.CutSuffix(key, packageListSuffix); ok {
				lists.Add(1)
				w.mustHave(key, pkg, key+".sig")
			}
			if backup, ok := strings.CutSuffix(key, "/backup-info"); ok {
				for _, name := range []string{"a_small_files", "b_small_files", "c_small_files", "a_medium_files", "d_medium_files"} {
					w.mustHave(key, backup+"/"+name+".tar", backup+"/"+name+".tar.list", key+".sig")
				}
			}
			return nil
		}}
	})
	if !errors.Is(err, errBucket) || lists.Load() != 5 {
		t.Fatalf("%v after %d lists", err, lists.Load())
	}
	first := strings.TrimSuffix(w.keys()[0], "/a_medium_files.tar")
	if len(w.check(first, envelope.NewOpener(nil), false)) != total {
		t.Error("the backup is not whole")
	}
	second := w.mustBackup(nil)
	if second.Backup == first || second.New != total {
		t.Errorf("%+v", second)
	}
	if keys := w.keys(); len(keys) != 2*6+1 || slices.ContainsFunc(keys, func(key string) bool { return strings.Contains(key, packageListSuffix) }) {
		t.Errorf("the lists of the packages are still there: %q", keys)
	}
}

func (w *world) mustHave(what string, keys ...string) {
	w.t.Helper()
	for _, key := range keys {
		if _, err := w.store.Head(context.Background(), key); err != nil {
			w.t.Errorf("before %s: %v", what, err)
		}
	}
}

func TestCancelled(t *testing.T) {
	w := newWorld(t)
	w.write("a", random(3_000_000))
	ctx, cancel := context.WithCancel(context.Background())
	_, err := Run(ctx, Options{
		Store: w.store, Storage: w.storage, Name: "file-storage", partSize: 64 << 10,
		Progress: func(int, int64) { cancel() },
	})
	if !errors.Is(err, context.Canceled) || len(w.keys()) != 0 {
		t.Errorf("%v, %v", err, w.keys())
	}
	w.checkNothingUnfinished()
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
