package service

import (
	"fmt"
	"strings"
	"time"

	"github.com/chipster/firn/internal/runs"
)

// Problems says what somebody has to look after, one sentence each, beginning
// with the job's name; none means that all is well. Of each scheduled job: no
// backup is younger than twice the interval (and none is due for the first time
// still), none such is archived (unless Final; an archiver has two days, where
// the interval is shorter), and that the last look into the bucket failed, where
// that keeps from knowing. Of the archiver and of a scheduled verification: no
// run was done for twice the interval. Of each job: the last run that was done
// left something out, or found damage. Where something is overdue, that the schedule is off.
func (s *Service) Problems() []string {
	now := wall()
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, j := range s.jobs {
		all = append(all, s.problems(j, now)...)
	}
	if len(all) > 0 && !s.power.Enabled {
		all = append(all, "schedule: it is switched off since "+s.local(s.power.Since))
	}
	return all
}

// problems are those of one job.
func (s *Service) problems(j *job, now time.Time) (list []string) {
	add := func(text string) {
		if text != "" {
			list = append(list, j.Name+": "+text)
		}
	}
	if j.Scheduled {
		add(s.overdue(j, now))
		add(s.unarchived(j, now))
	}
	if run := j.lastDone; run != nil && run.Result == runs.Incomplete {
		what := "the last run, of %s, is not complete%s"
		if j.Kind == Verify {
			what = "the verification of %s found damage%s"
		}
		add(fmt.Sprintf(what, s.local(run.Started), firstOf(run)))
	}
	return list
}

// firstOf is the first thing that a run complained about.
func firstOf(run *runs.Run) string {
	if len(run.Problems) > 0 {
		return ": " + run.Problems[0]
	}
	if run.Error != "" {
		return ": " + run.Error
	}
	return ""
}

// overdue says that there is no backup, or no run, that is young enough.
func (s *Service) overdue(j *job, now time.Time) string {
	newest, what := s.newest(j, now)
	if !newest.IsZero() {
		age := now.Sub(newest)
		if age < 2*s.o.Schedule.Interval {
			return ""
		}
		return fmt.Sprintf("no %s for %s: the newest is of %s%s", what, span(age), s.local(newest), s.why(j))
	}
	if j.lastDone != nil {
		return fmt.Sprintf("the bucket has no backup, though one was made at %s%s", s.local(j.lastDone.Started), s.why(j))
	}
	first := s.o.Schedule.Next(s.power.Installed)
	if now.Before(first) || j.Seen != nil && !s.looked {
		return ""
	}
	if s.busy(j, now) && now.Before(first.Add(s.o.Schedule.Interval)) {
		return ""
	}
	return fmt.Sprintf("no %s yet: the first was due %s%s", what, s.local(first), s.why(j))
}

// newest is when the newest backup was made, or the newest run that was done
// began. What is in the bucket counts more than what was recorded earlier.
func (s *Service) newest(j *job, now time.Time) (newest time.Time, what string) {
	if j.lastDone != nil {
		newest = j.lastDone.Started
	}
	if j.Kind != Files && j.Kind != Database {
		return newest, "run done"
	}
	if j.seen == nil || !s.believable(j.seen.Backup, now) {
		return newest, "backup"
	}
	if asked := j.lastDone == nil || !j.seenAt.Before(j.lastDone.Ended); asked || j.seen.Backup.After(newest) {
		newest = j.seen.Backup
	}
	return newest, "backup"
}

// why is what is known of the reason.
func (s *Service) why(j *job) string {
	var parts []string
	if j.last != nil && !j.last.Result.Done() {
		parts = append(parts, strings.TrimSuffix("the last run was "+string(j.last.Result)+": "+j.last.Error, ": "))
		if j.last.Result == runs.Failed {
			parts[0] = "the last run failed: " + j.last.Error
		}
	}
	if j.seenError != "" {
		parts = append(parts, "the bucket cannot be asked: "+j.seenError)
	}
	if len(parts) == 0 {
		return ""
	}
	return "; " + strings.Join(parts, "; ")
}

// unarchived says that no archiver has taken a backup for too long, or that
// nobody can tell.
func (s *Service) unarchived(j *job, now time.Time) string {
	if s.o.Final || j.Seen == nil || j.Kind != Files && j.Kind != Database {
		return ""
	}
	limit := max(2*s.o.Schedule.Interval, 48*time.Hour)
	if now.Before(s.o.Schedule.Next(s.power.Installed).Add(limit)) && (j.seen == nil || j.seen.Archived.IsZero()) {
		return "" // the first one is due still
	}
	switch {
	case j.seen == nil && j.seenError == "":
		return "" // it is being asked
	case j.seen != nil && now.Sub(j.seen.Archived) < limit:
		return ""
	case j.seen != nil && j.seenError == "" && j.seen.Waiting == 0:
		return "" // what there was is archived: it is the backups that stay away
	case j.seenError != "":
		return "nobody can tell what is archived: the bucket cannot be asked: " + j.seenError
	case j.seen.Archived.IsZero():
		return fmt.Sprintf("no backup is archived, and %d wait: look after the archive server", j.seen.Waiting)
	}
	return fmt.Sprintf("no backup was archived for %s: the newest archived one is of %s, and %d wait: look after the archive server",
		span(now.Sub(j.seen.Archived)), s.local(j.seen.Archived), j.seen.Waiting)
}

// local is an instant, as a clock on the wall shows it.
func (s *Service) local(t time.Time) string {
	location := s.o.Schedule.Location
	if location == nil {
		location = time.Local
	}
	return t.In(location).Format("2006-01-02 15:04")
}

// span is a time in words, to the hour.
func span(d time.Duration) string {
	hours := int(d / time.Hour)
	days := hours / 24
	switch hours %= 24; {
	case days == 0:
		return plural(hours, "hour")
	case hours == 0:
		return plural(days, "day")
	}
	return plural(days, "day") + " " + plural(hours, "hour")
}

func plural(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}
