package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/chipster/firn/internal/config"
	"github.com/chipster/firn/internal/postgres"
	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/uploader"
)

const pgBinUsage = "use the programs of PostgreSQL in the folder `DIR` (default: a version that fits, from $PATH or where Debian and Red Hat put them)"

var postgresSettings = []setting{
	{flag: "pg-bin", key: "backup-pg-bin", usage: pgBinUsage},
}

// databaseFlags are the flags that say how to dump.
func databaseFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "format", Value: string(postgres.Plain), Usage: "`FORMAT` of the dump: plain, which is SQL for psql, or custom, for pg_restore"},
		&cli.BoolFlag{Name: "clean", Usage: "let a plain dump drop what it creates first (pg_dump --clean --if-exists)"},
		&cli.BoolFlag{Name: "vacuumlo", Usage: "delete the large objects that no table refers to before the dump"},
	}
}

func uploadDatabasesCommand() *cli.Command {
	return &cli.Command{
		Name:      "db",
		Usage:     "back up PostgreSQL databases",
		ArgsUsage: "[ROLE...]",
		Description: `Makes a full backup of each database that is configured as db-url-<role>, or of
the roles named. pg_dump's output is compressed, sealed and uploaded as it
comes; nothing is written to a disk. The rows of each table are counted in the
same moment, for a restore to be checked against.

An address is jdbc:postgresql://host:5432/name or postgres://host:5432/name,
with parameters such as ?sslmode=verify-full&sslrootcert=ca.pem behind it. User
and password are db-user and db-pass-<role>, or in the file that
db-pass-<role>-file names. In the environment, the - are _: db_url_auth.

A database that fails does not keep the others from being backed up; the exit
code is 3 then.

Examples:
   firn upload db --config /opt/chipster/conf/chipster.yaml
   firn upload db session-db --store s3://backup --s3-endpoint a3s.fi --recipient firn.public.asc
   db_url_wiki=postgres://wiki@localhost/wiki firn upload db --store file:///backup --recipient a.asc`,
		Flags:  slices.Concat(uploadFlags(postgresSettings), databaseFlags(), reportFlags()),
		Action: uploadDatabases,
	}
}

func uploadDatabases(c *cli.Context) error {
	cfg, err := configOf(c, slices.Concat(sealSettings, postgresSettings)...)
	if err != nil {
		return err
	}
	if err := checkDatabaseFlags(c); err != nil {
		return err
	}
	roles := slices.Compact(slices.Sorted(slices.Values(c.Args().Slice())))
	for _, role := range roles {
		if cfg.Get("db-url", role).Text == "" {
			return usagef("db-url-%s is not configured: set it to the address of the database", role)
		}
	}
	if len(roles) == 0 {
		roles = cfg.Roles()
	}
	if len(roles) == 0 {
		return usagef("no database is configured: set db-url-<role> to its address; see %s --help", c.Command.HelpName)
	}
	rec, err := newRecorder(c)
	if err != nil {
		return err
	}
	defer rec.finish()
	results, failed := rec.databases(cfg, roles)
	if c.Bool("json") {
		err = printJSON(c, map[string][]databaseResult{"databases": results})
	} else {
		err = printDatabases(c.App.Writer, results)
	}
	return errors.Join(verdict(len(results)-len(failed), failed), err)
}

func checkDatabaseFlags(c *cli.Context) error {
	switch format := postgres.Format(c.String("format")); {
	case format != postgres.Plain && format != postgres.Custom:
		return usagef("--format is %q, must be plain or custom", format)
	case format == postgres.Custom && c.Bool("clean"):
		return usagef("--clean is for plain dumps: with the custom format, pg_restore decides")
	}
	return nil
}

// databaseResult is what became of one database: a report or an error.
type databaseResult struct {
	Role string `json:"role"`
	*uploader.DatabaseReport
	Error string `json:"error,omitempty"`
}

