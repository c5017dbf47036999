package uploader

import (
	"bytes"
	"encoding/binary"
	"io/fs"
	"iter"
	"time"

	"github.com/chipster/firn/internal/extsort"
	"github.com/chipster/firn/internal/manifest"
)

// What a run knows of files is in sorters, as records of a path, a NUL, and
// something of that path. No path holds a NUL, so records sort as paths do.
const nul = "\x00"

// sortMemory is what a sorter takes, in bytes. Some three are in use at a time, and
// what the garbage collector has not found yet is as much again.
var sortMemory = 8 << 20

// cutRecord takes a record apart.
func cutRecord(record []byte) (path, rest []byte) {
	path, rest, _ = bytes.Cut(record, []byte(nul))
	return path, rest
}

// file is a regular file that was found.
type file struct {
	path     string
	size     int64
	modified time.Time
	mode     fs.FileMode
}

// appendRecord appends the record of a file that was found.
func (f *file) appendRecord(b []byte) []byte {
	b = append(append(b, f.path...), nul...)
	b = binary.BigEndian.AppendUint64(b, uint64(f.size))
	b = binary.BigEndian.AppendUint64(b, uint64(f.modified.Unix()))
	b = binary.BigEndian.AppendUint32(b, uint32(f.modified.Nanosecond()))
	return binary.BigEndian.AppendUint32(b, uint32(f.mode))
}

// parseFile reads what appendRecord wrote.
func parseFile(path, rest []byte) file {
	return file{path: string(path), size: sizeOf(rest), modified: time.Unix(
		int64(binary.BigEndian.Uint64(rest[8:])), int64(binary.BigEndian.Uint32(rest[16:]))).UTC(),
		mode: fs.FileMode(binary.BigEndian.Uint32(rest[20:]))}
}

// sizeOf is the size of the file in what is behind its path.
func sizeOf(rest []byte) int64 { return int64(binary.BigEndian.Uint64(rest)) }

// appendEntry appends the record of an entry: number and then the line, without
// line feed and without the name of an installation, which is not the file's.
func appendEntry(b []byte, e *manifest.Entry, number []byte) ([]byte, error) {
	own := *e
	own.Installation = ""
	b = append(append(append(b, e.Path...), nul...), number...)
	b, err := manifest.AppendLine(b, &own)
	if err != nil {
		return b, err
	}
	return b[:len(b)-1], nil
}

// cursor goes along sorted records once.
type cursor struct {
	next       func() ([]byte, error, bool)
	path, rest []byte // of the record where it stands
	more       bool
	err        error
}

// follow returns a cursor, and what ends its use.
func follow(records iter.Seq2[[]byte, error]) (c *cursor, stop func()) {
	c = &cursor{}
	c.next, stop = iter.Pull2(records)
	c.advance()
	return c, stop
}

func (c *cursor) advance() {
	var record []byte
	if record, c.err, c.more = c.next(); c.more && c.err == nil {
		c.path, c.rest = cutRecord(record)
	}
}

// find goes on to the first record of a path, which must not come before the one
// asked for last, and returns what is behind the path, valid until the next call.
func (c *cursor) find(path []byte) (rest []byte, found bool, err error) {
	for c.err == nil && c.more && bytes.Compare(c.path, path) < 0 {
		c.advance()
	}
	if c.err != nil {
		return nil, false, c.err
	}
	return c.rest, c.more && bytes.Equal(c.path, path), nil
}

// spool keeps lines in the order in which they come, in little memory.
type spool struct {
	*extsort.Sorter
	number [8]byte
}

// spoolMemory is little, since there may be thousands of packages one after the
// other: records that come in order need no more to be kept.
const spoolMemory = 64 << 10

func newSpool() *spool { return &spool{Sorter: extsort.New(spoolMemory)} }

func (s *spool) add(record []byte) error {
	binary.BigEndian.PutUint64(s.number[:], uint64(s.Len()))
	return s.Add(s.number[:], record)
}

// records are those that were added.
func (s *spool) records() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for record, err := range s.All() {
			if err == nil {
				record = record[len(s.number):]
			}
			if !yield(record, err) {
				return
			}
		}
	}
}
