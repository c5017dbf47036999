package admin

import (
	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/service"
)

// verdict is what somebody who has ten seconds wants to know.
type verdict struct {
	Level    string // good, wait, warn or bad: never told by a colour alone
	Sign     string
	Headline string
	Problems []string
	Failures []failure // of backups that are recent enough, so that none is a problem yet
}

// failure is a last run that failed.
type failure struct {
	Title string
	Error string
	Retry *when
}

func verdictOf(s service.State, problems []string) verdict {
	v := verdict{Level: "good", Sign: "✓", Headline: "All is well"}
	for _, p := range problems {
		v.Problems = append(v.Problems, visible(p))
	}
	ever := false
	for _, j := range s.Jobs {
		ever = ever || j.Last != nil || j.Seen != nil && !j.Seen.Backup.IsZero()
		if j.Last != nil && j.Last.Result == runs.Failed {
			v.Failures = append(v.Failures, failure{visible(j.Title), visible(j.Last.Error), moment(j.Retry, s.Now)})
		}
	}
	if len(problems) > 0 {
		v.Failures = nil // the cards tell of them
	}
	switch {
	case len(problems) == 1:
		v.Level, v.Sign, v.Headline = "bad", "✗", "One thing needs attention"
	case len(problems) > 1:
		v.Level, v.Sign, v.Headline = "bad", "✗", count(int64(len(problems)))+" things need attention"
	case len(v.Failures) > 0:
		v.Level, v.Sign, v.Headline = "warn", "!", "The last run failed"
	case !s.ScheduleOn:
		v.Level, v.Sign, v.Headline = "warn", "!", "The schedule is off"
	case !ever:
		v.Level, v.Sign, v.Headline = "wait", "…", "Nothing has run yet"
	}
	return v
}
