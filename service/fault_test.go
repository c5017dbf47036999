package service_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/chipster/firn/internal/objstore"
)

var (
	errNetwork = errors.New("dial tcp: network is unreachable")
	errQuota   = errors.New("quota exceeded: the bucket is full")
)

// faultStore is a bucket that can be out of reach, full, or endlessly slow, and
// whose clock is the test's.
type faultStore struct {
	objstore.Store
	mu       sync.Mutex
	modified map[string]time.Time
	down     bool
	full     bool
	hold     string // writes of keys that end so wait until their context ends
}

func (f *faultStore) set(change func(*faultStore)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *faultStore) reach() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return errNetwork
	}
	return nil
}

// write does one write, or what the fault of the day makes of it.
func (f *faultStore) write(ctx context.Context, key string, do func() error) error {
	f.mu.Lock()
	down, full, held := f.down, f.full, f.hold != "" && strings.HasSuffix(key, f.hold)
	f.mu.Unlock()
	switch {
	case down:
		return errNetwork
	case full:
		return errQuota
	case held:
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return do()
}

// stamp notes when an object was written.
func (f *faultStore) stamp(key string, err error) error {
	if err == nil {
		f.set(func(f *faultStore) { f.modified[key] = time.Now() })
	}
	return err
}

func (f *faultStore) dated(o objstore.Object) objstore.Object {
	f.mu.Lock()
	defer f.mu.Unlock()
	o.Modified = f.modified[o.Key]
	return o
}

func (f *faultStore) List(ctx context.Context, prefix string) iter.Seq2[objstore.Object, error] {
	return func(yield func(objstore.Object, error) bool) {
		if err := f.reach(); err != nil {
			yield(objstore.Object{}, err)
			return
		}
		for o, err := range f.Store.List(ctx, prefix) {
			if !yield(f.dated(o), err) {
				return
			}
		}
	}
}

func (f *faultStore) Head(ctx context.Context, key string) (objstore.Object, error) {
	if err := f.reach(); err != nil {
		return objstore.Object{}, err
	}
	o, err := f.Store.Head(ctx, key)
	return f.dated(o), err
}

func (f *faultStore) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := f.reach(); err != nil {
		return nil, err
	}
	return f.Store.Get(ctx, key, offset, length)
}

func (f *faultStore) Put(ctx context.Context, key string, data []byte) error {
	return f.write(ctx, key, func() error { return f.stamp(key, f.Store.Put(ctx, key, data)) })
}

func (f *faultStore) Delete(ctx context.Context, keys ...string) error {
	if err := f.reach(); err != nil {
		return err
	}
	return f.Store.Delete(ctx, keys...)
}

func (f *faultStore) AbortUploads(ctx context.Context, prefix string) (int, error) {
	if err := f.reach(); err != nil {
		return 0, err
	}
	return f.Store.AbortUploads(ctx, prefix)
}

func (f *faultStore) Create(ctx context.Context, key string) (objstore.Upload, error) {
	if err := f.reach(); err != nil {
		return nil, err
	}
	upload, err := f.Store.Create(ctx, key)
	return &faultUpload{upload, f, key}, err
}

type faultUpload struct {
	objstore.Upload
	store *faultStore
	key   string
}

func (u *faultUpload) WritePart(ctx context.Context, n int, data []byte) error {
	return u.store.write(ctx, u.key, func() error { return u.Upload.WritePart(ctx, n, data) })
}

func (u *faultUpload) Complete(ctx context.Context) error {
	return u.store.write(ctx, u.key, func() error { return u.store.stamp(u.key, u.Upload.Complete(ctx)) })
}
