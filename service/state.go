package service

import (
	"maps"
	"time"

	"github.com/chipster/firn/internal/runs"
)

// State is a snapshot.
type State struct {
	Now        time.Time  `json:"now"`
	Began      time.Time  `json:"began"` // when the service was started
	ScheduleOn bool       `json:"scheduleOn"`
	Next       time.Time  `json:"next,omitzero"`      // scheduled time; zero while the schedule is off
	Queue      []string   `json:"queue"`              // names of the jobs that wait, in their order
	Jobs       []JobState `json:"jobs"`               // in the order of Options.Jobs
	Holdings   *Holdings  `json:"holdings,omitempty"` // nil: not asked, or not yet
}

// JobState is how one job is.
type JobState struct {
	Name      string    `json:"name"`
	Kind      Kind      `json:"kind"`
	Title     string    `json:"title"`
	Scheduled bool      `json:"scheduled"`
	Queued    bool      `json:"queued"`
	Running   *runs.Run `json:"running,omitempty"`  // with its progress
	Last      *runs.Run `json:"last,omitempty"`     // the newest that ended
	LastDone  *runs.Run `json:"lastDone,omitempty"` // the newest that was done
	Newest    time.Time `json:"newest,omitzero"`    // when the newest backup, or run that was done, began: what health goes by
	Retry     time.Time `json:"retry,omitzero"`     // when a failed run is tried again
	Failures  int       `json:"failures"`           // in a row
	Seen      *Seen     `json:"seen,omitempty"`     // nil: the bucket was not asked, or never answered
	SeenAt    time.Time `json:"seenAt,omitzero"`
	SeenError string    `json:"seenError,omitempty"`
	Problems  []string  `json:"problems,omitempty"`
	// Ends counts the runs that ended since the service began, by result;
	// Retries those of them that were not the first attempt.
	Ends    map[runs.Result]int64 `json:"ends,omitempty"`
	Retries int64                 `json:"retries"`
}

// State is how the service is now.
func (s *Service) State() State {
	now := wall()
	s.mu.Lock()
	defer s.mu.Unlock()
	state := State{Now: now, Began: s.began, ScheduleOn: s.power.Enabled, Queue: []string{}, Holdings: s.holdings}
	if state.ScheduleOn {
		state.Next = s.o.Schedule.Next(now)
	}
	for _, t := range s.queue {
		state.Queue = append(state.Queue, t.job.Name)
	}
	for _, j := range s.jobs {
		state.Jobs = append(state.Jobs, s.jobState(j, now))
	}
	return state
}

func (s *Service) jobState(j *job, now time.Time) JobState {
	state := JobState{
		Name: j.Name, Kind: j.Kind, Title: j.Title, Scheduled: j.Scheduled, Queued: s.queued(j),
		Running: j.elsewhere, Last: j.last, LastDone: j.lastDone, Failures: j.failures,
		Seen: j.seen, SeenAt: j.seenAt, SeenError: j.seenError,
		Problems: s.problems(j, now), Ends: maps.Clone(j.ends), Retries: j.retries,
	}
	state.Newest, _ = s.newest(j, now)
	if s.current != nil && s.current.job == j {
		state.Running = s.current.snapshot(s.o.Runs)
		state.Queued = state.Queued || state.Running == nil // its record is being written
	} else if due := s.due(j, now); due.why == runs.Retry && !state.Queued {
		state.Retry = due.at
	}
	return state
}
