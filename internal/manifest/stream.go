package manifest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/chipster/firn/internal/backupname"
)

// maxLine bounds the memory that one line can take: 64 MiB holds the blocks of a
// file of five terabytes.
const maxLine = 64 << 20

// Read yields the entries of a manifest in the order of its lines. An error
// ends it and names the line. A stream that ends without a line feed was cut
// short: ErrTruncated. An empty stream is an empty list.
func Read(r io.Reader) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		var last backupname.Name
		lines := bufio.NewReaderSize(r, 256<<10)
		for n := 1; ; n++ {
			line, err := readLine(lines)
			if err == io.EOF {
				return
			}
			var e Entry
			if err == nil {
				if e, err = parseLine(line, last); err != nil {
					err = fmt.Errorf("%w: %w", ErrInvalid, err)
				}
			}
			if err != nil {
				yield(Entry{}, fmt.Errorf("line %d: %w", n, err))
				return
			}
			last = e.Backup
			if !yield(e, nil) {
				return
			}
		}
	}
}

func readLine(r *bufio.Reader) (string, error) {
	var long []byte
	for {
		part, err := r.ReadSlice('\n')
		switch {
		case err == nil && long == nil:
			return string(part[:len(part)-1]), nil
		case err == nil:
			long = append(long, part[:len(part)-1]...)
			return string(long), nil
		case errors.Is(err, bufio.ErrBufferFull):
			if long = append(long, part...); len(long) > maxLine {
				return "", fmt.Errorf("%w: longer than %d bytes", ErrInvalid, maxLine)
			}
		case err == io.EOF && len(part)+len(long) > 0:
			return "", ErrTruncated
		default:
			return "", err
		}
	}
}

// Writer writes a manifest. It is not safe for concurrent use.
type Writer struct {
	w   *bufio.Writer
	buf []byte
}

// NewWriter returns a Writer whose last lines reach w only by Flush.
func NewWriter(w io.Writer) *Writer {
	return &Writer{w: bufio.NewWriterSize(w, 256<<10)}
}

// Write adds a line. An entry that could not be read back is refused, and
// nothing is written.
func (w *Writer) Write(e *Entry) error {
	line, err := AppendLine(w.buf[:0], e)
	if err != nil {
		return err
	}
	w.buf = line
	_, err = w.w.Write(line)
	return err
}

// Flush writes what is buffered.
func (w *Writer) Flush() error { return w.w.Flush() }
