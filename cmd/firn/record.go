package main

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/chipster/firn/internal/config"
	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/metrics"
	"github.com/chipster/firn/service"
)

// recordFlags are the flags of commands whose runs are worth remembering.
func recordFlags() []cli.Flag {
	return []cli.Flag{
		&cli.PathFlag{Name: "state", Usage: "record the run in the folder `DIR`, for firn serve to show (default: $STATE_DIRECTORY, else nothing is recorded)"},
		&cli.PathFlag{Name: "metrics-file", Usage: "write the numbers of the run to `FILE`, for node_exporter's textfile collector; needs --state"},
	}
}

// recorder records the runs of a command that is no service.
type recorder struct {
	c       *cli.Context
	store   *runs.Store
	pinger  *pinger
	metrics string
	jobs    []string // that ran
	folder  string   // whose disk is told of too; "": none
}

func newRecorder(c *cli.Context) (*recorder, error) {
	folder := cmp.Or(c.Path("state"), os.Getenv("STATE_DIRECTORY"))
	r := &recorder{c: c, metrics: c.Path("metrics-file")}
	if r.metrics != "" && folder == "" {
		return nil, usagef("--metrics-file needs --state, where the last success is remembered after a failure")
	}
	var err error
	if r.store, err = openRuns(c, folder); err != nil {
		// A record is worth less than the backup that it would be of.
		logger(c).Warn("the run is not recorded", "error", err)
		if r.store, err = openRuns(c, ""); err != nil {
			return nil, err
		}
	}
	// For pings only: who needs the configuration for more has read it, and failed.
	cfg, err := config.Load(c.Path("config"), os.Environ())
	if err != nil {
		logger(c).Warn("nobody will be told of the run", "error", err)
	}
	r.pinger = newPinger(cfg, logger(c))
	return r, nil
}

// openRuns opens the records in the folder that --state names; "" is memory.
func openRuns(c *cli.Context, state string) (*runs.Store, error) {
	if state == "" {
		return runs.Open("", runs.Options{Logger: logger(c)})
	}
	if err := os.MkdirAll(state, 0o750); err != nil {
		return nil, err
	}
	return runs.Open(filepath.Join(state, "runs"), runs.Options{Logger: logger(c)})
}

// run does the work of one job, which is called role in the configuration. The
// work's logger goes to the record too.
func (r *recorder) run(job, role string, work func(*cli.Context, *runs.Active) error) error {
	active, err := r.store.Begin(job, runs.Command, 1)
	if err != nil {
		return err
	}
	r.jobs = append(r.jobs, job)
	err = work(withRun(r.c, r.c.Context, active), active)
	ended, recordErr := active.End(resultOf(err), err)
	if recordErr != nil {
		logger(r.c).Warn("the run is not recorded", "job", job, "error", recordErr)
	}
	logRun(logger(r.c), &ended)
	r.pinger.ping(role, &ended)
	return err
}

// finish is called when all is done. What fails here is told, and is no failure
// of what was done.
func (r *recorder) finish() {
	r.pinger.wait()
	if r.metrics == "" {
		return
	}
	var jobs []metrics.Job
	for _, name := range r.jobs {
		job, err := metrics.JobOf(r.store, name)
		if err != nil {
			logger(r.c).Warn("no numbers of the run for "+r.metrics, "job", name, "error", err)
			continue
		}
		jobs = append(jobs, job)
	}
	var disk *service.Holdings
	if r.folder != "" {
		var err error
		if disk, err = diskOf(r.folder); err != nil {
			logger(r.c).Warn("nobody can tell how full the disk is", "error", err)
		}
	}
	if err := metrics.WriteFile(r.metrics, jobs, disk); err != nil {
		logger(r.c).Warn("cannot write the numbers of the run", "error", err)
	}
}

type loggerKey struct{}

// withRun is c for one run: its context ends with ctx, and its logger writes to
// the record of the run too.
func withRun(c *cli.Context, ctx context.Context, run *runs.Active) *cli.Context {
	of := *c
	of.Context = context.WithValue(ctx, loggerKey{}, run.Logger(logger(c)))
	return &of
}

// resultOf tells what an error makes of a run.
func resultOf(err error) runs.Result {
	switch {
	case err == nil:
		return runs.Succeeded
	case isCancelled(err):
		return runs.Interrupted
	case exitCode(err) == exitIncomplete:
		return runs.Incomplete
	}
	return runs.Failed
}

// logRun writes the one line about a run that scripts read.
func logRun(log *slog.Logger, r *runs.Run) {
	level := slog.LevelInfo
	if !r.Result.Done() {
		level = slog.LevelError
	}
	log.Log(context.Background(), level, "run", "job", r.Job, "result", r.Result, "trigger", r.Trigger, "attempt", r.Attempt,
		"seconds", r.Ended.Sub(r.Started).Seconds(), "files", countsOf(r.Files), "bytes", countsOf(r.Bytes), "made", r.Made, "error", r.Error)
}

// countsOf is a group of numbers: files.new=2 in text, an object in JSON.
func countsOf(byState map[string]int64) slog.Value {
	var counts []slog.Attr
	for _, state := range slices.Sorted(maps.Keys(byState)) {
		counts = append(counts, slog.Int64(state, byState[state]))
	}
	return slog.GroupValue(counts...)
}
