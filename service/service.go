// Package service runs jobs at their time, one after the other, for years:
// backups beside a storage or a database, or archiving and verification on an
// archive server.
//
// It promises that one run is under way at a time; that a scheduled time is
// followed by a run, also one that passed while the program was not running, of
// several then by one; that what failed is tried again, ever more rarely, until the next scheduled time; that a
// run is ended cleanly when the program has to end, and gone on with by the next
// one; and that whoever asks for its state or its health waits for nothing: no
// disk, no bucket.
//
// What the jobs do is not its subject, nor who may ask it: that is package
// admin's.
package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/internal/schedule"
)

var (
	// ErrNoJob says that the service has no job of that name.
	ErrNoJob = errors.New("no such job")
	// ErrQueued says that the job is under way already, or waits for its turn.
	ErrQueued = errors.New("already running or waiting")
	// ErrNotRunning says that there is no such run under way.
	ErrNotRunning = errors.New("not running")
)

// Job is something that the service runs.
type Job struct {
	Name  string // unique: the storage's name, a database's role, "archive", "verify"
	Kind  Kind
	Title string // for people: "files of file-storage", "database auth"
	// Scheduled says that it runs by the schedule, in the order of
	// Options.Jobs; else only when somebody asks.
	Scheduled bool
	// Run does the work, tells r of it, and logs with r's Logger. It returns
	// soon after ctx has ended.
	Run func(ctx context.Context, r *runs.Active) error
	// Seen looks into the bucket for the newest backup. It is asked at the start,
	// after each run and once an hour, never by State or Problems. nil: only the
	// recorded runs count.
	Seen func(ctx context.Context) (Seen, error)
}

// Kind is what a job works on.
type Kind string

// The kinds of jobs.
const (
	Files    Kind = "files"
	Database Kind = "database"
	Archive  Kind = "archive"
	Verify   Kind = "verify"
)

// Seen is what the bucket holds of a job's backups. Zero times: none.
type Seen struct {
	Backup   time.Time `json:"backup,omitzero"`   // of the newest complete one
	Archived time.Time `json:"archived,omitzero"` // of the newest one that an archiver has
	Waiting  int       `json:"waiting"`           // complete, and not archived
}

// Holdings are what is on the disk of this host.
type Holdings struct {
	Folder    string    `json:"folder"`             // the storage or the archive
	DiskTotal int64     `json:"diskTotal"`          // bytes of its file system
	DiskFree  int64     `json:"diskFree"`           // of them, those that a process may use
	Versions  []Version `json:"versions,omitempty"` // of an archive, newest first within a storage
	Catalog   int64     `json:"catalog,omitempty"`  // bytes of the archive's catalog
}

// Version is one version in an archive.
type Version struct {
	Storage string    `json:"storage"`
	Name    string    `json:"name"`
	Time    time.Time `json:"time"`
	Files   int64     `json:"files"`
	Size    int64     `json:"size"`       // bytes of the plain files
	Sealed  int64     `json:"sealedSize"` // bytes of the sealed files, wherever they lie
	Damaged string    `json:"damaged,omitempty"`
}

// Options of a Service. Jobs, Schedule and Runs are required.
type Options struct {
	Jobs     []Job
	Schedule schedule.Schedule
	Runs     *runs.Store
	// Folder keeps whether the schedule is on; "": it is on after each start.
	Folder string
	// Holds looks at what is on the disk of this host; asked when Seen is. nil:
	// nothing is told.
	Holds func(ctx context.Context) (*Holdings, error)
	// Final says that the bucket is the final storage: no archiver takes
	// backups from there, and none is waited for.
	Final bool
	// Result tells what the error of a run, which may be nil, makes of it.
	// nil: Failed for any error.
	Result func(error) runs.Result
	// Ended, where set, is told of each run that ended. It must not take long.
	Ended  func(runs.Run)
	Logger *slog.Logger // nil: slog.Default
}

