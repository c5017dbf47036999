package objstore

import (
	"context"
	"errors"
	"io"
	"sync"
)

// Create begins an upload: a temporary file that the parts are written into.
func (d *Dir) Create(ctx context.Context, key string) (Upload, error) {
	err := ctx.Err()
	if err == nil && key == "" {
		err = errNoKey
	}
	if err != nil {
		return nil, d.fail("write", key, err)
	}
	t, err := d.newTemp()
	if err != nil {
		return nil, d.fail("write", key, err)
	}
	return &dirUpload{d: d, key: key, file: t}, nil
}

// dirUpload writes each part where it will most likely end up. Where the guess
// was right for all, the file is the object as it stands; else Complete copies
// the parts into a second one in their order.
type dirUpload struct {
	d    *Dir
	key  string
	file *tempFile

	mu    sync.Mutex
	parts layout
}

func (u *dirUpload) WritePart(ctx context.Context, n int, data []byte) error {
	if err := u.writePart(ctx, n, data); err != nil {
		return u.d.fail("write", u.key, err)
	}
	return nil
}

func (u *dirUpload) writePart(ctx context.Context, n int, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	offset, err := u.place(n, int64(len(data)))
	if err != nil {
		return err
	}
	if _, err := u.file.f.WriteAt(data, offset); err != nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.parts.remove(n)
		return err
	}
	u.file.startWriting(offset, int64(len(data)))
	return nil
}

func (u *dirUpload) place(n int, size int64) (int64, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.parts.place(n, size)
}

func (u *dirUpload) Complete(ctx context.Context) error {
	if err := u.complete(ctx); err != nil {
		return u.d.fail("write", u.key, err)
	}
	return nil
}

func (u *dirUpload) complete(ctx context.Context) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := checkParts(u.parts.at); err != nil {
		return err
	}
	if !u.parts.inOrder() {
		if err := u.reorder(ctx); err != nil {
			return err
		}
	}
	// A part that failed and was written again may have been longer before.
	if err := u.file.f.Truncate(u.parts.end()); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return u.file.publish(u.key)
}

// reorder copies the parts into a new file, in the kernel where that can.
func (u *dirUpload) reorder(ctx context.Context) (err error) {
	sorted, err := u.d.newTemp()
	if err != nil {
		return err
	}
	for n := 1; n <= len(u.parts.at) && err == nil; n++ {
		p := u.parts.at[n]
		if _, err = u.file.f.Seek(p.offset, io.SeekStart); err == nil {
			_, err = io.CopyN(sorted.f, u.file.f, p.size)
		}
		err = errors.Join(err, ctx.Err())
	}
	if err != nil {
		return errors.Join(err, sorted.drop())
	}
	old := u.file
	u.file = sorted
	u.parts.pack()
	return old.drop()
}

func (u *dirUpload) Abort() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.file.drop(); err != nil {
		return u.d.fail("drop", u.key, err)
	}
	return nil
}
