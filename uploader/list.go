package uploader

import (
	"context"
	"fmt"
	"io"
	"iter"

	"github.com/chipster/firn/internal/extsort"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/signature"
)

// list collects the lines of a backup's list, on disk, and what in the bucket
// belongs to the backup. It is not safe for concurrent use.
type list struct {
	*extsort.Sorter                 // records of the files' paths and lines
	keys            map[string]bool // of packages, and of lists of packages that serve until the backup's own is there
}

func newList() *list { return &list{extsort.New(sortMemory), map[string]bool{}} }

// linesOf are the lines in records.
func linesOf(records iter.Seq2[[]byte, error]) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for record, err := range records {
			if err == nil {
				_, record = cutRecord(record)
			}
			if !yield(record, err) {
				return
			}
		}
	}
}

// listPart is the length of the first parts of a list's upload: short, for there
// may be a thousand lists of packages.
const listPart = objstore.MinPart

// putList uploads a list, and before it its signature: a list is never there
// without. The lines have no line feeds yet, and are read twice where lists are
// signed. The first one gets the name of the installation.
func (b *backup) putList(ctx context.Context, key string, lines iter.Seq2[[]byte, error]) error {
	lines = b.named(lines)
	if b.signer != nil {
		list := readLines(lines)
		sig, err := b.signer.Sign(key, list)
		list.stop()
		if err == nil {
			err = b.store.Put(ctx, key+signature.Suffix, sig)
		}
		if err != nil {
			return fmt.Errorf("sign the list: %w", err)
		}
	}
	list := readLines(lines)
	defer list.stop()
	if _, err := objstore.WriteStream(ctx, b.store, key, list, listPart); err != nil {
		return fmt.Errorf("upload the list: %w", err)
	}
	return nil
}

// named puts the installation's name into the first line.
func (b *backup) named(lines iter.Seq2[[]byte, error]) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		first := true
		for line, err := range lines {
			if first && err == nil {
				line, err = b.nameLine(line)
			}
			if first = false; !yield(line, err) {
				return
			}
		}
	}
}

func (b *backup) nameLine(line []byte) ([]byte, error) {
	e, err := manifest.ParseLine(string(line))
	if err != nil {
		return nil, err
	}
	e.Installation = b.installation
	line, err = manifest.AppendLine(nil, &e)
	return line[:max(len(line)-1, 0)], err
}

// lineReader reads lines as the text of a list.
type lineReader struct {
	next func() ([]byte, error, bool)
	stop func()
	line []byte // with its line feed
	left []byte // of it
}

func readLines(lines iter.Seq2[[]byte, error]) *lineReader {
	r := &lineReader{}
	r.next, r.stop = iter.Pull2(lines)
	return r
}

func (r *lineReader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(r.left) == 0 {
			line, err, more := r.next()
			if !more {
				err = io.EOF
			}
			if err != nil {
				return n, err
			}
			r.line = append(append(r.line[:0], line...), '\n')
			r.left = r.line
		}
		c := copy(p[n:], r.left)
		r.left = r.left[c:]
		n += c
	}
	return n, nil
}
