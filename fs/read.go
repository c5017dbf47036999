package fs

import (
	"context"
	"fmt"
)

// maxAtOnce bounds the blocks that one read waits for at once. A request of the
// kernel's is rarely of more than two; of the smallest that lz4 frames have, it
// is of seventeen.
const maxAtOnce = 17

// wanted is a block that a read is about, there or on its way.
type wanted struct {
	id    blockID
	block []byte
	fl    *flight
}

// read returns the plain bytes from off on, up to n of them, as parts of blocks
// that must not be changed. Where there is an error, count is how many bytes
// could be read before it.
func (f *openFile) read(ctx context.Context, w *window, off int64, n int) (parts [][]byte, count int, err error) {
	if off < 0 {
		return nil, 0, fmt.Errorf("read at the negative offset %d", off)
	}
	end := min(off+int64(n), f.entry.Size)
	if off >= end {
		return nil, 0, nil
	}
	if err := f.locate(ctx); err != nil {
		return nil, 0, err
	}
	for at := off; at < end; {
		batch, err := f.want(at, end)
		if err != nil {
			return nil, int(at - off), err
		}
		last := batch[len(batch)-1].id
		if to := last.start + last.length; to >= end && f.reader.Streamed() == "" {
			f.fetchAhead(w, w.read(off, end, last.length))
		}
		for i := range batch {
			part, err := f.give(ctx, &batch[i], at, end)
			if err != nil {
				f.leave(batch[i+1:])
				return nil, int(at - off), err
			}
			parts = append(parts, part)
			at += int64(len(part))
		}
	}
	return parts, int(end - off), nil
}

// want asks for the blocks of the bytes from at to end, or the first of them.
func (f *openFile) want(at, end int64) (batch []wanted, err error) {
	for at < end && len(batch) < maxAtOnce {
		id, err := f.block(at)
		if err != nil {
			f.leave(batch)
			return nil, err
		}
		block, fl := f.t.cache.get(f, id)
		batch = append(batch, wanted{id, block, fl})
		at = id.start + id.length
	}
	return batch, nil
}

func (f *openFile) leave(batch []wanted) {
	for _, b := range batch {
		if b.fl != nil {
			f.t.cache.leave(b.fl)
		}
	}
}

// give waits for a block and returns what of it lies between at and end.
func (f *openFile) give(ctx context.Context, b *wanted, at, end int64) (part []byte, err error) {
	if b.fl != nil {
		if b.block, err = f.t.cache.await(ctx, b.fl); err != nil {
			return nil, err
		}
	}
	if err := f.reader.HandOut(ctx, b.id.start); err != nil {
		return nil, err
	}
	return b.block[at-b.id.start : min(end-b.id.start, b.id.length)], nil
}
