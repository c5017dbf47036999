package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/chipster/firn/archiver"
	"github.com/chipster/firn/internal/runs"
)

var archiveSettings = []setting{
	{flag: "daily", key: "backup-daily-count", usage: "keep the first dump of each day for `N` days, at least 3"},
	{flag: "monthly", key: "backup-monthly-count", usage: "keep the first dump of each month for `N` months"},
}

// archiveFlags are the flags that say how to archive.
func archiveFlags() []cli.Flag {
	return append(settingFlags(slices.Concat(storeSettings, archiveSettings)), retentionFlags()...)
}

func retentionFlags() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "keep-last", Value: 60, Usage: "keep the last `N` versions of files"},
		&cli.IntFlag{Name: "keep-days", Value: 60, Usage: "keep all versions of files younger than `N` days"},
		trustFlag(),
	}
}

func archiveCommand() *cli.Command {
	return &cli.Command{
		Name:      "archive",
		Usage:     "move backups from the bucket into an archive",
		ArgsUsage: "ROOT",
		Description: `Pulls the backups that wait in the bucket into the folder ROOT, checks every
file on the way, and tells the bucket what is archived. Then it deletes old
versions from ROOT, and from the bucket what is archived. No key is needed.

It can be interrupted at any time; the next run goes on. Files that are missing
or damaged are reported (exit code 3) and uploaded again by the next backup.
Nothing is deleted while the newest version is in the future or more than 7
days old.

Of files it keeps the last versions and the young ones, whichever are more; of
databases the first of each day and of each month, and everything for a week.

With --trust, a backup is archived only if its list is signed with one of these
keys, under its own name, and if it is no older than what is archived.

Examples:
   firn archive /mnt/archive --store s3://backup --s3-endpoint a3s.fi
   firn archive /mnt/archive --store file:///backup --dry-run
   firn archive /mnt/archive --config /opt/chipster/conf/chipster.yaml --json`,
		Flags: append(append(archiveFlags(),
			&cli.IntFlag{Name: "workers", Usage: "fetch `N` packages at once, 1 MiB of memory each (default: 4)"},
			&cli.BoolFlag{Name: "dry-run", Usage: "only say what would be done"},
		), reportFlags()...),
		Action: archive,
	}
}

func archive(c *cli.Context) error {
	args, err := arguments(c, "ROOT")
	if err != nil {
		return err
	}
	o := archiver.Options{Root: args[0], DryRun: c.Bool("dry-run")}
	if o.DryRun { // which is no run that somebody asks for later
		report, err := archiveWith(c, o, nil)
		if report == nil {
			return err
		}
		return errors.Join(err, printArchive(c, report))
	}
	rec, err := newRecorder(c)
	if err != nil {
		return err
	}
	rec.folder = o.Root
	defer rec.finish()
	var report *archiver.Report
	err = rec.run(archiveJob, archiveJob, func(c *cli.Context, run *runs.Active) (err error) {
		report, err = archiveWith(c, o, run)
		return err
	})
	if report == nil {
		return err
	}
	return errors.Join(err, printArchive(c, report))
}

// archiveJob is what the archiver is called in records of runs, and as a role in
// the configuration.
const archiveJob = "archive"

// archiveWith archives as flags and configuration say, and tells the run of it,
// which may be nil.
func archiveWith(c *cli.Context, o archiver.Options, run *runs.Active) (*archiver.Report, error) {
	var err error
	o.Logger, o.Workers = logger(c), c.Int("workers")
	if o.Retention, err = retentionOf(c); err != nil {
		return nil, err
	}
	cfg, err := configOf(c)
	if err != nil {
		return nil, err
	}
	if o.Trust, err = trustOf(c, cfg); err != nil {
		return nil, err
	}
	if o.Store, err = openConfiguredStore(c, cfg, ""); err != nil {
		return nil, err
	}
	bar := archiveBar{run: run}
	o.Progress = func(backup string, done, total int64) { bar.show(c, backup, done, total) }
	report, err := archiver.Run(c.Context, o)
	bar.done()
	if report != nil && run != nil {
		countArchive(run, report)
	}
	return report, err
}

