package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/service"
)

// The metrics of a service as a whole.
var (
	build        = newDesc("build_info", "Always 1; the version of the program is its label.", "version")
	problems     = newDesc("problems", "Things that somebody has to look after; /admin/monitoring/backup says which.")
	queue        = newDesc("queue_length", "Runs that wait for their turn.")
	scheduleOn   = newDesc("schedule_enabled", "1 while runs begin by the schedule, else 0.")
	next         = newDesc("next_run_timestamp_seconds", "When the schedule begins the next runs, in Unix time.")
	interval     = newDesc("interval_seconds", "Time between two scheduled runs of a job, in seconds.")
	storeRetries = newDesc("store_retries_total", "Requests to the bucket that were repeated since the process began.")
)

// The metrics of what is on the disk of this host.
var (
	diskFree     = newDesc("disk_free_bytes", "Bytes that are free on the file system of the folder.", "folder")
	diskTotal    = newDesc("disk_total_bytes", "Bytes of the file system of the folder.", "folder")
	catalog      = newDesc("catalog_bytes", "Bytes of the archive's catalog.")
	versions     = newDesc("archive_versions", "Versions in the archive.", "storage")
	newest       = newDesc("archive_newest_version_timestamp_seconds", "When the newest readable version's backup began, in Unix time.", "storage")
	archiveFiles = newDesc("archive_files", "Files of the newest readable version.", "storage")
	sealed       = newDesc("archive_sealed_bytes", "Bytes of the sealed files of the newest readable version, wherever they lie.", "storage")
)

// collector makes the metrics of a service anew at each scrape.
type collector struct {
	state    func() service.State
	problems func() []string
	options  Options
}

// Describe describes nothing: which metrics there are depends on the jobs.
func (*collector) Describe(chan<- *prometheus.Desc) {}

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s, state := sink(ch), c.state()
	s.gauge(build, 1, c.options.Version)
	s.gauge(problems, float64(len(c.problems())))
	s.gauge(queue, float64(len(state.Queue)))
	s.gauge(scheduleOn, oneIf(state.ScheduleOn))
	s.time(next, state.Next)
	s.gauge(interval, c.options.Interval.Seconds())
	s.counter(storeRetries, float64(objstore.Retries()))
	for i := range state.Jobs {
		s.job(state.Now, &state.Jobs[i], c.options.Final)
	}
	s.holdings(state.Holdings)
}

func (s sink) holdings(h *service.Holdings) {
	if h == nil {
		return
	}
	s.gauge(diskFree, float64(h.DiskFree), h.Folder)
	s.gauge(diskTotal, float64(h.DiskTotal), h.Folder)
	if h.Catalog > 0 {
		s.gauge(catalog, float64(h.Catalog))
	}
	counts := map[string]int{}
	best := map[string]*service.Version{}
	for i := range h.Versions {
		v := &h.Versions[i]
		counts[v.Storage]++
		if b := best[v.Storage]; v.Damaged == "" && (b == nil || v.Time.After(b.Time)) {
			best[v.Storage] = v
		}
	}
	for storage, n := range counts {
		s.gauge(versions, float64(n), storage)
	}
	for storage, v := range best {
		s.time(newest, v.Time, storage)
		s.gauge(archiveFiles, float64(v.Files), storage)
		s.gauge(sealed, float64(v.Sealed), storage)
	}
}
