package main

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/chipster/firn/internal/drill"
	"github.com/chipster/firn/internal/postgres"
	"github.com/chipster/firn/internal/restore"
	"github.com/chipster/firn/internal/runs"
)

func drillCommand() *cli.Command {
	return &cli.Command{
		Name:      "drill",
		Usage:     "restore a sample and compare it, as proof that backups can be restored",
		ArgsUsage: "ROOT [STORAGE...]",
		Description: `Restores some of the archive ROOT, or of some storages, into a new folder,
compares it, and removes it again: of files, a random sample of the newest
version and of an older one; of a database, the newest dump. Run it every month.

Each file is read again from the disk, and its size and SHA-512 are compared with
the list. The smallest file and the largest that leaves room for others are always
tried. What was drawn and has no room, in --max-size or in nine tenths of what is
free, is left out; the report counts it.

A dump is restored in the server that --database names: in a new database, which
is dropped afterwards, and whose rows are counted as at the backup. The user must
be allowed to create databases, and be a member of the roles that own the tables;
a superuser need not be, and better is none: a dump is a program of the database's.
No other database is touched. Without --database, the dump is restored as a
file, its SHA-512 is compared, and its end or its list of contents is looked at.

The folder holds what was backed up, unsealed; only its user can read it. When
the program is killed, it and the database stay, and later drills name them.

The exit code is 3 where there are problems, 5 where all that is wrong is that no
key given fits, and 4 where there is nothing to try. How long a whole restore
would take is an estimate from the sample's speed.

Examples:
   firn drill /mnt/archive --key firn.private.base64
   firn drill /mnt/archive file-storage --files 1000 --scratch /srv/scratch --key firn.private.base64
   firn drill /mnt/archive --database postgres://drill@localhost/ --password-file secret --key firn.private.base64`,
		Flags: append(append(keyFlags(),
			catalogFlag(), trustFlag(),
			&cli.IntFlag{Name: "files", Value: 100, Usage: "try `N` files of each version, chosen at random"},
			&cli.StringFlag{Name: "max-size", Value: "10GiB", Usage: "restore at most `SIZE` of each version of files"},
			&cli.PathFlag{Name: "scratch", Usage: "restore into a new folder in `DIR` (default: $TMPDIR, else /tmp)"},
			&cli.StringFlag{Name: "database", Usage: "try dumps in the server postgres://USER@HOST:PORT/, the `ADDRESS` without a password"},
			&cli.PathFlag{Name: "password-file", Usage: "`FILE` with the password for the server"},
			&cli.PathFlag{Name: "pg-bin", Usage: pgBinUsage},
			&cli.BoolFlag{Name: "keep", Usage: "leave what was restored, for a look at it"},
		), reportFlags()...),
		Action: runDrill,
	}
}

func runDrill(c *cli.Context) error {
	args, err := arguments(c, "ROOT", "…")
	if err != nil {
		return err
	}
	o := drill.Options{
		Storages: args[1:], Files: c.Int("files"), Scratch: c.Path("scratch"), Keep: c.Bool("keep"),
		Tools: postgres.Tools{Dir: c.Path("pg-bin")},
	}
	if o.Files < 1 {
		return usagef("--files is %d, must be 1 or more", o.Files)
	}
	if o.MaxBytes, err = parseBytes(c.String("max-size")); err != nil {
		return err
	}
	if o.MaxBytes == 0 {
		return usagef("--max-size is %q, which restores nothing", c.String("max-size"))
	}
	if c.IsSet("database") || c.IsSet("password-file") {
		if o.Server, err = databaseAt(c, "database"); err != nil {
			return err
		}
	}
	if o.Opener, err = openerOf(c); err != nil {
		return err
	}
	defer o.Opener.Wipe()
	rec, err := newRecorder(c)
	if err != nil {
		return err
	}
	defer rec.finish()
	var report *drill.Report
	err = rec.run(drillJob, drillJob, func(c *cli.Context, run *runs.Active) (err error) {
		if o.Catalog, err = openCatalog(c, args[0]); err != nil {
			return err
		}
		defer o.Catalog.Close()
		report, err = drillWithProgress(c, o, run)
		return err
	})
	if report == nil || c.Context.Err() != nil {
		return keyHint(err)
	}
	return errors.Join(keyHint(err), printDrill(c, args[0], report))
}

// drillJob is what a drill is called in records of runs, and as a role in the
// configuration.
const drillJob = "drill"

