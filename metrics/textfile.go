package metrics

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/service"
)

// Job is what a file tells of a job.
type Job struct {
	Name     string
	Last     *runs.Run // the newest that ended; nil: none
	LastDone *runs.Run // the newest that was done; nil: none
	Failures int       // in a row
}

// mostFailures are counted of one job, so that a look back has an end.
const mostFailures = 100

// JobOf reads from the records what there is to tell of a job.
func JobOf(store *runs.Store, name string) (Job, error) {
	j := Job{Name: name}
	recent, err := store.Runs(name, mostFailures)
	if err != nil {
		return j, err
	}
	counting := true
	for _, r := range recent {
		if r.Result == runs.Running {
			continue
		}
		if j.Last == nil {
			j.Last = &r
		}
		counting = counting && !r.Result.Done()
		if counting && r.Result == runs.Failed {
			j.Failures++
		}
	}
	done, ok, err := store.LastDone(name)
	if ok {
		j.LastDone = &done
	}
	return j, err
}

// WriteFile writes the numbers of jobs that ran on their own, for the textfile
// collector of node_exporter, which reads files that end in .prom. The file is
// replaced at once and readable for everyone; holdings may be nil.
//
// node_exporter reports nothing at all if two of its files tell the same: each
// job, and the holdings, belong into one file of a host.
func WriteFile(file string, jobs []Job, holdings *service.Holdings) error {
	return writeFile(file, func(s sink) {
		for _, j := range jobs {
			if j.LastDone != nil {
				s.time(lastSuccess, j.LastDone.Started, j.Name)
			}
			s.runs(j.Name, j.Last, j.LastDone)
			s.gauge(failures, float64(j.Failures), j.Name)
		}
		s.holdings(holdings)
	})
}

func writeFile(file string, collect collectFunc) error {
	r := prometheus.NewRegistry()
	err := r.Register(collect)
	if err == nil {
		// Its temporary file stands beside and does not end in .prom.
		err = prometheus.WriteToTextfile(file, r)
	}
	if err != nil {
		return fmt.Errorf("write the numbers to %s: %w", file, err)
	}
	return nil
}
