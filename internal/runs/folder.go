package runs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	recordEnd = ".json"
	logEnd    = ".log"
	tmpEnd    = ".tmp"
)

// largest is more than any record that was written here, in bytes.
const largest = 2 << 20

// folder is the runs on the disk: of each a record, replaced as a whole, and a
// log, which its process holds a lock on as long as the run is under way.
type folder struct {
	dir    string
	logger *slog.Logger

	mu     sync.Mutex
	cache  map[string]cached // by ID
	warned map[string]bool   // names of files that were complained about
}

// cached is a record as it was read.
type cached struct {
	modified time.Time
	size     int64
	run      Run
	bad      bool
}

func (f *folder) path(id, end string) string { return filepath.Join(f.dir, id+end) }

// list returns the IDs of all records, in order, and warns once of what does not
// belong there.
func (f *folder) list() ([]string, error) {
	entries, err := os.ReadDir(f.dir)
	var ids []string
	there := make(map[string]bool, len(entries))
	for _, entry := range entries {
		name := entry.Name()
		id, isTmp := strings.CutSuffix(name, tmpEnd)
		id, isRecord := strings.CutSuffix(strings.TrimSuffix(id, logEnd), recordEnd)
		switch {
		case !validID(id) || !entry.Type().IsRegular():
			f.warn(name, "a file does not belong to the records of runs, and is left alone", nil)
		case isRecord && !isTmp:
			ids = append(ids, id)
			there[id] = true
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for id := range f.cache {
		if err == nil && !there[id] {
			delete(f.cache, id)
		}
	}
	return ids, err
}

// warn complains about a file, once.
func (f *folder) warn(name, message string, err error) {
	f.mu.Lock()
	before := f.warned[name]
	f.warned[name] = true
	f.mu.Unlock()
	if before {
		return
	}
	attributes := []any{"file", filepath.Join(f.dir, name)}
	if err != nil {
		attributes = append(attributes, "err", err)
	}
	f.logger.Warn(message, attributes...)
}

// load returns the record of a run. One that says that it is under way, though
// its process is dead, is told as interrupted.
func (f *folder) load(id string) (Run, bool) {
	run, ok := f.read(id)
	if !ok || run.Result != Running || f.alive(id) {
		return run, ok
	}
	if run, ok = f.read(id); ok && run.Result == Running { // not ended in this moment
		run.Result, run.Ended = Interrupted, f.lastSign(id, run.Started)
	}
	return run, ok
}

// read returns the record of a run as it is on the disk. Of one that has ended,
// nobody writes another: it is not looked at again.
func (f *folder) read(id string) (Run, bool) {
	f.mu.Lock()
	c, ok := f.cache[id]
	f.mu.Unlock()
	if ok && !c.bad && c.run.Result != Running {
		return clone(c.run), true
	}
	info, err := os.Lstat(f.path(id, recordEnd))
	if err != nil {
		return Run{}, false
	}
	if ok && c.modified.Equal(info.ModTime()) && c.size == info.Size() {
		return clone(c.run), !c.bad
	}
	c = cached{modified: info.ModTime(), size: info.Size()}
	c.run, err = parse(f.path(id, recordEnd), id)
	if errors.Is(err, os.ErrNotExist) {
		return Run{}, false
	}
	if err != nil {
		c.bad = true
		f.warn(id+recordEnd, "the record of a run cannot be read, and is left out", err)
	}
	f.mu.Lock()
	f.cache[id] = c
	f.mu.Unlock()
	return clone(c.run), !c.bad
}

// parse reads a record, and believes nothing that this package would not write.
func parse(path, id string) (run Run, err error) {
	file, err := os.Open(path)
	if err != nil {
		return run, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, largest))
	if err != nil {
		return run, err
	}
	return decode(data, id)
}

func decode(data []byte, id string) (run Run, err error) {
	if err := json.Unmarshal(data, &run); err != nil {
		return Run{}, err
	}
	switch run.Result {
	case Running, Succeeded, Incomplete, Failed, Cancelled, Interrupted:
	default:
		return Run{}, fmt.Errorf("unknown result %q", run.Result)
	}
	if run.ID != id || jobOf(id) != escape(run.Job) || run.Started.IsZero() {
		return Run{}, errors.New("it is of another run")
	}
	if run.Ended.IsZero() != (run.Result == Running) {
		return Run{}, errors.New("nobody can tell whether it ended")
	}
	return run, nil
}

// alive tells whether somebody holds the lock of a run's log. Where that cannot
// be known, somebody may.
func (f *folder) alive(id string) bool {
	log, err := os.Open(f.path(id, logEnd))
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	defer log.Close()
	return unix.Flock(int(log.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil
}

// lastSign is when a dead process last wrote something of a run.
func (f *folder) lastSign(id string, started time.Time) time.Time {
	last := started
	for _, end := range []string{recordEnd, logEnd} {
		if info, err := os.Stat(f.path(id, end)); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last
}

// openLog opens the log of a run for reading.
func (f *folder) openLog(id string) (io.ReadCloser, error) {
	file, err := os.Open(f.path(id, logEnd))
	if errors.Is(err, os.ErrNotExist) {
		return io.NopCloser(strings.NewReader("")), nil
	}
	return file, err
}
