package admin

import (
	"time"

	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/service"
)

// fact is a line about a job or a run.
type fact struct {
	Name  string
	Text  string
	When  *when
	Level string // warn or bad, if it is not as it should be
	Long  bool   // a line of its own
}

// factsOf are in the order in which somebody asks.
func factsOf(j service.JobState, s service.State) (list []fact) {
	add := func(f fact) {
		if f.When != nil || f.Text != "" {
			list = append(list, f)
		}
	}
	if r := j.LastDone; r != nil {
		add(fact{Name: "Last worked", When: moment(r.Ended, s.Now)})
		add(fact{Name: "It took", Text: duration(r.Duration(s.Now))})
		for _, f := range countFacts(j.Kind, r) {
			add(f)
		}
	} else {
		add(fact{Name: "Last worked", Text: "never, as far as is recorded here"})
	}
	if r := j.Last; r != nil && !r.Result.Done() {
		add(fact{Name: "Last tried", When: moment(r.Ended, s.Now)})
	}
	if j.Failures > 1 {
		add(fact{Name: "Failed", Text: counted(int64(j.Failures), "time") + " in a row", Level: "bad"})
	}
	add(fact{Name: "Tries again", When: moment(j.Retry, s.Now)})
	add(nextOf(j, s))
	return append(list, seenFacts(j, s.Now)...)
}

func nextOf(j service.JobState, s service.State) fact {
	switch {
	case !j.Scheduled:
		return fact{Name: "Next", Text: "when you start it"}
	case !s.ScheduleOn:
		return fact{Name: "Next", Text: "when the schedule is on again", Level: "warn"}
	}
	return fact{Name: "Next", When: moment(s.Next, s.Now)}
}

// countFacts tell how much a run worked on, and how much of it was new.
func countFacts(kind service.Kind, r *runs.Run) []fact {
	amount := func(name string, files, bytes int64) fact {
		f := fact{Name: name}
		switch {
		case files > 0 && bytes > 0:
			f.Text = counted(files, "file") + ", " + size(bytes)
		case files > 0:
			f.Text = counted(files, "file")
		case bytes > 0:
			f.Text = size(bytes)
		}
		return f
	}
	of := func(name, state string) fact { return amount(name, r.Files[state], r.Bytes[state]) }
	switch kind {
	case service.Files:
		return []fact{of("Backed up", "total"), of("New in it", "new")}
	case service.Database:
		return []fact{amount("Dump", 0, r.Bytes["total"]), amount("Sealed", 0, r.Bytes["sealed"])}
	case service.Archive:
		return []fact{of("Archived", "total"), amount("New in it", r.Files["new"], r.Bytes["fetched"])}
	case service.Verify:
		return []fact{of("Checked", "checked"), of("Read of it", "read")}
	}
	return nil
}

// seenFacts tell what is in the bucket, which this host is not the only one to
// change.
func seenFacts(j service.JobState, now time.Time) (list []fact) {
	if s := j.Seen; s != nil {
		list = []fact{{Name: "In the bucket", When: moment(s.Backup, now)}, {Name: "Archived", When: moment(s.Archived, now)}}
		if s.Backup.IsZero() {
			list[0].Text = "no backup"
		}
		if s.Archived.IsZero() {
			list[1].Text = "not yet"
		}
		if s.Waiting > 0 {
			list = append(list, fact{Name: "Not archived yet", Text: counted(int64(s.Waiting), "backup")})
		}
	}
	if j.SeenError != "" {
		list = append(list, fact{Name: "Bucket", Text: "could not be asked: " + visible(j.SeenError), Level: "bad", Long: true})
	}
	return list
}
