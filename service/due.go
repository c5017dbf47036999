package service

import (
	"slices"
	"time"

	"github.com/chipster/firn/internal/runs"
)

const (
	firstRetry = 5 * time.Minute
	lastRetry  = time.Hour
	// late is how long after its time a run begins that says so.
	late = 5 * time.Minute
)

// due says when a job is to run, why, and at which attempt.
type due struct {
	at      time.Time // zero: not before the next scheduled time
	why     runs.Trigger
	attempt int
}

// due decides from the records alone, so that it does not matter which process
// asks: a run is due when none was done since the newest scheduled time.
func (s *Service) due(j *job, now time.Time) due {
	slot := s.o.Schedule.Last(now)
	if !j.Scheduled || !s.power.Enabled || slot.Before(s.power.Since) || s.covered(j, slot, now) {
		return due{}
	}
	if run := j.lastOwn; run != nil && !run.Started.Before(slot) {
		return again(run, j.broken, now)
	}
	if slot.After(s.began) {
		why := runs.Scheduled
		if now.Sub(slot) > late && (j.last == nil || j.last.Ended.Before(slot)) {
			why = runs.Missed
		}
		return due{slot, why, 1}
	}
	// It passed before this service began: only one that knows what the bucket
	// holds can tell whether that was missed, or is before the first time.
	life := j.first != nil && j.first.Started.Before(slot) || j.seen != nil && !j.seen.Backup.IsZero() || slot.After(s.power.Installed)
	if !s.looked || !life {
		return due{}
	}
	return due{slot, runs.Missed, 1}
}

// covered tells whether a scheduled time has had what it wants: a run that was
// done, by whomever, or a person who did not want one.
func (s *Service) covered(j *job, slot, now time.Time) bool {
	switch {
	case j.lastDone != nil && !j.lastDone.Started.Before(slot):
		return true
	case j.seen != nil && !j.seen.Backup.Before(slot) && s.believable(j.seen.Backup, now):
		return true
	case j.last != nil && j.last.Result == runs.Cancelled && !j.last.Ended.Before(slot):
		return true
	}
	return j.skip.Equal(slot)
}

// again says when a run follows one of the same scheduled time that was not done.
// One that was interrupted goes on at once; but when that happens again and again,
// it may be what ends the program.
func again(run *runs.Run, broken int, now time.Time) due {
	next := due{run.Ended, runs.Missed, run.Attempt}
	switch {
	case run.Result == runs.Cancelled:
		return due{}
	case run.Result != runs.Interrupted:
		next = due{run.Ended.Add(backoff(run.Attempt)), runs.Retry, run.Attempt + 1}
	case broken > 2:
		next.at = run.Ended.Add(backoff(broken - 2))
	}
	if run.Ended.After(now) { // by a clock that was ahead
		next.at = now
	}
	return next
}

// backoff is how long after a failed attempt the next one comes.
func backoff(attempt int) time.Duration {
	if attempt > 4 {
		return lastRetry
	}
	return firstRetry << max(attempt-1, 0)
}

// enqueue gives a ticket to each job that is due, in their order.
func (s *Service) enqueue(now time.Time) {
	for _, j := range s.jobs {
		if next := s.due(j, now); !next.at.IsZero() && !next.at.After(now) && !s.busy(j, now) {
			s.queue = append(s.queue, ticket{j, next.why, next.attempt})
		}
	}
}

// busy tells whether a job is under way, here or elsewhere, or waits. What is
// elsewhere holds nobody back for longer than an interval.
func (s *Service) busy(j *job, now time.Time) bool {
	if s.queued(j) || s.current != nil && s.current.job == j {
		return true
	}
	return j.elsewhere != nil && now.Sub(j.elsewhere.Started) < s.o.Schedule.Interval
}

func (s *Service) queued(j *job) bool {
	return slices.ContainsFunc(s.queue, func(t ticket) bool { return t.job == j })
}

// wait is how long the loop may sleep: a minute at most, for only then it sees
// that the host has slept, or that somebody set its clock.
func (s *Service) wait(now time.Time) time.Duration {
	wait := min(time.Minute, s.o.Schedule.Next(now).Sub(now))
	for _, j := range s.jobs {
		if next := s.due(j, now); next.at.After(now) {
			wait = min(wait, next.at.Sub(now))
		}
	}
	return wait
}
