package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/chipster/firn/uploader"
)

func uploadAllCommand() *cli.Command {
	return &cli.Command{
		Name:      "all",
		Usage:     "back up the files of a storage and all databases",
		ArgsUsage: "[STORAGE]",
		Description: `The nightly run of a host that has both: firn upload files, then firn upload db
of all databases that are configured, with one report and one exit code. What
fails does not keep the rest from being backed up; the exit code is 3 then.

Examples:
   firn upload all /opt/storage --config /opt/chipster/conf/chipster.yaml
   firn upload all --vacuumlo --json     # the folder is configured as file-storage-path`,
		Flags:  slices.Concat(uploadFlags(fileSettings, postgresSettings), fileFlags(), databaseFlags(), reportFlags()),
		Action: uploadAll,
	}
}

// allReport is what became of all backups.
type allReport struct {
	Files      *uploader.Report `json:"files,omitempty"`
	FilesError string           `json:"filesError,omitempty"`
	Databases  []databaseResult `json:"databases"`
}

func uploadAll(c *cli.Context) error {
	cfg, err := configOf(c, slices.Concat(sealSettings, fileSettings, postgresSettings)...)
	if err != nil {
		return err
	}
	if err := errors.Join(checkFileFlags(c), checkDatabaseFlags(c)); err != nil {
		return err
	}
	storage, err := storageOf(c, cfg)
	if err != nil {
		return err
	}
	roles := cfg.Roles()
	if len(roles) == 0 {
		return usagef("no database is configured: set db-url-<role> to its address, or use firn upload files")
	}
	rec, err := newRecorder(c)
	if err != nil {
		return err
	}
	defer rec.finish()
	var r allReport
	var failed []error
	done := 0
	if r.Files, err = rec.files(cfg, storage); err != nil {
		r.FilesError = err.Error()
		failed = append(failed, fmt.Errorf("files: %w", err))
		logger(c).Error("files not backed up, or not all", "storage", storage, "error", err)
	}
	if r.Files != nil {
		done++
	}
	if c.Context.Err() == nil {
		results, errs := rec.databases(cfg, roles)
		r.Databases = results
		done += len(results) - len(errs)
		failed = append(failed, errs...)
	}
	return errors.Join(verdict(done, failed), printAll(c, &r))
}

func printAll(c *cli.Context, r *allReport) error {
	if c.Bool("json") {
		return printJSON(c, r)
	}
	if r.Files != nil {
		if err := printFiles(c.App.Writer, r.Files); err != nil {
			return err
		}
	}
	return printDatabases(c.App.Writer, r.Databases)
}
