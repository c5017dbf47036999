package runs

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"sync"
)

// half is how much of the beginning of a log is kept, and about as much of its
// end: 512 KiB, less what the line between them takes.
const half = 512<<10 - 128

// runLog is the log of a run under way. Its beginning is written to the disk as it
// comes; its end is in memory, and on the disk when the run has ended.
type runLog struct {
	mu   sync.Mutex
	file *os.File // nil: none, or it failed
	err  error    // why it failed
	head []byte
	tail []byte
	full bool  // the head is
	cut  int64 // bytes of the middle that are left out
}

// Write takes whole lines, and never fails: no run ends because of its log.
func (l *runLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.full && len(l.head)+len(line) <= half {
		l.head = append(l.head, line...)
		if l.file != nil {
			if _, err := l.file.Write(line); err != nil {
				l.file, l.err = nil, err
			}
		}
		return len(line), nil
	}
	l.full = true
	l.tail = append(l.tail, line...)
	if len(l.tail) > 2*half {
		l.trim()
	}
	return len(line), nil
}

// trim drops the older lines of the tail.
func (l *runLog) trim() {
	cut := len(l.tail) - half
	if cut <= 0 {
		return
	}
	if end := bytes.IndexByte(l.tail[cut:], '\n'); end >= 0 {
		cut += end + 1
	}
	l.cut += int64(cut)
	l.tail = slices.Delete(l.tail, 0, cut)
}

// rest is what belongs behind the head.
func (l *runLog) rest() []byte {
	l.trim()
	if l.cut == 0 {
		return l.tail
	}
	return append(fmt.Appendf(nil, "... %d bytes are left out here ...\n", l.cut), l.tail...)
}

// text is the log so far.
func (l *runLog) text() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Concat(l.head, l.rest())
}

// finish writes the rest to the disk. The log takes lines for memory alone then.
func (l *runLog) finish() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return l.err
	}
	_, err := l.file.Write(l.rest())
	if err == nil {
		err = l.file.Sync()
	}
	l.file, l.err = nil, err
	return err
}
