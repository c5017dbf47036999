// Package objstore is the bucket: a flat set of named byte strings, each
// written as a whole or not at all.
//
// It promises, for every Store and held by one conformance suite:
//
//   - An object appears under its key only when it is complete. A failed or
//     aborted write leaves nothing that List or Get can see.
//   - A Get that was cut off continues where it stopped, or fails; it never
//     splices bytes of two versions of an object.
//   - Memory is bounded by the size of a part, whatever the object's size.
//
// It does not interpret keys beyond splitting them at "/", keeps no cache, and
// does not encrypt.
package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

var (
	// ErrNotFound says that there is no object (or no bucket) of that name.
	ErrNotFound = errors.New("not found")
	// ErrDenied says that the store refused the credentials or the right to do
	// this.
	ErrDenied = errors.New("access denied")
	// ErrChanged says that an object was replaced while it was being read.
	ErrChanged = errors.New("object changed while it was read")
)

// Object describes a stored object.
type Object struct {
	Key      string    // relative to the store's prefix
	Size     int64     // bytes
	Modified time.Time // when it was written, by the store's clock
}

// Store is a bucket, or the part of one below a prefix. All methods are safe
// for concurrent use. Errors wrap ErrNotFound and ErrDenied where they apply
// and name the key.
type Store interface {
	// List yields all objects whose keys begin with prefix, in ascending order
	// of their keys' bytes, a page at a time. The first error ends it.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]

	// Head describes one object.
	Head(ctx context.Context, key string) (Object, error)

	// Get reads length bytes from offset, or all that follow when length is
	// negative. A range that ends behind the end of the object is cut there;
	// one that begins behind it is an error. The reader resumes by itself
	// after a broken connection and returns io.ErrUnexpectedEOF rather than an
	// early io.EOF. The caller closes it, and ends it early by ending ctx.
	Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)

	// Put writes a small object from memory, replacing what was there.
	Put(ctx context.Context, key string, data []byte) error

	// Create begins an object of unknown length. Nothing is visible before
	// Complete. An upload that is neither completed nor aborted is a leak, so
	// defer Abort.
	Create(ctx context.Context, key string) (Upload, error)

	// Delete removes objects, as many a request as the store takes. Keys that
	// do not exist are no error. It tries all and joins the errors.
	Delete(ctx context.Context, keys ...string) error

	// AbortUploads drops unfinished uploads of keys that begin with prefix,
	// whoever began them, and tells how many those were: a process that was
	// killed could not do it. What somebody still uploads there would fail, so
	// it may be called only while nobody does. Objects are left alone.
	//
	// A Dir knows whether the process of an upload still lives, but not the
	// key: it drops all uploads of dead processes, and none of living ones.
	AbortUploads(ctx context.Context, prefix string) (int, error)

	// String is the store's URL without secrets, for messages.
	String() string
}

// Upload is an object in the making. Parts may be written in any order and
// concurrently, but each number only once.
type Upload interface {
	// WritePart writes part number n, counted from 1. The object is the parts
	// joined in the order of their numbers. All parts but the last are at
	// least MinPart long. data may be reused once WritePart returns.
	WritePart(ctx context.Context, n int, data []byte) error

	// Complete makes the object visible. The numbers written must be 1 to
	// some N without a gap, else it is an error and nothing appears. An upload
	// of no parts is an error: Put writes empty objects.
	Complete(ctx context.Context) error

	// Abort drops all parts; no WritePart may be under way. After Complete it
	// does nothing, so it can be deferred. It works even when ctx of the
	// upload is cancelled.
	Abort() error
}

const (
	// MinPart is the smallest part that S3 takes, but for the last: 5 MiB.
	MinPart = 5 << 20
	// MaxParts is how many parts an object may have.
	MaxParts = 10_000
)

// PartSize is the length in bytes of part n of a stream whose length nobody
// knows: base at first, for little memory, and double that every 1,250 parts.
// From 16 MiB on, MaxParts of them hold 4.8 TiB.
func PartSize(base int, n int) int {
	return base << min((n-1)/1250, 8)
}

// errNoKey is what all stores answer to an empty key.
var errNoKey = errors.New("empty key")

// checkPart refuses a part that no store could take.
func checkPart(n int, taken bool) error {
	switch {
	case n < 1 || n > MaxParts:
		return fmt.Errorf("part %d: not between 1 and %d", n, MaxParts)
	case taken:
		return fmt.Errorf("part %d: written twice", n)
	}
	return nil
}

// checkParts tells whether parts hold the numbers 1 to len(parts), which is
// what makes an object.
func checkParts[P any](parts map[int]P) error {
	if len(parts) == 0 {
		return errors.New("no parts were written")
	}
	for n := 1; n <= len(parts); n++ {
		if _, ok := parts[n]; !ok {
			return fmt.Errorf("part %d is missing", n)
		}
	}
	return nil
}

// span is how many bytes a Get of offset and length yields from an object of
// size bytes.
func span(size, offset, length int64) (int64, error) {
	if offset < 0 || offset > size {
		return 0, fmt.Errorf("offset %d is outside of its %d bytes", offset, size)
	}
	if length < 0 || length > size-offset {
		return size - offset, nil
	}
	return length, nil
}
