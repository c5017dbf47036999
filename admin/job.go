package admin

import (
	"fmt"
	"net/url"
	"time"

	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/service"
)

// word is a result for people. The sign is there for those who see no colours.
type word struct{ sign, text, level string }

var resultWords = map[runs.Result]word{
	runs.Running:     {"▶", "running", "wait"},
	runs.Succeeded:   {"✓", "succeeded", "good"},
	runs.Incomplete:  {"!", "done, with problems", "warn"},
	runs.Failed:      {"✗", "failed", "bad"},
	runs.Cancelled:   {"–", "cancelled", "calm"},
	runs.Interrupted: {"–", "interrupted", "warn"},
}

var triggerWords = map[runs.Trigger]string{
	runs.Scheduled: "its time had come",
	runs.Missed:    "made up for a missed one",
	runs.Retry:     "tried again",
	runs.ByHand:    "asked for",
	runs.Command:   "a command",
}

// badge is a state as the page shows it.
type badge struct{ Sign, Text, Level string }

func badgeOf(r runs.Result) badge {
	w, known := resultWords[r]
	if !known {
		return badge{"?", visible(string(r)), "calm"}
	}
	return badge{w.sign, w.text, w.level}
}

// jobView is a card.
type jobView struct {
	N       int // tells the elements of one card from those of the others
	Title   string
	Name    string
	Badge   badge
	Facts   []fact
	Error   string // of the last run
	ErrorID string // the run's
	Running *runningView
	Queued  bool
	Verb    string // of the button
	Start   string // address of the button's form
	Cancel  string // address, where this service can cancel what runs or waits
	History history
}

// verbs are on the buttons.
var verbs = map[service.Kind]string{
	service.Files: "Back up now", service.Database: "Back up now", service.Archive: "Archive now", service.Verify: "Verify now",
}

func startAddress(j service.JobState) string {
	switch j.Kind {
	case service.Archive, service.Verify:
		return "/admin/" + string(j.Kind)
	}
	return "/admin/backup/" + url.PathEscape(j.Name)
}

func cancelAddress(id string) string { return "/admin/runs/" + url.PathEscape(id) + "/cancel" }

// cancelRun is "" for a run of another process.
func cancelRun(r *runs.Run) string {
	if r.Trigger == runs.Command {
		return ""
	}
	return cancelAddress(r.ID)
}

func jobViewOf(n int, j service.JobState, s service.State, list []runs.Run) jobView {
	v := jobView{
		N: n, Title: visible(j.Title), Name: visible(j.Name), Queued: j.Queued && j.Running == nil,
		Verb: verbs[j.Kind], Start: startAddress(j), Cancel: cancelAddress(j.Name),
		Badge: badge{"·", "never ran", "calm"}, History: historyOf(n, j.Kind, list, s.Now),
	}
	if j.Last != nil {
		v.Badge = badgeOf(j.Last.Result)
		if !j.Last.Result.Done() || j.Last.Error != "" {
			v.Error, v.ErrorID = visible(j.Last.Error), j.Last.ID
		}
	}
	switch {
	case j.Running != nil:
		v.Running, v.Badge, v.Cancel = runningOf(*j.Running, s.Now), badgeOf(runs.Running), cancelRun(j.Running)
	case v.Queued:
		v.Badge = badge{"…", "waiting", "wait"}
	}
	v.Facts = factsOf(j, s)
	return v
}

// runningView is a run under way.
type runningView struct {
	ID      string
	Known   bool   // how far it is
	Value   string // percent, for the bar
	Percent string
	Work    string // 12 of 34 files, 5 MiB of 1 GiB
	Time    string
}

func runningOf(r runs.Run, now time.Time) *runningView {
	p, percent, took := r.Progress, r.Progress.Percent(), r.Duration(now)
	v := &runningView{ID: r.ID, Known: percent >= 0, Time: "for " + duration(took), Work: work(p)}
	if v.Known {
		v.Value, v.Percent = fmt.Sprintf("%.1f", percent), fmt.Sprintf("%.0f %%", percent)
	}
	// Before that it is a guess that nobody should see jump about.
	if percent >= 3 && percent < 100 && took > 5*time.Second {
		left := time.Duration(float64(took) * (100 - percent) / percent)
		v.Time += ", about " + duration(left) + " left"
	}
	return v
}

func work(p runs.Progress) string {
	about := ""
	if p.Estimated {
		about = "about "
	}
	var text string
	switch {
	case p.FilesTotal > 0:
		text = count(p.Files) + " of " + counted(p.FilesTotal, "file") + ", "
	case p.Files > 0:
		text = counted(p.Files, "file") + ", "
	}
	if p.BytesTotal > 0 {
		return text + size(p.Bytes) + " of " + about + size(p.BytesTotal)
	}
	return text + size(p.Bytes)
}
