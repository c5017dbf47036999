package service

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
)

// patience is how long the bucket, or the disk, has for an answer.
const patience = time.Minute

// askFor has the bucket asked for jobs, soon and in the background.
func (s *Service) askFor(jobs ...*job) {
	for _, j := range jobs {
		s.ask[j.Name] = true
	}
	nudge(s.lookWake)
}

// lookAround asks the bucket and the disk whenever somebody wants it, until ctx
// ends.
func (s *Service) lookAround(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.lookWake:
		}
		s.mu.Lock()
		ask := s.ask
		s.ask = map[string]bool{}
		s.mu.Unlock()
		var group errgroup.Group
		group.SetLimit(4)
		if s.holding.TryLock() { // statfs knows no context: a dead mount must not keep the bucket from being asked
			go func() {
				defer s.holding.Unlock()
				s.hold(ctx)
			}()
		}
		for _, j := range s.jobs {
			if ask[j.Name] && j.Seen != nil {
				group.Go(func() error { s.look(ctx, j); return nil })
			}
		}
		_ = group.Wait()
		s.mu.Lock()
		s.looked = true
		s.mu.Unlock()
		nudge(s.wake)
	}
}

// look asks the bucket for a job. What it told before stays where it does not
// answer.
func (s *Service) look(ctx context.Context, j *job) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	at := wall()
	seen, err := j.Seen(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		j.seen, j.seenAt, j.seenError = &seen, at, ""
		return
	}
	if j.seenError == "" && ctx.Err() != context.Canceled {
		s.logger.Warn("the bucket cannot be asked for backups", "job", j.Name, "err", err)
	}
	j.seenError = err.Error()
}

// hold asks for what is on the disk.
func (s *Service) hold(ctx context.Context) {
	if s.o.Holds == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	holdings, err := s.o.Holds(ctx)
	if err != nil {
		if ctx.Err() != context.Canceled {
			s.logger.Warn("nobody can tell what is on the disk", "err", err)
		}
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holdings = holdings
}
