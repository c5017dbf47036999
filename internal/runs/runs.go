// Package runs keeps a record of each run of the program: when it began and
// ended, how far it is, what it made, what was wrong, and its log.
//
// It promises that a record, once Begin or End has returned, is there after a
// crash; that a run whose process died is told as interrupted, on the same host
// at once; that several processes may share one folder; and that memory and disk
// are bounded: the oldest runs go, but never the last that was done of a job.
//
// A record is not a backup: where the disk does not take it, the run goes on
// without, a warning is logged, and the record is in memory until the process
// ends or the disk takes it after all.
//
// It does not decide what runs when, and it is no proof of a backup: that is
// what is in the bucket and in the archive.
package runs

import "time"

// Result is how a run ended, or that it has not.
type Result string

// The results of a run.
const (
	Running     Result = "running"
	Succeeded   Result = "succeeded"
	Incomplete  Result = "incomplete" // done, but something is missing, damaged or left out
	Failed      Result = "failed"
	Cancelled   Result = "cancelled"   // by a person
	Interrupted Result = "interrupted" // its process ended before it: the next run goes on
)

// Done tells whether the run made what it was for.
func (r Result) Done() bool { return r == Succeeded || r == Incomplete }

// Trigger is why a run began.
type Trigger string

// The triggers of a run.
const (
	Scheduled Trigger = "schedule" // its time had come
	Missed    Trigger = "missed"   // its time had come while nobody was there
	Retry     Trigger = "retry"    // the one before had failed
	ByHand    Trigger = "hand"     // somebody asked the service
	Command   Trigger = "command"  // a command of its own, from cron or a terminal
)

// Unknown is a total that nobody can tell before the end.
const Unknown = -1

// Progress is how far a run is. Bytes are those of what is read or written on
// the way, whichever the job counts.
type Progress struct {
	Files      int64 `json:"files"`
	FilesTotal int64 `json:"filesTotal"` // Unknown, if nobody knows
	Bytes      int64 `json:"bytes"`
	BytesTotal int64 `json:"bytesTotal"` // Unknown, if nobody knows
	// Estimated says that the total is that of the last run.
	Estimated bool `json:"estimated,omitempty"`
}

// Percent is 0 to 100, or -1 where it is not known. With an estimated total it
// stays below 100.
func (p Progress) Percent() float64 {
	switch {
	case p.BytesTotal == Unknown:
		return -1
	case p.BytesTotal == 0:
		return 0
	}
	percent := min(100*float64(p.Bytes)/float64(p.BytesTotal), 100)
	if p.Estimated {
		percent = min(percent, 99)
	}
	return percent
}

// Run is the record of one run. What it counts, it counts by state, in files and
// in bytes: an upload has "total", "new", "resumed", "unchanged", "vanished",
// "left_out" and, in bytes, "sealed"; an archiving "total", "new", "carried",
// "fetched", "missing", "damaged", "unexpected", "pruned", "cleaned"; a
// verification "checked", "read", "healed" and one state for each kind of problem;
// a drill "chosen" and "right".
type Run struct {
	ID      string    `json:"id"` // sorts by the time of the beginning
	Job     string    `json:"job"`
	Trigger Trigger   `json:"trigger"`
	Attempt int       `json:"attempt"` // counted from 1
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	Result  Result    `json:"result"`
	Error   string    `json:"error,omitempty"`

	Made     []string         `json:"made,omitempty"` // names of backups or versions, at most 100
	Files    map[string]int64 `json:"files,omitempty"`
	Bytes    map[string]int64 `json:"bytes,omitempty"`
	Problems []string         `json:"problems,omitempty"` // the first 100 of what is missing, damaged or left out
	Again    []string         `json:"again,omitempty"`    // what the job's next run has to look at in any case
	Progress Progress         `json:"progress"`
}

// Duration is how long the run took, or has taken until now.
func (r *Run) Duration(now time.Time) time.Duration {
	if r.Ended.IsZero() {
		return now.Sub(r.Started)
	}
	return r.Ended.Sub(r.Started)
}
