package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/chipster/firn/internal/config"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/keys"
	"github.com/chipster/firn/uploader"
)

func uploadCommand() *cli.Command {
	return &cli.Command{
		Name:        "upload",
		Usage:       "back up to the bucket",
		Subcommands: []*cli.Command{uploadFilesCommand()},
		Action: func(c *cli.Context) error {
			return usagef("what is to be uploaded? see firn upload --help")
		},
	}
}

// storageRole is the file storage's in the configuration: backup-bucket-file-storage.
const storageRole = "file-storage"

var uploadSettings = []setting{
	{flag: "name", key: "file-storage-id", usage: "`NAME` of the storage, the first part of the backup's name"},
	{flag: "passphrase-file", key: "backup-gpg-passphrase-file", usage: "seal with the passphrase in `FILE`, where no recipient is given"},
}

func uploadFilesCommand() *cli.Command {
	return &cli.Command{
		Name:      "files",
		Usage:     "back up the files of a storage",
		ArgsUsage: "STORAGE",
		Description: `Seals the files below the folder STORAGE that are new or changed since the
newest archive, and uploads them and then the list of all. A file counts as
changed when its size or its modification time differs.

Nothing is encrypted where neither a recipient nor a passphrase is given or
configured.

Examples:
   firn upload files /opt/storage --store s3://backup --s3-endpoint a3s.fi \
       --recipient firn.public.asc --name file-storage
   firn upload files /opt/storage --config /opt/chipster/conf/chipster.yaml
   firn upload files /opt/storage --store file:///backup --recipient a.asc --recipient b.asc \
       --exclude 'cache/**' --exclude '*.tmp'`,
		Flags: append(settingFlags(append(storeSettings, uploadSettings...)),
			&cli.StringSliceFlag{Name: "recipient", Usage: "seal for the public key in `KEY.asc`; may be given several times"},
			&cli.StringSliceFlag{Name: "exclude", Usage: "leave out what matches `PATTERN`; without a slash it is matched against names, with one against paths; ** matches any folders"},
			&cli.BoolFlag{Name: "checksum", Usage: "compare contents to find what has changed"},
			&cli.BoolFlag{Name: "full", Usage: "upload all files, changed or not"},
			&cli.IntFlag{Name: "workers", Usage: "make `N` packages side by side, 48 MiB of memory each (default: one for each processor, at most 4)"},
			&cli.BoolFlag{Name: "json", Usage: "print the report as JSON"},
		),
		Action: uploadFiles,
	}
}

func uploadFiles(c *cli.Context) error {
	args, err := arguments(c, "STORAGE")
	if err != nil {
		return err
	}
	cfg, err := configOf(c, uploadSettings...)
	if err != nil {
		return err
	}
	o := uploader.Options{
		Storage: args[0], Exclude: c.StringSlice("exclude"), Checksum: c.Bool("checksum"), Full: c.Bool("full"),
		Workers: c.Int("workers"), Logger: logger(c),
	}
	if o.Name, err = cfg.String("file-storage-id", storageRole); err != nil {
		return err
	}
	if o.Recipients, err = recipientsOf(c, cfg, storageRole); err != nil {
		return err
	}
	if o.Store, err = openConfiguredStore(c, cfg, storageRole); err != nil {
		return err
	}
	var bar *progress
	o.Planned = func(_ int, bytes int64) { bar = newProgress(c, "upload", bytes) }
	o.Progress = func(files int, bytes int64) { bar.Add(files, bytes) }
	report, err := uploader.Run(c.Context, o)
	if bar != nil {
		bar.Done()
	}
	if report == nil {
		return err
	}
	return errors.Join(err, printUpload(c, report))
}

// recipientsOf tells for whom to seal: flags before the configuration, keys
// before a passphrase.
func recipientsOf(c *cli.Context, cfg *config.Config, role string) (r envelope.Recipients, err error) {
	var errs []error
	for _, name := range c.StringSlice("recipient") {
		data, err := os.ReadFile(name)
		if err == nil {
			list, perr := keys.ParsePublic(data)
			r.Keys, err = append(r.Keys, list...), perr
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("recipient %s: %w", name, err))
		}
	}
	if len(r.Keys) > 0 || len(errs) > 0 {
		return r, errors.Join(errs...)
	}
	passphrase := cfg.Get("backup-gpg-passphrase", role)
	armored := cfg.Get("backup-gpg-public-key", role)
	switch {
	case c.IsSet("passphrase-file"):
	case armored.Err != nil:
		return r, armored.Err
	case armored.Text != "":
		if r.Keys, err = keys.ParsePublic([]byte(armored.Text)); err != nil {
			return r, fmt.Errorf("backup-gpg-public-key in %s: %w", armored.Source, err)
		}
		return r, nil
	}
	if passphrase.Err != nil {
		return r, passphrase.Err
	}
	r.Passphrase = []byte(passphrase.Text)
	if !r.Encrypts() {
		logger(c).Warn("neither a recipient nor a passphrase is given: the backup is not encrypted")
	}
	return r, nil
}

func printUpload(c *cli.Context, r *uploader.Report) error {
	if c.Bool("json") {
		return printJSON(c, r)
	}
	w := c.App.Writer
	fmt.Fprintf(w, "%s: %d files, %s\n", r.Backup, r.Files, humanBytes(r.Size))
	fmt.Fprintf(w, "  new        %d files, %s, sealed %s in %d packages\n", r.New, humanBytes(r.NewSize), humanBytes(r.Sealed), r.Packages)
	fmt.Fprintf(w, "  unchanged  %d files\n", r.Files-r.New)
	if r.Full != "" {
		fmt.Fprintf(w, "  full       %s\n", r.Full)
	}
	if r.Vanished > 0 {
		fmt.Fprintf(w, "  vanished   %d files\n", r.Vanished)
	}
	if r.LeftOut > 0 {
		fmt.Fprintf(w, "  left out   %d files\n", r.LeftOut)
	}
	for _, e := range r.Examples {
		fmt.Fprintf(w, "    %q: %s\n", e.Path, e.Reason)
	}
	_, err := fmt.Fprintf(w, "  took       %s\n", humanDuration(r.Duration))
	return err
}
