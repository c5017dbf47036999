package archiver

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"

	"github.com/chipster/firn/internal/extsort"
)

// lookup finds lines by what a package calls their files, of which there may be
// more than fit into memory: hashes in order, in a temporary file where they are
// many. First comes add, then build, then find, which may be called at once.
type lookup struct {
	seed    maphash.Seed
	sorter  *extsort.Sorter // until build
	entries io.ReaderAt     // from then on
	file    *os.File        // that they are in; nil: they are in memory
	starts  []int64         // the first entry of each bucket, and the end
}

// The first bits of a hash are its bucket: one read brings all that have the
// same, 61 of a million.
const (
	lookupBits  = 14
	lookupEntry = 3 * 8 // hash, number, offset

	lookupMemory = 1 << 20
)

// line says where a line is.
type line struct{ number, offset int64 }

func newLookup() *lookup {
	return &lookup{seed: maphash.MakeSeed(), sorter: extsort.New(sortMemory)}
}

func (l *lookup) add(text string, at line) error {
	var b [lookupEntry]byte
	binary.BigEndian.PutUint64(b[:], maphash.String(l.seed, text))
	binary.BigEndian.PutUint64(b[8:], uint64(at.number))
	binary.BigEndian.PutUint64(b[16:], uint64(at.offset))
	return l.sorter.Add(b[:])
}

func (l *lookup) build() error {
	if l.sorter.Len()*lookupEntry <= lookupMemory {
		var memory bytes.Buffer
		if err := l.writeTo(&memory); err != nil {
			return err
		}
		l.entries = bytes.NewReader(memory.Bytes())
		return nil
	}
	file, err := extsort.TempFile()
	if err != nil {
		return err
	}
	l.file, l.entries = file, file
	out := bufio.NewWriterSize(file, 64<<10)
	if err := errors.Join(l.writeTo(out), out.Flush()); err != nil {
		return temporary(err)
	}
	return nil
}

// writeTo writes all entries, and notes where buckets begin.
func (l *lookup) writeTo(out io.Writer) error {
	l.starts = make([]int64, 1, 1<<lookupBits+1)
	n := int64(0)
	for entry, err := range l.sorter.All() {
		if err != nil {
			return err
		}
		for bucket := binary.BigEndian.Uint64(entry) >> (64 - lookupBits); uint64(len(l.starts)) <= bucket; {
			l.starts = append(l.starts, n)
		}
		if _, err := out.Write(entry); err != nil {
			return err
		}
		n++
	}
	for len(l.starts) <= 1<<lookupBits {
		l.starts = append(l.starts, n)
	}
	return l.sorter.Close()
}

// find returns the lines that may have the text: those with its hash.
func (l *lookup) find(text string) (lines []line, err error) {
	hash := maphash.String(l.seed, text)
	bucket := hash >> (64 - lookupBits)
	start, end := l.starts[bucket], l.starts[bucket+1]
	if start == end {
		return nil, nil
	}
	entries := make([]byte, (end-start)*lookupEntry)
	if _, err := l.entries.ReadAt(entries, start*lookupEntry); err != nil {
		return nil, fmt.Errorf("cannot read a temporary file: %w", err)
	}
	for ; len(entries) > 0; entries = entries[lookupEntry:] {
		if binary.BigEndian.Uint64(entries) == hash {
			lines = append(lines, line{int64(binary.BigEndian.Uint64(entries[8:])), int64(binary.BigEndian.Uint64(entries[16:]))})
		}
	}
	return lines, nil
}

func (l *lookup) close() {
	l.sorter.Close()
	if l.file != nil {
		l.file.Close()
	}
}

func temporary(err error) error {
	return fmt.Errorf("cannot write a temporary file; make room in %s, or set TMPDIR to where there is: %w", os.TempDir(), err)
}

// lineStarts notes where the lines of what is read begin, as far as it is read
// ahead.
type lineStarts struct {
	r      io.Reader
	offset int64
	starts []int64 // that nobody has asked for
}

func newLineStarts(r io.Reader) *lineStarts { return &lineStarts{r: r, starts: []int64{0}} }

func (l *lineStarts) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	for i, c := range p[:n] {
		if c == '\n' {
			l.starts = append(l.starts, l.offset+int64(i)+1)
		}
	}
	l.offset += int64(n)
	return n, err
}

// next is where the next line begins.
func (l *lineStarts) next() int64 {
	start := l.starts[0]
	l.starts = l.starts[1:]
	return start
}