// databases backs up one database after the other: a server has better things
// to do at night than several dumps at once. Each is a recorded run.
func (r *recorder) databases(cfg *config.Config, roles []string) (results []databaseResult, failed []error) {
	for _, role := range roles {
		var report *uploader.DatabaseReport
		err := r.run(role, role, func(c *cli.Context, run *runs.Active) (err error) {
			report, err = backUpDatabase(c, cfg, role, run)
			return err
		})
		result := databaseResult{Role: role, DatabaseReport: report}
		if err != nil {
			result.Error = err.Error()
			failed = append(failed, fmt.Errorf("%s: %w", role, err))
			logger(r.c).Error("database not backed up", "role", role, "error", err)
		}
		results = append(results, result)
		if r.c.Context.Err() != nil {
			break
		}
	}
	return results, failed
}

// backUpDatabase backs up a database and tells the run of it.
func backUpDatabase(c *cli.Context, cfg *config.Config, role string, run *runs.Active) (*uploader.DatabaseReport, error) {
	o := uploader.DatabaseOptions{
		Role: role, Format: postgres.Format(c.String("format")), Clean: c.Bool("clean"), RemoveOrphans: c.Bool("vacuumlo"), Logger: logger(c),
	}
	var err error
	if o.Database, err = databaseOf(cfg, role); err != nil {
		return nil, err
	}
	if o.Tools.Dir, err = cfg.String("backup-pg-bin", role); err != nil {
		return nil, err
	}
	if o.Recipients, err = recipientsOf(c, cfg, role); err != nil {
		return nil, err
	}
	if o.Signer, err = signerOf(cfg, role); err != nil {
		return nil, err
	}
	if o.Installation, err = installationOf(cfg, role); err != nil {
		return nil, err
	}
	if o.Store, err = openConfiguredStore(c, cfg, role); err != nil {
		return nil, err
	}
	bar := newProgress(c, "dump of "+role, unknownSize).ofRun(run, unknownSize)
	defer bar.Done()
	o.Progress = func(bytes int64) { bar.Add(0, bytes) }
	report, err := uploader.RunDatabase(c.Context, o)
	if report != nil {
		run.Made(report.Backup)
		run.CountFiles("total", 1)
		run.CountBytes("total", report.Size)
		run.CountBytes("sealed", report.Sealed)
	}
	return report, err
}

// databaseOf is the configured address of a role's database, with the user and
// the password that are configured beside it.
func databaseOf(cfg *config.Config, role string) (*postgres.Database, error) {
	url := cfg.Get("db-url", role)
	db, err := postgres.ParseURL(url.Text)
	if err != nil {
		return nil, fmt.Errorf("%s (%s): %w", url.Key, url.Source, err)
	}
	user, err := cfg.String("db-user", role)
	if err != nil {
		return nil, err
	}
	if user != "" {
		db.SetUser(user)
	}
	password, err := cfg.String("db-pass", role)
	if err != nil {
		return nil, err
	}
	if password != "" {
		db.SetPassword(password)
	}
	return db, nil
}

func printDatabases(w io.Writer, results []databaseResult) error {
	for _, r := range results {
		if r.DatabaseReport == nil {
			fmt.Fprintf(w, "%s: no backup: %s\n", r.Role, r.Error)
			continue
		}
		fmt.Fprintf(w, "%s: %s\n", r.Backup, humanBytes(r.Size))
		fmt.Fprintf(w, "  dumped     %s, sealed %s\n", r.Rows.Total(), humanBytes(r.Sealed))
		if _, err := fmt.Fprintf(w, "  took       %s\n", humanDuration(r.Duration)); err != nil {
			return err
		}
	}
	return nil
}

// errSomeFailed says that of several backups some were made.
var errSomeFailed = errors.New("not everything was backed up")

// verdict is the error of several backups. Where some were made it is that, and
// not what the others failed of: the exit code must not say that all did.
func verdict(done int, failed []error) error {
	all := errors.Join(failed...)
	if done == 0 || all == nil || isCancelled(all) {
		return all
	}
	var reasons []string
	for _, err := range failed {
		reasons = append(reasons, err.Error())
	}
	return fmt.Errorf("%w: %s", errSomeFailed, strings.Join(reasons, "; "))
}