func countArchive(run *runs.Active, r *archiver.Report) {
	for _, b := range r.Backups {
		if b.Error != "" {
			run.Problem(fmt.Sprintf("%s: not archived: %s", b.Name, b.Error))
			continue
		}
		run.Made(b.Name)
		run.CountFiles("total", int64(b.Files))
		run.CountFiles("new", int64(b.New))
		run.CountFiles("carried", int64(b.Carried))
		run.CountBytes("fetched", b.Fetched)
		for state, p := range map[string]archiver.Problems{"missing": b.Missing, "damaged": b.Damaged, "unexpected": b.Unexpected} {
			run.CountFiles(state, int64(p.Count))
			for _, first := range p.First {
				run.Problem(fmt.Sprintf("%s: %s: %q", b.Name, state, first))
			}
		}
	}
	for state, removed := range map[string][]archiver.Removal{"pruned": r.Pruned, "cleaned": r.Cleaned} {
		for _, v := range removed {
			run.CountBytes(state, v.Bytes)
		}
	}
}

func retentionOf(c *cli.Context) (r archiver.Retention, err error) {
	cfg, err := configOf(c, archiveSettings...)
	if err != nil {
		return r, err
	}
	daily, err := cfg.Int("backup-daily-count", "")
	monthly, err2 := cfg.Int("backup-monthly-count", "")
	if err := errors.Join(err, err2); err != nil {
		return r, usageError{err}
	}
	r = archiver.Retention{KeepLast: c.Int("keep-last"), KeepDays: c.Int("keep-days"), Daily: daily, Monthly: monthly}
	// Zero would be the default to the archiver: never what somebody meant.
	if r.KeepLast < 1 || r.KeepDays < 1 || r.Daily < 3 || r.Monthly < 1 {
		return r, usagef("--keep-last, --keep-days and --monthly must be at least 1, --daily at least 3")
	}
	return r, nil
}

// archiveBar shows one backup after the other.
type archiveBar struct {
	*progress
	run    *runs.Active // told too; may be nil
	backup string
	shown  int64
}

func (b *archiveBar) show(c *cli.Context, backup string, done, total int64) {
	if b.backup != backup {
		b.done()
		*b = archiveBar{newProgress(c, backup, total), b.run, backup, 0}
		if b.run != nil {
			b.ofRun(b.run, runs.Unknown)
		}
	}
	b.Add(0, done-b.shown)
	b.shown = done
}

func (b *archiveBar) done() {
	if b.progress != nil {
		b.Done()
	}
}

func printArchive(c *cli.Context, r *archiver.Report) error {
	if c.Bool("json") {
		return printJSON(c, r)
	}
	w := c.App.Writer
	would := ""
	if r.DryRun {
		would = "would be "
	}
	for _, b := range r.Backups {
		if b.Error != "" {
			fmt.Fprintf(w, "%s: not archived: %s\n", b.Name, b.Error)
			continue
		}
		fmt.Fprintf(w, "%s: %sarchived: %d files, %d of them new, %s fetched\n", b.Name, would, b.Files, b.New, humanBytes(b.Fetched))
		printProblems(c, "missing", b.Missing)
		printProblems(c, "damaged", b.Damaged)
		printProblems(c, "unexpected", b.Unexpected)
	}
	for _, v := range r.Pruned {
		fmt.Fprintf(w, "%s: %sdeleted from the archive: %s\n", v.Name, would, humanBytes(v.Bytes))
	}
	for _, b := range r.Cleaned {
		fmt.Fprintf(w, "%s: %sdeleted from the bucket: %s\n", b.Name, would, humanBytes(b.Bytes))
	}
	for _, s := range r.Skipped {
		fmt.Fprintf(w, "%s: %s\n", s.Name, s.Reason)
	}
	return nil
}

func printProblems(c *cli.Context, what string, p archiver.Problems) {
	if p.Count == 0 {
		return
	}
	fmt.Fprintf(c.App.Writer, "  %-10s %d\n", what, p.Count)
	for _, first := range p.First {
		fmt.Fprintf(c.App.Writer, "    %q\n", first)
	}
}
