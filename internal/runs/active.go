package runs

import (
	"errors"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// saveEvery is how often what a run under way tells is written for others.
const saveEvery = 5 * time.Second

const (
	most      = 100  // names and problems that a record has
	longest   = 2000 // bytes of one of them, and of an error
	mostAgain = 1000
)

// Active is a run that is under way. Its methods are safe for concurrent use.
type Active struct {
	store *Store
	log   runLog
	lock  *os.File // the log's, held while the run is under way; nil: not on the disk

	disk sync.Mutex // held while the record is written; taken before mu
	mu   sync.Mutex
	run  Run
	save time.Time // when it was last written
}

// open makes the record and the log on the disk. The log comes first, and is
// locked: a record without a lock is that of a dead process.
func (a *Active) open() {
	if a.store.folder == nil {
		return
	}
	a.save = time.Now()
	lock, err := a.store.folder.create(a.run.ID)
	if err == nil {
		if err = a.store.folder.save(a.run); err != nil {
			_ = lock.Close()
			a.store.folder.remove(a.run.ID)
		}
	}
	if err != nil {
		a.store.logger.Warn("this run cannot be recorded on the disk, and goes on without", "id", a.run.ID, "err", err)
		return
	}
	a.lock, a.log.file = lock, lock
}

// ID is that of the record.
func (a *Active) ID() string { return a.run.ID }

// Logger writes to base, and to the log of this run whatever the level of base
// is, from Info on. Nothing else reaches the log.
func (a *Active) Logger(base *slog.Logger) *slog.Logger {
	if base == nil {
		base = slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewMultiHandler(base.Handler(), slog.NewTextHandler(&a.log, nil)))
}

// Plan tells what there is to do; Unknown is allowed, and leaves an estimate as
// it is. Files and bytes done so far begin at zero again.
func (a *Active) Plan(files, bytes int64) {
	a.change(func(r *Run) {
		p := Progress{FilesTotal: files, BytesTotal: bytes}
		if bytes == Unknown && r.Progress.Estimated {
			p.BytesTotal, p.Estimated = r.Progress.BytesTotal, true
		}
		r.Progress = p
	})
}

// Estimate tells about how many bytes there are to do.
func (a *Active) Estimate(bytes int64) {
	a.change(func(r *Run) { r.Progress.BytesTotal, r.Progress.Estimated = bytes, true })
}

// Add tells of work done.
func (a *Active) Add(files, bytes int64) {
	a.change(func(r *Run) {
		r.Progress.Files += files
		r.Progress.Bytes += bytes
	})
}

// Made names a backup or a version that is there now.
func (a *Active) Made(name string) {
	a.change(func(r *Run) { r.Made = appendText(r.Made, name) })
}

// CountFiles adds to the number of files in a state.
func (a *Active) CountFiles(state string, n int64) {
	a.change(func(r *Run) { count(&r.Files, state, n) })
}

// CountBytes adds to the number of bytes in a state.
func (a *Active) CountBytes(state string, n int64) {
	a.change(func(r *Run) { count(&r.Bytes, state, n) })
}

// Problem adds a line to the problems. Those behind the first 100 are dropped.
func (a *Active) Problem(text string) {
	a.change(func(r *Run) { r.Problems = appendText(r.Problems, text) })
}

// Again names something that the job's next run has to look at in any case. The
// texts are kept as they are; those behind the first 1000 are dropped.
func (a *Active) Again(what string) {
	a.change(func(r *Run) {
		if len(r.Again) < mostAgain {
			r.Again = append(r.Again, what)
		}
	})
}

// End writes the record. The text of err, which may be nil, is kept. A second
// End does nothing. The returned Run is as recorded, also beside an error of the
// disk's, where it is in memory alone.
func (a *Active) End(result Result, err error) (Run, error) {
	a.disk.Lock()
	defer a.disk.Unlock()
	a.mu.Lock()
	if a.run.Result != Running {
		defer a.mu.Unlock()
		return clone(a.run), nil
	}
	a.run.Ended, a.run.Result = time.Now().Round(0), result
	if err != nil {
		a.run.Error = shorten(err.Error())
	}
	run := clone(a.run)
	a.mu.Unlock()
	return run, a.finish(run)
}

// finish hands an ended run over to the disk, or to memory.
func (a *Active) finish(run Run) (err error) {
	s := a.store
	switch {
	case s.folder == nil:
		s.keepInMemory(run, a.log.text())
	case a.lock == nil: // the disk may take now what it did not take then
		err = s.folder.saveAll(run, a.log.text())
	default:
		if err = a.log.finish(); err != nil { // there may be room again
			err = s.folder.write(s.folder.path(run.ID, logEnd), a.log.text())
		}
		err = errors.Join(s.folder.save(run), err) // worth more than its log
	}
	if err != nil {
		s.logger.Warn("the record of a run cannot be written", "id", run.ID, "err", err)
		s.keepInMemory(run, a.log.text())
	}
	s.mu.Lock()
	delete(s.active, run.ID)
	s.mu.Unlock()
	if a.lock != nil {
		_ = a.lock.Close()
	}
	return err
}

// change changes the record of a run that has not ended, and from time to time
// writes it for other processes. Nobody waits for a write that another one does.
func (a *Active) change(f func(*Run)) {
	a.mu.Lock()
	if a.run.Result != Running {
		a.mu.Unlock()
		return
	}
	f(&a.run)
	since := time.Since(a.save)
	a.mu.Unlock()
	if (since >= 0 && since < saveEvery) || a.lock == nil || !a.disk.TryLock() {
		return
	}
	defer a.disk.Unlock()
	a.mu.Lock()
	run := clone(a.run)
	a.save = time.Now()
	a.mu.Unlock()
	if run.Result == Running {
		_ = a.store.folder.save(run) // End tells of a disk that fails
	}
}

func (a *Active) snapshot() Run {
	a.mu.Lock()
	defer a.mu.Unlock()
	return clone(a.run)
}

// clone copies what a run refers to.
func clone(r Run) Run {
	r.Made, r.Problems, r.Again = slices.Clone(r.Made), slices.Clone(r.Problems), slices.Clone(r.Again)
	r.Files, r.Bytes = maps.Clone(r.Files), maps.Clone(r.Bytes)
	return r
}

func count(m *map[string]int64, state string, n int64) {
	if *m == nil {
		*m = map[string]int64{}
	}
	(*m)[state] += n
}

func appendText(list []string, text string) []string {
	if len(list) >= most {
		return list
	}
	return append(list, shorten(text))
}

// shorten bounds a text, and makes it one that JSON can hold.
func shorten(text string) string {
	if len(text) > longest {
		text = text[:longest] + "..."
	}
	return strings.ToValidUTF8(text, "?")
}
