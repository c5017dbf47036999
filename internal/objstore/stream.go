package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"
)

// WriteStream writes all of r as an object and returns its length in bytes. A
// stream shorter than partSize is one Put, a longer one an upload in parts of
// PartSize(partSize, n), which is aborted on every failure, panics of r
// included. One part is read while the one before is on its way, so it holds
// two parts in memory.
//
// A Read of r that blocks is not interrupted when ctx ends: r has to end by
// itself then.
func WriteStream(ctx context.Context, s Store, key string, r io.Reader, partSize int) (int64, error) {
	if partSize < MinPart {
		return 0, fmt.Errorf("write %s: parts of %d bytes: at least %d", key, partSize, MinPart)
	}
	first, err := readPart(r, nil, partSize)
	if err != nil {
		return 0, fmt.Errorf("write %s: read its data: %w", key, err)
	}
	if len(first) == partSize {
		return writeParts(ctx, s, key, first, r, partSize)
	}
	if err := s.Put(ctx, key, first); err != nil {
		return 0, err
	}
	return int64(len(first)), nil
}

func writeParts(ctx context.Context, s Store, key string, first []byte, r io.Reader, partSize int) (int64, error) {
	u, err := s.Create(ctx, key)
	if err != nil {
		return 0, err
	}
	defer u.Abort() // for a panic of r
	total, err := sendParts(ctx, u, first, r, partSize)
	if err == nil {
		err = u.Complete(ctx)
	}
	if err != nil {
		return 0, errors.Join(err, u.Abort())
	}
	return total, nil
}

// sendParts writes the parts one after the other, the first of them from
// memory. No write is under way any more when it returns or panics.
func sendParts(ctx context.Context, u Upload, part []byte, r io.Reader, partSize int) (total int64, err error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(1)
	defer func() {
		// A failed write ends ctx, so it is the reason for what else failed.
		if failed := g.Wait(); failed != nil {
			err = failed
		}
	}()
	var idle []byte
	for n := 1; len(part) > 0; n++ {
		// Waits for the write before, whose buffer is idle from then on.
		sent := part
		g.Go(func() error { return u.WritePart(ctx, n, sent) })
		total += int64(len(sent))
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		next, err := readPart(r, idle, PartSize(partSize, n+1))
		if err != nil {
			return 0, fmt.Errorf("part %d: read its data: %w", n+1, err)
		}
		part, idle = next, sent
	}
	return total, nil
}

// readPart fills size bytes, or fewer at the end of r. It takes buf if that is
// large enough.
func readPart(r io.Reader, buf []byte, size int) ([]byte, error) {
	if cap(buf) < size {
		buf = make([]byte, size)
	}
	n, err := io.ReadFull(r, buf[:size])
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return buf[:n], err
}
