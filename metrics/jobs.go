package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/service"
)

// The metrics of jobs, in served numbers and in files.
var (
	lastSuccess = newDesc("last_success_timestamp_seconds", "When the newest backup in the bucket began, or, where that is not asked, the newest run that was done, in Unix time.", "job")
	lastRun     = newDesc("last_run_timestamp_seconds", "When the newest run ended, in Unix time.", "job")
	duration    = newDesc("last_run_duration_seconds", "How long the newest run took, in seconds.", "job")
	result      = newDesc("last_run_result", "How the newest run ended: 1 for its result, 0 for all others.", "job", "result")
	fileStates  = newDesc("last_run_files", "Files of the newest run that was done by what it found or did; of a verification also by kind of problem.", "job", "state")
	byteStates  = newDesc("last_run_bytes", "Bytes of the newest run that was done by what it found or did.", "job", "state")
	failures    = newDesc("consecutive_failures", "Runs that failed since the last that did not.", "job")
)

// The metrics of jobs that are served only.
var (
	age          = newDesc("last_success_age_seconds", "How long ago the last success was, in seconds.", "job")
	ends         = newDesc("runs_total", "Runs that ended since the service began, by result.", "job", "result")
	retries      = newDesc("run_retries_total", "Runs that ended since the service began and were not the first attempt.", "job")
	active       = newDesc("run_active", "1 while a run is under way, else 0.", "job")
	progress     = newDesc("run_progress_ratio", "How far the run under way is, from 0 to 1, where that is known.", "job")
	lastArchived = newDesc("last_archived_timestamp_seconds", "When the newest backup began that an archiver has taken from the bucket, in Unix time.", "job")
	waiting      = newDesc("backups_waiting", "Complete backups in the bucket that no archiver has taken yet.", "job")
)

// results are all that a run can end with.
var results = []runs.Result{runs.Succeeded, runs.Incomplete, runs.Failed, runs.Cancelled, runs.Interrupted}

// runs tells of the newest run of a job, and what the newest one that was done
// found: a failure does not make that unseen.
func (s sink) runs(job string, r, done *runs.Run) {
	if done != nil {
		s.states(fileStates, job, done.Files)
		s.states(byteStates, job, done.Bytes)
	}
	if r == nil {
		return
	}
	s.time(lastRun, r.Ended, job)
	s.gauge(duration, r.Duration(r.Ended).Seconds(), job)
	for _, one := range results {
		s.gauge(result, oneIf(one == r.Result), job, string(one))
	}
}

func (s sink) states(d *prometheus.Desc, job string, counts map[string]int64) {
	for state, n := range counts {
		s.gauge(d, float64(n), job, state)
	}
}

// job tells of a job of a service.
func (s sink) job(now time.Time, j *service.JobState, final bool) {
	s.time(lastSuccess, j.Newest, j.Name)
	if !j.Newest.IsZero() {
		s.gauge(age, max(0, now.Sub(j.Newest)).Seconds(), j.Name)
	}
	s.runs(j.Name, j.Last, j.LastDone)
	s.gauge(failures, float64(j.Failures), j.Name)
	for _, one := range results {
		s.counter(ends, float64(j.Ends[one]), j.Name, string(one))
	}
	s.counter(retries, float64(j.Retries), j.Name)
	s.gauge(active, oneIf(j.Running != nil), j.Name)
	if j.Running != nil {
		if percent := j.Running.Progress.Percent(); percent >= 0 {
			s.gauge(progress, percent/100, j.Name)
		}
	}
	if j.Seen != nil && !final {
		s.time(lastArchived, j.Seen.Archived, j.Name)
		s.gauge(waiting, float64(j.Seen.Waiting), j.Name)
	}
}
