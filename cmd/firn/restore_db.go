package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/chipster/firn/internal/postgres"
	"github.com/chipster/firn/internal/restore"
)

func restoreDatabaseCommand() *cli.Command {
	return &cli.Command{
		Name:      "db",
		Usage:     "restore the dump of a database",
		ArgsUsage: "ROOT VERSION",
		Description: `Restores a version of a database from the archive ROOT into the database --to,
which must be there and empty. It does so in one transaction, which is committed
only when the whole dump was read and has the SHA-512 of the list: what fails
leaves the database as it was. Then the rows of each table are counted. Where
they are not as many as when they were dumped, that is reported, and the exit
code is 3.

--no-transaction runs each statement by itself. It is for dumps with more large
objects than the server has room for locks (max_locks_per_transaction); what
fails leaves a database to be dropped.

--clean drops everything that is in the database first, of all schemas, also
what the dump does not have; extensions and default privileges stay. That is
part of the transaction.

The roles that own the tables must exist in the server: create them first, and
restore as that role, as one that is a member of them, or as a superuser. A
dump is a program of the database's: where somebody might have tampered with the
backup, restore it as a role that is no superuser. It cannot run commands on
this host, unless psql is older than 2025-08; a warning says so.

The password is taken from --password-file, PGPASSWORD or ~/.pgpass, and never
from --to: other users see the arguments of a process. The settings of libpq's
addresses go behind the name: ?sslmode=verify-full&sslrootcert=ca.pem.

Examples:
   createdb -h db.example.org -U postgres -O chipster session_db
   firn restore db /mnt/archive session-db-db-backup/latest --key firn.private.base64 \
       --to postgres://chipster@db.example.org/session_db --password-file secret
   firn restore db /mnt/archive session-db-db-backup_2026-01-02 --clean \
       --to postgres://chipster@localhost:5433/session_db`,
		Flags: append(keyFlags(),
			catalogFlag(), trustFlag(),
			&cli.StringFlag{Name: "to", Usage: "restore into the database postgres://USER@HOST:PORT/NAME, the `ADDRESS` without a password"},
			&cli.PathFlag{Name: "password-file", Usage: "`FILE` with the database's password"},
			&cli.BoolFlag{Name: "clean", Usage: "drop everything in the database first"},
			&cli.BoolFlag{Name: "no-transaction", Usage: "restore statement by statement, into an empty database"},
			&cli.PathFlag{Name: "pg-bin", Usage: pgBinUsage},
			&cli.BoolFlag{Name: "json", Usage: "print the report as JSON"},
		),
		Action: runRestoreDatabase,
	}
}

func runRestoreDatabase(c *cli.Context) error {
	args, err := arguments(c, "ROOT", "VERSION")
	if err != nil {
		return err
	}
	o := restore.DatabaseOptions{Tools: postgres.Tools{Dir: c.Path("pg-bin")}, Clean: c.Bool("clean"), NoTransaction: c.Bool("no-transaction"), Logger: logger(c)}
	if o.Clean && o.NoTransaction {
		return usagef("--clean and --no-transaction do not go together: restore into an empty database")
	}
	if o.To, err = databaseAt(c, "to"); err != nil {
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
	bar := newProgress(c, "restoring", o.Version.Size)
	o.Progress = bar.Add
	report, err := restore.Database(c.Context, o)
	bar.Done()
	if report == nil {
		return keyHint(err)
	}
	return errors.Join(err, printRestoredDatabase(c, report))
}

// databaseAt is the address that a flag and --password-file give.
func databaseAt(c *cli.Context, flag string) (*postgres.Database, error) {
	if c.String(flag) == "" {
		return nil, usagef("--%s is missing: give the address of a database, such as postgres://USER@HOST:PORT/NAME", flag)
	}
	d, err := postgres.ParseURL(c.String(flag))
	if err != nil {
		return nil, usageError{fmt.Errorf("--%s: %w", flag, err)}
	}
	if d.HasPassword() {
		return nil, usagef("--%s has a password, which others see in the list of processes: give it with --password-file, PGPASSWORD or ~/.pgpass, and change it", flag)
	}
	if file := c.Path("password-file"); file != "" {
		password, err := readPassphraseFile(file)
		if err != nil {
			return nil, err
		}
		d.SetPassword(string(password))
	}
	return d, nil
}

func printRestoredDatabase(c *cli.Context, r *restore.DatabaseReport) error {
	if c.Bool("json") {
		return printJSON(c, r)
	}
	verdict := "as recorded"
	switch {
	case !r.Checked:
		verdict = "not compared, as none are recorded"
	case len(r.Differences) > 0:
		verdict = "not as recorded"
	}
	w := c.App.Writer
	_, err := fmt.Fprintf(w, "%s: %s restored to %s: %s, %s\n", r.Version, humanBytes(r.Bytes), shown(r.To), r.Total, verdict)
	for _, d := range r.Differences {
		if err == nil {
			_, err = fmt.Fprintf(w, "  %s: %s, expected %s\n", shown(d.Schema+"."+d.Table), rowsOf(d.Found), rowsOf(d.Expected))
		}
	}
	return err
}

func rowsOf(n *int64) string {
	if n == nil {
		return "no table"
	}
	return strconv.FormatInt(*n, 10) + " rows"
}
