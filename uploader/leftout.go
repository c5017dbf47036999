package uploader

import (
	"log/slog"
	"sync"
)

// leftOut counts the files that are not in the backup. It is safe for
// concurrent use.
type leftOut struct {
	mu       sync.Mutex
	gone     int
	count    int
	examples []LeftOut
}

// vanished counts a file that somebody deleted while the backup ran: the list
// of current files is right without it.
func (l *leftOut) vanished(log *slog.Logger, path string) {
	log.Warn("vanished while the backup ran", "path", path)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone++
}

func (l *leftOut) add(log *slog.Logger, path string, err error) {
	log.Warn("left out", "path", path, "error", err)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	if len(l.examples) < maxExamples {
		l.examples = append(l.examples, LeftOut{Path: path, Reason: err.Error()})
	}
}
