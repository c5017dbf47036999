package service

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/chipster/firn/internal/runs"
)

// current is the run under way.
type current struct {
	ticket
	cancel    context.CancelFunc
	cancelled bool         // by a person
	active    *runs.Active // nil: about to begin
	frozen    *runs.Run    // as it was when its record was about to be written
}

// snapshot never waits for a disk: the record of an active run is in memory, and
// once it ends, there is a copy.
func (c *current) snapshot(store *runs.Store) *runs.Run {
	if c.active == nil || c.frozen != nil {
		return c.frozen
	}
	run, err := store.Run(c.active.ID())
	if err != nil {
		return nil
	}
	return &run
}

// errEnded is why a run was interrupted.
var errEnded = errors.New("the program had to end")

// Run runs the service until ctx ends, and then waits for the run under way,
// which is recorded as interrupted. Its error is nil then.
func (s *Service) Run(ctx context.Context) error {
	var others sync.WaitGroup
	defer others.Wait()
	s.mu.Lock()
	s.began = wall()
	s.mu.Unlock()
	others.Go(func() { s.lookAround(ctx) })
	var refreshed time.Time
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-s.wake:
		}
		if ctx.Err() != nil {
			return nil
		}
		now := wall()
		if since := now.Sub(refreshed); since < 0 || since >= time.Minute {
			refreshed = now
			for _, j := range s.jobs {
				s.refresh(j, now)
			}
		}
		next, wait := s.step(now)
		if next != nil {
			others.Go(func() { s.execute(ctx, next) })
		}
		timer.Reset(wait)
	}
}

// step is what the loop does each time: it looks whose time has come, and takes
// the first of the queue where nothing is under way.
func (s *Service) step(now time.Time) (next *current, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Before(s.began) {
		s.began = now
	}
	s.power.straighten(now)
	if since := now.Sub(s.asked); since < 0 || since >= time.Hour {
		s.asked = now
		s.askFor(s.jobs...)
	}
	s.enqueue(now)
	if s.current == nil && len(s.queue) > 0 {
		next = &current{ticket: s.queue[0]}
		s.queue = s.queue[1:]
		s.current = next
	}
	return next, s.wait(now)
}

// execute runs a job from its record's beginning to its end.
func (s *Service) execute(ctx context.Context, c *current) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	active, _ := s.o.Runs.Begin(c.job.Name, c.why, c.attempt) // what the disk does not take is in memory
	s.mu.Lock()
	c.active, c.cancel = active, cancel
	lastDone := c.job.lastDone
	s.mu.Unlock()
	if c.job.Kind == Database && lastDone != nil && lastDone.Bytes["total"] > 0 {
		active.Estimate(lastDone.Bytes["total"])
	}
	err := s.work(ctx, c.job, active)
	frozen, _ := s.o.Runs.Run(active.ID())
	s.mu.Lock()
	c.frozen = &frozen
	result, err := s.result(ctx, c.cancelled, err)
	s.mu.Unlock()
	run, _ := active.End(result, err) // the store warns of a disk that fails
	s.ended(c, run)
}

// work does the work. What panics has failed, as anything else.
func (s *Service) work(ctx context.Context, j *job, active *runs.Active) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			active.Logger(s.logger).Error("the run panicked", "job", j.Name, "panic", cause, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	return j.Run(ctx, active)
}

// result tells what became of a run. What is done is done, whoever wanted it to
// end meanwhile.
func (s *Service) result(ctx context.Context, cancelled bool, err error) (runs.Result, error) {
	result := runs.Succeeded
	switch {
	case s.o.Result != nil:
		result = s.o.Result(err)
	case err != nil:
		result = runs.Failed
	}
	switch {
	case result.Done():
		return result, err
	case cancelled:
		return runs.Cancelled, err
	case ctx.Err() != nil:
		return runs.Interrupted, errEnded
	case result == runs.Interrupted: // by nobody, so that it must not go on at once for ever
		return runs.Failed, err
	}
	return result, err
}

// ended takes note of a run that ended, and makes place for the next.
func (s *Service) ended(c *current, run runs.Run) {
	s.refresh(c.job, wall())
	s.mu.Lock()
	s.current = nil
	c.job.ends[run.Result]++
	if c.attempt > 1 {
		c.job.retries++
	}
	s.askFor(c.job)
	s.mu.Unlock()
	if s.o.Ended != nil {
		s.o.Ended(run)
	}
	nudge(s.wake)
}
