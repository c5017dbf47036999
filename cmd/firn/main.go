// Command firn backs up immutable files and databases through an object store
// to an archive, and mounts and restores any version of it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/urfave/cli/v2"
)

func main() {
	cli.VersionFlag = &cli.BoolFlag{Name: "version", Usage: "print the version"} // -v is --verbose
	os.Exit(run(os.Args))
}

func run(args []string) int {
	if isMountHelper(args) {
		return runMountHelper(args[1:])
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	app := newApp()
	err := app.RunContext(ctx, reorder(app, args))
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil && isCancelled(err) {
		fmt.Fprintln(os.Stderr, "firn: interrupted; run it again to go on")
		return exitInterrupted
	}
	fmt.Fprintf(os.Stderr, "firn: %v\n", err)
	return exitCode(err)
}

func newApp() *cli.App {
	app := &cli.App{
		Name:    "firn",
		Usage:   "back up immutable files and databases, mount and restore any version",
		Version: version(),
		Description: `A backup goes from a storage to a bucket (upload), and from there to an archive
(archive). Any version in the archive can be mounted or restored. The storage's
host needs a public key only; only mount, restore and drill need the private one.
serve does upload or archive every night, and shows a page.

Examples:
   firn key generate
   firn upload files /opt/storage --store s3://backup --recipient firn.public.asc
   firn archive /mnt/archive --store s3://backup
   firn versions /mnt/archive
   firn mount /mnt/archive /mnt/versions --key firn.private.base64
   firn restore /mnt/archive file-storage/latest --to /tmp/restored --key firn.private.base64

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 done, but something is missing,
damaged or left out; 4 not found; 5 no key or no access; 6 in use by another
run; 7 not signed by a trusted key; 130 interrupted.`,
		Commands: []*cli.Command{
			uploadCommand(), archiveCommand(),
			versionsCommand(), lsCommand(), diffCommand(), verifyCommand(), drillCommand(),
			mountCommand(), restoreCommand(), serveCommand(),
			keyCommand(), configCommand(),
			completionCommand(), completeCommand(), manpagesCommand(),
		},
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "log more"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "log warnings and errors only, show no progress"},
			&cli.StringFlag{Name: "log-format", Value: "text", Usage: "text or json"},
		},
		Before:                    setUpLogging,
		HideHelpCommand:           true,
		UseShortOptionHandling:    true,
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {}, // run prints it and chooses the code
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			return usageError{err}
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usagef("there is no command %q; see firn --help", c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
	}
	reportUsageErrors(app.Commands, app.OnUsageError)
	return app
}

// reportUsageErrors lets commands answer to wrong flags as the program does: the
// library does not pass that on, and prints the whole help with exit code 1.
func reportUsageErrors(commands []*cli.Command, report cli.OnUsageErrorFunc) {
	for _, c := range commands {
		c.OnUsageError = report
		reportUsageErrors(c.Subcommands, report)
	}
}

// buildVersion is set by the Makefile, to what git calls the commit.
var buildVersion string

// version is the Makefile's, else the module's as Go recorded it.
func version() string {
	if buildVersion != "" {
		return buildVersion
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
