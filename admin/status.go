package admin

import (
	"net/http"
	"strings"
	"time"

	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/service"
)

// status is the state as one flat map of scalars, as the original's services
// give it. What is not known, or was never, is left out.
func (h *handler) status(w http.ResponseWriter, _ *http.Request) {
	s, problems := h.Service.State(), h.Service.Problems()
	m := flat{
		"title": h.Title, "version": h.Version, "scheduleOn": s.ScheduleOn,
		"queue": strings.Join(s.Queue, ","), "problems": len(problems), "healthy": len(problems) == 0,
	}
	m.time("now", s.Now)
	m.time("began", s.Began)
	m.time("next", s.Next)
	for _, j := range s.Jobs {
		m.job(j, s.Now)
	}
	if d := s.Holdings; d != nil {
		m["diskTotal"], m["diskFree"] = d.DiskTotal, d.DiskFree
	}
	h.json(w, http.StatusOK, m)
}

// flat is a map of strings, numbers and truths.
type flat map[string]any

func (m flat) time(key string, t time.Time) {
	if !t.IsZero() {
		m[key] = t.UTC().Format(time.RFC3339)
	}
}

func (m flat) job(j service.JobState, now time.Time) {
	key := func(k string) string { return j.Name + "." + k }
	m[key("kind")], m[key("scheduled")], m[key("queued")] = j.Kind, j.Scheduled, j.Queued
	m[key("running")], m[key("failures")] = j.Running != nil, j.Failures
	m.time(key("retry"), j.Retry)
	if r := j.Running; r != nil {
		m.time(key("runningSince"), r.Started)
		m[key("percent")] = r.Progress.Percent()
	}
	if r := j.Last; r != nil {
		m.time(key("last"), r.Started)
		m[key("lastResult")] = r.Result
		m[key("lastSeconds")] = r.Duration(now).Seconds()
		if r.Error != "" {
			m[key("lastError")] = r.Error
		}
	}
	if r := j.LastDone; r != nil {
		m.time(key("lastDone"), r.Ended)
		m.counts(key("files."), r.Files)
		m.counts(key("bytes."), r.Bytes)
	}
	if s := j.Seen; s != nil {
		m.time(key("backup"), s.Backup)
		m.time(key("archived"), s.Archived)
		m[key("waiting")] = s.Waiting
	}
}

func (m flat) counts(prefix string, counts map[string]int64) {
	for state, n := range counts {
		m[prefix+state] = n
	}
}

// fileStats tells of the storage what the last backup found there. The original
// walked through the storage each time.
func (h *handler) fileStats(w http.ResponseWriter, r *http.Request) {
	s := h.Service.State()
	for _, j := range s.Jobs {
		if j.Kind == service.Files {
			h.json(w, http.StatusOK, fileStats(j.LastDone, s.Holdings))
			return
		}
	}
	h.fail(w, r, http.StatusNotFound, "no files are backed up here")
}

func fileStats(last *runs.Run, disk *service.Holdings) flat {
	m := flat{}
	if last != nil {
		m.time("at", last.Ended)
		m["files"], m["bytes"] = last.Files["total"], last.Bytes["total"]
		m["newFiles"], m["newBytes"] = last.Files["new"], last.Bytes["new"]
		if len(last.Made) > 0 {
			m["backup"] = last.Made[0]
		}
	}
	if disk != nil {
		m["diskTotal"], m["diskFree"] = disk.DiskTotal, disk.DiskFree
	}
	return m
}
