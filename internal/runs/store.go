package runs

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// ErrNoRun says that there is no run of that ID, or no more.
var ErrNoRun = errors.New("no such run")

// Options of a Store. The zero value works.
type Options struct {
	Keep   int // runs to keep at most; default 1000
	Logger *slog.Logger
}

// Store holds the runs in a folder. All methods are safe for concurrent use.
type Store struct {
	keep   int
	logger *slog.Logger
	folder *folder // nil: in memory alone

	mu     sync.Mutex
	last   time.Time // that of the newest ID
	active map[string]*Active
	memory map[string]*ended // ended, and not on the disk
}

// ended is a run that the disk did not take, or was not to.
type ended struct {
	run Run
	log []byte // nil: no more
}

// Open opens the records in the folder dir, which is made if its parent exists.
// With an empty dir they are in memory alone.
func Open(dir string, o Options) (*Store, error) {
	s := &Store{keep: o.Keep, logger: o.Logger, active: map[string]*Active{}, memory: map[string]*ended{}}
	if s.keep <= 0 {
		s.keep = 1000
	}
	if s.logger == nil {
		s.logger = slog.Default()
	}
	if dir == "" {
		return s, nil
	}
	if err := os.Mkdir(dir, 0o750); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	s.folder = &folder{dir: dir, logger: s.logger, cache: map[string]cached{}, warned: map[string]bool{}}
	ids, err := s.folder.list()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		s.folder.buryIfDead(id)
	}
	s.folder.sweep()
	return s, nil
}

// Begin makes the record of a run that begins now. Where the disk does not take
// it, that is a warning in the log, the record is in memory, and the error is nil.
func (s *Store) Begin(job string, why Trigger, attempt int) (*Active, error) {
	s.tidy()
	now := time.Now().Round(0)
	s.mu.Lock()
	stamp := now.Truncate(time.Microsecond)
	if since := stamp.Sub(s.last); since <= 0 && since > -time.Second {
		stamp = s.last.Add(time.Microsecond) // two in one instant have their order
	}
	s.last = stamp
	a := &Active{store: s, run: Run{
		ID: newID(stamp, job), Job: job, Trigger: why, Attempt: attempt, Started: now, Result: Running,
		Progress: Progress{FilesTotal: Unknown, BytesTotal: Unknown},
	}}
	s.active[a.run.ID] = a
	s.mu.Unlock()
	a.open()
	return a, nil
}

// Runs returns the newest runs of a job, or of all where job is "", newest
// first, at most limit. Those that are under way have the progress of now, or,
// of other processes, of some seconds ago. A limit of 0 is none.
func (s *Store) Runs(job string, limit int) ([]Run, error) {
	ids, err := s.ids()
	var list []Run
	for _, id := range slices.Backward(ids) {
		if job != "" && jobOf(id) != escape(job) {
			continue
		}
		if run, ok := s.find(id); ok && (job == "" || run.Job == job) {
			list = append(list, run)
		}
		if len(list) == limit && limit > 0 {
			break
		}
	}
	return list, err
}

// Run returns one run, or ErrNoRun.
func (s *Store) Run(id string) (Run, error) {
	if validID(id) {
		if run, ok := s.find(id); ok {
			return run, nil
		}
	}
	return Run{}, ErrNoRun
}

// LastDone returns the newest run of a job that was done; ok is false where
// there is none.
func (s *Store) LastDone(job string) (run Run, ok bool, err error) {
	ids, err := s.ids()
	for _, id := range slices.Backward(ids) {
		if jobOf(id) != escape(job) {
			continue
		}
		if run, ok := s.find(id); ok && run.Job == job && run.Result.Done() {
			return run, true, err
		}
	}
	return Run{}, false, err
}

// Log opens the log of a run, as text in lines, at most 1 MiB: of a longer one
// the middle is left out, and a line says so. Also of one that is under way; of
// one of another process, what is on the disk so far.
func (s *Store) Log(id string) (io.ReadCloser, error) {
	if _, err := s.Run(id); err != nil {
		return nil, err
	}
	s.mu.Lock()
	active, memory := s.active[id], s.memory[id]
	s.mu.Unlock()
	switch {
	case active != nil:
		return io.NopCloser(bytes.NewReader(active.log.text())), nil
	case memory != nil:
		return io.NopCloser(bytes.NewReader(memory.log)), nil
	case s.folder != nil:
		return s.folder.openLog(id)
	}
	return nil, ErrNoRun // it went in this moment
}

// ids are those of all runs, oldest first. Beside an error of the disk's, they
// are those in memory.
func (s *Store) ids() ([]string, error) {
	var ids []string
	var err error
	if s.folder != nil {
		ids, err = s.folder.list()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.active {
		ids = append(ids, id)
	}
	for id := range s.memory {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return slices.Compact(ids), err
}

// find returns a run from wherever it is. What this process knows is newer than
// what the disk does.
func (s *Store) find(id string) (Run, bool) {
	s.mu.Lock()
	active, memory := s.active[id], s.memory[id]
	s.mu.Unlock()
	switch {
	case active != nil:
		return active.snapshot(), true
	case memory != nil:
		return clone(memory.run), true
	case s.folder != nil:
		return s.folder.load(id)
	}
	return Run{}, false
}

// keepInMemory takes over a run that ended and that the disk does not have.
func (s *Store) keepInMemory(run Run, log []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memory[run.ID] = &ended{clone(run), log}
	// Logs are what is large, and only the newest ones are worth the memory.
	var logs []string
	for id, e := range s.memory {
		if e.log != nil {
			logs = append(logs, id)
		}
	}
	slices.Sort(logs)
	for _, id := range logs[:max(len(logs)-memoryLogs, 0)] {
		s.memory[id].log = nil
	}
}

// memoryLogs is how many logs of ended runs are in memory.
const memoryLogs = 8

// tidy does what nobody waits for: what the disk did not take is offered again,
// runs of dead processes are recorded as interrupted, and the oldest ones go.
func (s *Store) tidy() {
	ids, _ := s.ids() // where the disk fails, Begin is going to say so
	if s.folder != nil {
		for _, id := range ids {
			s.offer(id)
			s.folder.buryIfDead(id)
		}
		s.folder.sweep()
	}
	kept := map[string]bool{} // jobs whose newest done run was met
	excess := len(ids) - s.keep + 1
	var goes []string
	for _, id := range slices.Backward(ids) {
		run, ok := s.find(id)
		if !ok || run.Result == Running {
			continue
		}
		if run.Result.Done() && !kept[run.Job] {
			kept[run.Job] = true
			continue
		}
		goes = append(goes, id)
	}
	slices.Reverse(goes)
	for _, id := range goes[:min(max(excess, 0), len(goes))] {
		s.remove(id)
	}
}

// offer tries once more to write a run that the disk did not take.
func (s *Store) offer(id string) {
	s.mu.Lock()
	e := s.memory[id]
	s.mu.Unlock()
	if e == nil || s.folder.saveAll(e.run, e.log) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.memory, id)
}

func (s *Store) remove(id string) {
	s.mu.Lock()
	delete(s.memory, id)
	s.mu.Unlock()
	if s.folder != nil {
		s.folder.remove(id)
	}
}
