package service

import (
	"cmp"
	"slices"
	"time"

	"github.com/chipster/firn/internal/runs"
)

// job is a Job, and what is known of it. Runs are replaced, never changed, so
// that a State may hold them.
type job struct {
	Job
	last      *runs.Run // the newest that ended
	lastDone  *runs.Run // the newest that was done
	lastOwn   *runs.Run // the newest that ended, and that nobody asked for
	first     *runs.Run // the oldest that is known
	elsewhere *runs.Run // under way in another process
	failures  int       // in a row
	broken    int       // of the newest of its own, how many in a row were interrupted

	seen      *Seen
	seenAt    time.Time
	seenError string

	skip    time.Time // a scheduled time that a person took out of the queue
	ends    map[runs.Result]int64
	retries int64
}

// ticket is a place in the queue.
type ticket struct {
	job     *job
	why     runs.Trigger
	attempt int
}

// byHand are those of tickets that a person asked for.
func byHand(tickets []ticket) []ticket {
	return slices.DeleteFunc(slices.Clone(tickets), func(t ticket) bool { return t.why != runs.ByHand })
}

func own(run *runs.Run) bool {
	return run.Trigger == runs.Scheduled || run.Trigger == runs.Missed || run.Trigger == runs.Retry
}

// believable tells whether something may have been at an instant: not far ahead
// of now, where only a clock that was wrong can have seen it.
func (s *Service) believable(at, now time.Time) bool {
	return !at.After(now.Add(s.o.Schedule.Interval))
}

// refresh reads the records of a job. Where the disk does not tell, what is known
// stays.
func (s *Service) refresh(j *job, now time.Time) {
	s.reading.Lock()
	defer s.reading.Unlock()
	list, err := s.o.Runs.Runs(j.Name, 0)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.logger.Warn("the records of runs cannot be read", "job", j.Name, "err", err)
		list = s.merge(list, j.last, j.lastDone, j.lastOwn, j.first)
	}
	j.first, j.last, j.lastDone, j.lastOwn, j.elsewhere = nil, nil, nil, nil, nil
	j.failures, j.broken = 0, 0
	var whole bool // the newest of its own that was not interrupted has passed by
	for i := range list {
		run := &list[i]
		if !s.believable(run.Started, now) {
			continue
		}
		j.first = run
		if run.Result == runs.Running {
			if mine := s.current; j.elsewhere == nil && (mine == nil || mine.job != j) {
				j.elsewhere = run
			}
			continue
		}
		j.last, j.lastOwn = cmp.Or(j.last, run), cmp.Or(j.lastOwn, onlyIf(own(run), run))
		if j.lastDone == nil && run.Result == runs.Failed {
			j.failures++
		}
		j.lastDone = cmp.Or(j.lastDone, onlyIf(run.Result.Done(), run))
		if own(run) && !whole {
			if whole = run.Result != runs.Interrupted; !whole {
				j.broken++
			}
		}
	}
}

func onlyIf(yes bool, run *runs.Run) *runs.Run {
	if yes {
		return run
	}
	return nil
}

// merge adds known runs to a list of runs, newest first.
func (s *Service) merge(list []runs.Run, known ...*runs.Run) []runs.Run {
	for _, run := range known {
		if run != nil {
			list = append(list, *run)
		}
	}
	slices.SortStableFunc(list, func(a, b runs.Run) int { return cmp.Compare(b.ID, a.ID) })
	return slices.CompactFunc(list, func(a, b runs.Run) bool { return a.ID == b.ID })
}
