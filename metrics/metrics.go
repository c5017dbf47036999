// Package metrics tells Prometheus how a service, a run or a mount is.
//
// It promises that what it tells of a service is of the instant of the scrape,
// without waiting for a disk or a bucket; that the file for node_exporter is
// there whole or not at all; and that any name of a job or a folder can be told.
// It keeps nothing itself: what counts up does so elsewhere.
//
// All times are Unix times in seconds, all sizes bytes.
package metrics

import (
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/chipster/firn/service"
)

// Options of a Handler.
type Options struct {
	Version  string        // of the program
	Interval time.Duration // between two scheduled times
	// Final says that the bucket is the final storage, where nothing waits for
	// an archiver.
	Final  bool
	Logger *slog.Logger // nil: slog.Default
}

// Handler answers scrapes with the numbers of s, of this process, and of its
// stores. It may be called concurrently.
func Handler(s *service.Service, o Options) http.Handler {
	return handler(&collector{state: s.State, problems: s.Problems, options: o}, o.Logger)
}

func handler(c *collector, log *slog.Logger) http.Handler {
	if log == nil {
		log = slog.Default()
	}
	r := prometheus.NewRegistry()
	r.MustRegister(c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, // one bad number must not hide the others
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelError),
	})
}

// newDesc describes a metric; labels are the names of its labels.
func newDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("firn_"+name, help, labels, nil)
}

// sink takes metrics.
type sink chan<- prometheus.Metric

func (s sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s.send(d, prometheus.GaugeValue, v, labels)
}

func (s sink) counter(d *prometheus.Desc, v float64, labels ...string) {
	s.send(d, prometheus.CounterValue, v, labels)
}

// time tells nothing of an instant that is not known.
func (s sink) time(d *prometheus.Desc, t time.Time, labels ...string) {
	if !t.IsZero() {
		s.gauge(d, float64(t.UnixMilli())/1000, labels...)
	}
}

// send has labels become valid text, without which a whole scrape fails: folders
// and jobs may have any name.
func (s sink) send(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels []string) {
	valid := make([]string, len(labels))
	for i, l := range labels {
		valid[i] = strings.ToValidUTF8(l, "\uFFFD")
	}
	m, err := prometheus.NewConstMetric(d, kind, v, valid...)
	if err != nil {
		m = prometheus.NewInvalidMetric(d, err)
	}
	s <- m
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// collectFunc is a collector of whatever it sends.
type collectFunc func(sink)

// Describe describes nothing: which metrics there are depends on the jobs.
func (collectFunc) Describe(chan<- *prometheus.Desc) {}

func (f collectFunc) Collect(ch chan<- prometheus.Metric) { f(ch) }
