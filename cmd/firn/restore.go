package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"

	"github.com/chipster/firn/internal/restore"
)

func restoreCommand() *cli.Command {
	return &cli.Command{
		Name:      "restore",
		Usage:     "write the files of a version into a folder",
		ArgsUsage: "ROOT VERSION [PATTERN...]",
		Description: `Restores a version from the archive ROOT: all files, or those that match one of
the patterns, which are paths in the version with *, ?, [...], {a,b} and **. A
folder stands for all below it.

Every file is checked against the SHA-512 of the list before it gets its name.
Run it again to continue: what is there already is skipped. A file that is
there and differs is left alone, unless with --overwrite. What could not be
restored is logged; the exit code is 3 then. Owners are not recorded.

With --shard, several machines restore together into one folder that all of them
see: each takes those files whose paths' hashes fall to it. All have to be told
the same number of shards, and the full name of the version. A shard that was
stopped is run again.

Examples:
   firn restore /mnt/archive file-storage/latest --to /tmp/restored --key firn.private.base64
   firn restore /mnt/archive file-storage_2026-01-02 --to /tmp/restored 'ab/**' cd/file
   firn restore /mnt/archive file-storage_2026-01-02T01:10:00.000Z --to /srv/new --key firn.private.base64 --shard 2/4

The dump of a database is restored with firn restore db; an archive in a folder
that is called db is ./db.`,
		Subcommands:     []*cli.Command{restoreDatabaseCommand()},
		HideHelpCommand: true, // an archive may be in a folder of that name
		Flags: append(keyFlags(),
			catalogFlag(), trustFlag(),
			&cli.PathFlag{Name: "to", Usage: "write into the folder `DIR`, which is made if need be"},
			&cli.BoolFlag{Name: "overwrite", Usage: "replace files that differ"},
			&cli.BoolFlag{Name: "dry-run", Usage: "only say what would be restored"},
			shardFlag("restore"),
			&cli.IntFlag{Name: "workers", Usage: "restore `N` files at once (default: two a processor)"},
			&cli.BoolFlag{Name: "json", Usage: "print the report as JSON"},
		),
		Action: runRestore,
	}
}

func runRestore(c *cli.Context) error {
	args, err := arguments(c, "ROOT", "VERSION", "…")
	if err != nil {
		return err
	}
	o := restore.Options{
		To: c.Path("to"), Patterns: args[2:], Workers: c.Int("workers"), Overwrite: c.Bool("overwrite"), DryRun: c.Bool("dry-run"),
		Logger: logger(c),
	}
	if o.To == "" {
		return usagef("--to is missing: name the folder to restore into")
	}
	if o.Shard, err = shardOf(c); err != nil {
		return err
	}
	if o.Opener, err = openerOf(c); err != nil {
		return err
	}
	defer o.Opener.Wipe()
	if o.Catalog, o.Version, err = openVersion(c, args[0], args[1]); err != nil {
		return err
	}
	defer o.Catalog.Close()
	if name := o.Version.Name.String(); !o.Shard.IsZero() && args[1] != name {
		return usagef("with --shard, VERSION has to be a full name, such as %s: %q can be another version for a machine that comes later", name, args[1])
	}
	bar := newProgress(c, "restoring", o.Version.Size/int64(max(o.Shard.Count, 1)))
	o.Progress = bar.Add
	collectRarely(o.Workers)
	report, err := restore.Run(c.Context, o)
	bar.Done()
	if report == nil {
		return err
	}
	return errors.Join(keyHint(err), printRestore(c, report))
}

// collectRarely lets garbage wait. Little is in use while small files are restored,
// and each leaves some: with Go's defaults, it is collected every hundred files,
// which was a quarter of 2.3 s that 20,000 of 10 kB took. The limit is above what
// is in use with large files, some 24 MiB for each that is written: below, garbage
// would be collected without end. What the environment says comes first.
func collectRarely(workers int) {
	if workers <= 0 {
		workers = 2 * runtime.GOMAXPROCS(0)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(128+24*workers) << 20)
	}
}

func printRestore(c *cli.Context, r *restore.Report) error {
	if c.Bool("json") {
		return printJSON(c, r)
	}
	did := "restored"
	if r.DryRun {
		did = "would be restored"
	}
	_, err := fmt.Fprintf(c.App.Writer, "%s: %d files, %s %s to %s", r.Version, r.Restored.Files, humanBytes(r.Restored.Bytes), did, shown(r.To))
	if err == nil && r.Shard != "" {
		_, err = fmt.Fprintf(c.App.Writer, " as shard %s", r.Shard)
	}
	if err == nil && r.Skipped.Files > 0 {
		_, err = fmt.Fprintf(c.App.Writer, "; %d were there already", r.Skipped.Files)
	}
	if err == nil {
		_, err = fmt.Fprintln(c.App.Writer)
	}
	return err
}