// Service is a running service. All methods are safe for concurrent use.
type Service struct {
	o      Options
	logger *slog.Logger

	wake     chan struct{} // the loop is to look again
	lookWake chan struct{} // somebody wants to know what the bucket holds
	holding  sync.Mutex    // held while the disk is looked at
	turn     sync.Mutex    // held while the switch is written; taken before mu
	reading  sync.Mutex    // held while records are read, so that what was read last is known last; taken before mu

	mu       sync.Mutex // held for moments only, never over the disk or the network
	began    time.Time
	power    power
	jobs     []*job
	queue    []ticket
	current  *current
	ask      map[string]bool // jobs whose Seen is to be asked
	asked    time.Time       // when all of them were
	looked   bool            // all have answered, or failed to, once
	holdings *Holdings
}

// New checks the options.
func New(o Options) (*Service, error) {
	s := &Service{
		o: o, logger: o.Logger, ask: map[string]bool{}, began: wall(),
		wake: make(chan struct{}, 1), lookWake: make(chan struct{}, 1),
	}
	if s.logger == nil {
		s.logger = slog.Default()
	}
	if o.Runs == nil || len(o.Jobs) == 0 {
		return nil, errors.New("a service needs jobs, and a place for their records")
	}
	at := o.Schedule
	if at.Interval < time.Hour || at.Interval%time.Hour != 0 {
		return nil, fmt.Errorf("interval %s: not a whole number of hours", at.Interval)
	}
	if at.Hour < 0 || at.Hour > 23 || at.Minute < 0 || at.Minute > 59 {
		return nil, fmt.Errorf("%d:%02d is no time of day", at.Hour, at.Minute)
	}
	for _, work := range o.Jobs {
		if work.Name == "" || work.Run == nil || s.find(work.Name) != nil {
			return nil, fmt.Errorf("job %q: no name, no work, or there twice", work.Name)
		}
		s.jobs = append(s.jobs, &job{Job: work, ends: map[runs.Result]int64{}})
	}
	s.power = loadPower(o.Folder, s.began, s.logger)
	return s, nil
}

// Start has a job run as soon as no other one is under way, whether the schedule
// is on or off. Errors: ErrNoJob, ErrQueued.
func (s *Service) Start(job string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.find(job)
	if j == nil {
		return ErrNoJob
	}
	if s.busy(j, wall()) {
		return ErrQueued
	}
	s.queue = append(s.queue, ticket{j, runs.ByHand, 1})
	nudge(s.wake)
	return nil
}

// Cancel ends the run of that ID, or takes a job of that name out of the queue.
// Its failure is not tried again. Errors: ErrNotRunning.
func (s *Service) Cancel(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.current; c != nil && c.active != nil && c.frozen == nil && c.active.ID() == id {
		c.cancelled = true
		c.cancel()
		return nil
	}
	for i, t := range s.queue {
		if t.job.Name != id {
			continue
		}
		s.queue = append(s.queue[:i:i], s.queue[i+1:]...)
		if t.why != runs.ByHand {
			t.job.skip = s.o.Schedule.Last(wall())
		}
		return nil
	}
	return ErrNotRunning
}

// SetSchedule switches the schedule on or off. What is under way goes on. What
// was due while it was off is not made up for. Where the disk does not take it,
// nothing is switched.
func (s *Service) SetSchedule(on bool) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.mu.Lock()
	power := s.power
	s.mu.Unlock()
	power.Enabled, power.Since = on, wall()
	if err := power.save(s.o.Folder); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.power = power
	if !on {
		s.queue = byHand(s.queue)
	}
	nudge(s.wake)
	return nil
}

// find returns the job of a name, or nil.
func (s *Service) find(name string) *job {
	for _, j := range s.jobs {
		if j.Name == name {
			return j
		}
	}
	return nil
}

// nudge wakes whoever waits for c, now or when it looks next.
func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// wall is the time on the wall. The other clock of a host stands still while it
// sleeps.
func wall() time.Time { return time.Now().Round(0) }
