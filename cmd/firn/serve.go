package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	_ "time/tzdata" // the local time of a host or an image that has no zones

	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"github.com/chipster/firn/admin"
	"github.com/chipster/firn/internal/config"
	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/internal/schedule"
	"github.com/chipster/firn/metrics"
	"github.com/chipster/firn/service"
)

const serveName = "serve"

var serveSettings = []setting{
	{flag: "backup-time", key: "backup-time", usage: "run at `HH:MM`, local time"},
	{flag: "backup-interval", key: "backup-interval", usage: "and every `N` hours from there"},
	{flag: "final", key: "backup-final", usage: "`WHERE` backups stay: archive, or s3, where no archiver takes them from the bucket"},
	{flag: "token-file", key: "admin-token-file", usage: "`FILE` with the token that the admin interface asks for"},
}

func serveCommand() *cli.Command {
	return &cli.Command{
		Name:      serveName,
		Usage:     "back up every night, or archive, with a page and an admin interface",
		ArgsUsage: "[STORAGE]",
		Description: `Runs until it is told to end. At backup-time, which is local time, and every
backup-interval hours from there, it backs up the databases that are configured
as db-url-<role>, and then the files of STORAGE, as firn upload all does once.
--only leaves the others out.

With --archive ROOT it archives at its time instead, as firn archive does, and
then verifies a sample. Its time is backup-time-archive, 05:10 by default.

One run is under way at a time. A time that passed while it was not running is
made up for; what failed is tried again after 5 minutes, and then ever more
rarely, until the next time. When it has to end in the middle of a run, the next
one goes on. Keys, the bucket and addresses are read again for each run; which
databases there are, times and the token, at the start.

Its page, and its numbers for Prometheus, are at http://localhost:8370/; who has
the token may start, cancel and switch the schedule. Without a token only the
open paths answer: /admin/alive and /admin/monitoring/backup.

Examples:
   firn serve /opt/storage --config /opt/chipster/conf/chipster.yaml --token-file /etc/firn/token
   firn serve --only db --listen :8370 --tls-cert cert.pem --tls-key key.pem
   firn serve --archive /mnt/archive --store s3://backup --s3-endpoint a3s.fi`,
		Flags: slices.Concat(uploadFlags(fileSettings, postgresSettings, archiveSettings, serveSettings), fileFlags(), databaseFlags(), retentionFlags(), []cli.Flag{
			&cli.StringFlag{Name: "only", Usage: "back up `WHAT` only: files or db"},
			&cli.PathFlag{Name: "archive", Usage: "archive into the folder `ROOT` instead"},
			&cli.StringFlag{Name: "verify-sample", Value: "3%", Usage: "after archiving, read `P%` of the archive's files; 0: only when asked to"},
			catalogFlag(),
			&cli.StringFlag{Name: "listen", Value: "localhost:8370", Usage: "serve the page on `ADDRESS`"},
			&cli.PathFlag{Name: "tls-cert", Usage: "certificate, with those that it needs, in `FILE`"},
			&cli.PathFlag{Name: "tls-key", Usage: "its private key in `FILE`"},
			&cli.PathFlag{Name: "state", Value: "/var/lib/firn", Usage: "remember runs in the folder `DIR` (default: $STATE_DIRECTORY, else /var/lib/firn)"},
		}),
		Action: runServe,
	}
}

// served is what makes the jobs of a service.
type served struct {
	c     *cli.Context
	cfg   *config.Config    // at the start
	roles map[string]string // by the names of jobs: what they are called in the configuration
	jobs  []service.Job
	holds func(context.Context) (*service.Holdings, error)
	title string
	store *runs.Store
	end   func() error
}

func runServe(c *cli.Context) error {
	s, err := newServed(c)
	if err != nil {
		return err
	}
	return errors.Join(s.serve(), s.end())
}

func newServed(c *cli.Context) (*served, error) {
	s := &served{c: c, roles: map[string]string{}, end: func() error { return nil }}
	var err error
	if s.cfg, err = serveConfig(c); err != nil {
		return nil, err
	}
	bucket, err := s.cfg.String("backup-store", "")
	if err == nil && bucket == "" {
		err = usagef("no bucket is given: use --store, or backup-bucket in the configuration")
	}
	if err != nil {
		return nil, err
	}
	if c.IsSet("archive") {
		return s, s.addArchive(c.Path("archive"))
	}
	return s, s.addUploads()
}

func serveConfig(c *cli.Context) (*config.Config, error) {
	return configOf(c, slices.Concat(sealSettings, fileSettings, postgresSettings, serveSettings)...)
}