// drillWithProgress drills, and tells the run of it.
func drillWithProgress(c *cli.Context, o drill.Options, run *runs.Active) (*drill.Report, error) {
	var bar *progress
	o.Logger = logger(c)
	o.Planned = func(files int, bytes int64) { bar = newProgress(c, "restoring", bytes).ofRun(run, files) }
	o.Progress = func(files int, bytes int64) { bar.Add(files, bytes) }
	report, err := drill.Run(c.Context, o)
	if bar != nil {
		bar.Done()
	}
	if report != nil {
		countDrill(run, report)
	}
	return report, err
}

func countDrill(run *runs.Active, r *drill.Report) {
	for state, n := range map[string]restore.Tally{"chosen": r.Chosen, "right": r.Right} {
		run.CountFiles(state, n.Files)
		run.CountBytes(state, n.Bytes)
	}
	for _, t := range r.Trials {
		for _, p := range t.Problems.First {
			run.Problem(fmt.Sprintf("%s: %s: %s", t.Version, p.Path, p.Reason))
		}
	}
}

func printDrill(c *cli.Context, root string, r *drill.Report) error {
	if c.Bool("json") {
		return printJSON(c, r)
	}
	out := newLines(c.App.Writer)
	for _, t := range r.Trials {
		printTrial(out, t)
	}
	for _, what := range r.Kept {
		fmt.Fprintf(out, "kept: %s; remove it when you have seen it\n", printable(what))
	}
	for _, what := range r.Leftovers {
		fmt.Fprintf(out, "left by an earlier drill: %s; remove it\n", printable(what))
	}
	fmt.Fprintf(out, "%s: %d versions tried, %d of %d files are right, %s in %s; %s\n", shown(root), len(r.Trials),
		r.Right.Files, r.Chosen.Files, humanBytes(r.Right.Bytes), humanSeconds(r.Seconds), drillVerdict(r))
	return out.Flush()
}

func drillVerdict(r *drill.Report) string {
	switch r.Verdict {
	case drill.Good:
		return "no problems"
	case drill.Unfinished:
		return fmt.Sprintf("not finished: %d problems", r.Problems)
	}
	return fmt.Sprintf("%d problems", r.Problems)
}

// printTrial prints a block of lines.
func printTrial(out lines, t *drill.Trial) {
	fmt.Fprintf(out, "%s, %s old: ", t.Version, humanAge(t.AgeSeconds))
	if t.Database {
		fmt.Fprintf(out, "dump of %s", humanBytes(t.Listed.Bytes))
	} else {
		fmt.Fprintf(out, "%d of %d files tried are right, %s", t.Right.Files, t.Chosen.Files, humanBytes(t.Right.Bytes))
	}
	if t.BytesPerSecond > 0 {
		fmt.Fprintf(out, " in %s, %.1f MiB/s", humanSeconds(t.Seconds), t.BytesPerSecond/(1<<20))
	}
	fmt.Fprintln(out)
	if t.Right.Files > 0 && t.Database {
		fmt.Fprintf(out, "  dump      %s\n", dumpVerdict(t))
	}
	if t.LeftOut.Files > 0 {
		fmt.Fprintf(out, "  left out  %d files drawn, %s, for which there is no room\n", t.LeftOut.Files, humanBytes(t.LeftOut.Bytes))
	}
	if t.WholeSeconds > 0 {
		fmt.Fprintf(out, "  estimate  all of it, %d files, %s, would take about %s at this speed\n", t.Listed.Files, humanBytes(t.Listed.Bytes), humanSeconds(t.WholeSeconds))
	}
	for _, p := range t.Problems.First {
		fmt.Fprintf(out, "  problem   %s: %s\n", printable(cmp.Or(p.Path, t.Version)), printable(p.Reason))
	}
	if more := t.Problems.Count - int64(len(t.Problems.First)); more > 0 {
		fmt.Fprintf(out, "            and %d more\n", more)
	}
}

func dumpVerdict(t *drill.Trial) string {
	switch {
	case t.Server && t.RowsCompared:
		return fmt.Sprintf("restored in the server: %s, as recorded", t.Rows)
	case t.Server:
		return fmt.Sprintf("restored in the server: %s, not compared, as none are recorded", t.Rows)
	case t.Format == string(postgres.Plain):
		return "restored as a file, and its end is there; no server was tried"
	case t.Format == string(postgres.Custom):
		return "restored as a file, and pg_restore can list it; no server was tried"
	}
	return "restored as a file; neither a server nor pg_restore was tried"
}

// humanSeconds is for people: to the millisecond, second or minute.
func humanSeconds(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	if d < 2*time.Hour {
		return humanDuration(d)
	}
	return fmt.Sprintf("%.1f h", d.Hours())
}

func humanAge(seconds int64) string {
	d := time.Duration(seconds) * time.Second
	switch {
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int64(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int64(d.Hours()))
	}
	return fmt.Sprintf("%d days", int64(d.Hours()/24))
}