// serve runs the service and its page, until both have ended.
func (s *served) serve() error {
	state := s.c.Path("state")
	if !s.c.IsSet("state") {
		state = cmp.Or(os.Getenv("STATE_DIRECTORY"), state)
	}
	var err error
	if s.store, err = openRuns(s.c, state); err != nil {
		return fmt.Errorf("folder for the records, see --state: %w", err)
	}
	folder := state
	if s.c.IsSet("archive") {
		folder = filepath.Join(state, archiveJob) // where both run on one host, each has its switch
		if err := os.MkdirAll(folder, 0o750); err != nil {
			return err
		}
	}
	o := service.Options{
		Jobs: s.jobs, Runs: s.store, Folder: folder, Holds: s.holds, Result: resultOf, Logger: logger(s.c),
	}
	if o.Schedule, err = s.schedule(); err != nil {
		return err
	}
	if o.Final, err = isFinal(s.cfg); err != nil {
		return err
	}
	pings := newPinger(s.cfg, logger(s.c))
	defer pings.wait()
	o.Ended = func(r runs.Run) {
		logRun(logger(s.c), &r)
		pings.ping(s.roles[r.Job], &r)
	}
	svc, err := service.New(o)
	if err != nil {
		return err
	}
	return s.listen(svc, metrics.Options{Version: version(), Interval: o.Schedule.Interval, Final: o.Final, Logger: logger(s.c)})
}

// listen serves the page while the service runs.
func (s *served) listen(svc *service.Service, numbers metrics.Options) error {
	token, err := s.cfg.String("admin-token", "")
	if err != nil {
		return err
	}
	if token == "" {
		logger(s.c).Warn("no token is given with --token-file: only the open paths of the admin interface answer")
	}
	secure := s.c.IsSet("tls-cert")
	if secure != s.c.IsSet("tls-key") {
		return usagef("--tls-cert and --tls-key belong together")
	}
	handler, err := admin.New(admin.Options{
		Service: svc, Runs: s.store, Token: []byte(token), Title: s.title, Version: version(), Secure: secure, Logger: logger(s.c),
		Metrics: metrics.Handler(svc, numbers),
	})
	if err != nil {
		return usageError{err}
	}
	listener, err := net.Listen("tcp", s.c.String("listen"))
	if err != nil {
		return fmt.Errorf("page: %w; choose another address with --listen", err)
	}
	address := "http://" + listener.Addr().String()
	var encryption *tls.Config
	if secure {
		address = "https://" + listener.Addr().String()
		if encryption, err = admin.TLS(s.c.Path("tls-cert"), s.c.Path("tls-key"), logger(s.c)); err != nil {
			return errors.Join(err, listener.Close())
		}
	}
	group, ctx := errgroup.WithContext(s.c.Context)
	group.Go(func() error { return svc.Run(ctx) })
	group.Go(func() error { return admin.Serve(ctx, listener, handler, encryption, logger(s.c)) })
	logger(s.c).Info("serving", "page", address+"/", "jobs", len(s.jobs))
	if err := notifySystemd("READY=1"); err != nil {
		logger(s.c).Warn("cannot tell systemd that the service is ready", "error", err)
	}
	return group.Wait()
}

// schedule is that of the only job, by its role, or that of all.
func (s *served) schedule() (at schedule.Schedule, err error) {
	role := ""
	if s.c.IsSet("archive") {
		role = archiveJob
	} else if len(s.jobs) == 1 {
		role = s.roles[s.jobs[0].Name]
	}
	var interval, errTime error
	at.Interval, interval = s.cfg.Hours("backup-interval", role)
	at.Hour, at.Minute, errTime = s.cfg.TimeOfDay("backup-time", role)
	if role == archiveJob && !s.cfg.Get("backup-time", role).Set {
		at.Hour, at.Minute = 5, 10 // when the night's backups are there
	}
	if err := errors.Join(interval, errTime); err != nil {
		return at, usageError{err}
	}
	return at, nil
}

// isFinal tells whether backups stay in the bucket.
func isFinal(cfg *config.Config) (bool, error) {
	switch final, err := cfg.String("backup-final", ""); {
	case err != nil:
		return false, err
	case final == "s3":
		return true, nil
	case final == "archive":
		return false, nil
	default:
		return false, usagef("backup-final is %q, must be archive or s3", final)
	}
}

// hostName is what the page is called where there is nothing better.
func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "firn"
	}
	return name
}

// titleOf names what a service of the archive shows.
func titleOf(root string) string { return filepath.Base(root) + " on " + hostName() }
