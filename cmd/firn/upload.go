package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/chipster/firn/internal/config"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/keys"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/uploader"
)

func uploadCommand() *cli.Command {
	return &cli.Command{
		Name:        "upload",
		Usage:       "back up to the bucket",
		Subcommands: []*cli.Command{uploadFilesCommand(), uploadDatabasesCommand(), uploadAllCommand()},
		Action: func(c *cli.Context) error {
			return usagef("what is to be uploaded? see firn upload --help")
		},
	}
}

// storageRole is the file storage's in the configuration: backup-bucket-file-storage.
const storageRole = "file-storage"

var (
	sealSettings = []setting{
		{flag: "passphrase-file", key: "backup-gpg-passphrase-file", usage: "seal with the passphrase in `FILE`, where no recipient is given"},
		{flag: "sign-key", key: "backup-gpg-signing-key-file", usage: "sign the lists with the private key in `FILE`"},
		{flag: "sign-passphrase-file", key: "backup-gpg-signing-passphrase-file", usage: "passphrase of that key in `FILE`"},
		{flag: "installation", key: "backup-installation", usage: "say in the lists that they are of the installation `ID`"},
	}
	fileSettings = []setting{
		{flag: "name", key: "file-storage-id", usage: "`NAME` of the storage, the first part of the backup's name"},
	}
)

// uploadFlags are the flags of all uploads.
func uploadFlags(settings ...[]setting) []cli.Flag {
	return append(settingFlags(slices.Concat(append([][]setting{storeSettings, sealSettings}, settings...)...)),
		&cli.StringSliceFlag{Name: "recipient", Usage: "seal for the public key in `KEY.asc`; may be given several times"},
	)
}

// reportFlags are the flags of uploads that are made once.
func reportFlags() []cli.Flag {
	return append(recordFlags(), &cli.BoolFlag{Name: "json", Usage: "print the report as JSON"})
}

// What a session key is for, in --session-key-per.
const (
	keyPerPackage = "package"
	keyPerFile    = "file"
)

// fileFlags are the flags that choose files.
func fileFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "exclude", Usage: "leave out what matches `PATTERN`; without a slash it is matched against names, with one against paths; ** matches any folders"},
		&cli.BoolFlag{Name: "checksum", Usage: "compare contents to find what has changed"},
		&cli.BoolFlag{Name: "full", Usage: "upload all files, changed or not"},
		&cli.IntFlag{Name: "workers", Usage: "make `N` packages side by side, about 64 MiB of memory each (default: one for each processor, at most 4); serve --archive fetches so many at once (default: 4)"},
		&cli.StringFlag{Name: "session-key-per", Value: keyPerPackage, Usage: "encrypt with one session key per `UNIT`: package, or file, whose key then opens that file only; small files take far longer to open then"},
	}
}

func uploadFilesCommand() *cli.Command {
	return &cli.Command{
		Name:      "files",
		Usage:     "back up the files of a storage",
		ArgsUsage: "[STORAGE]",
		Description: `Seals the files below the folder STORAGE that are new or changed since the
newest archive, and uploads them and then the list of all. A file counts as
changed when its size or its modification time differs. STORAGE can be
configured as file-storage-path.

Nothing is encrypted where neither a recipient nor a passphrase is given or
configured.

The files of a package, up to some thousands, and those of sixteen packages of
small files, are encrypted with one session key, which is sealed for the
recipients: whoever opens them unseals it once.
With --session-key-per file, one file can be handed to somebody with its own
key, which opens no other; but each has to be unsealed by itself, which takes
longer than all else for small files, and a tenth of a second a file, on both
sides, with a passphrase.

With --sign-key the list is signed, and those who --trust that key's public part
take nothing else. It should be another key than the one that opens backups.

An upload that was stopped is gone on with by the next one. While another host
uploads the same storage, the exit code is 6.

Each list says which installation's it is, by a hash of what tells the folder
from others. Backups of another installation under the same name are refused.
After a move to a new disk or server, --installation or backup-installation
gives the ID of before, which the message names.

With --shard, several machines upload together, side by side or one after the
other: each takes those files whose paths' hashes fall to it. The backup is there
when the last one is done. All have to be told the same number of shards. A shard
that was stopped is run again, for up to three days.

Memory does not grow with the number of files. A million of them take about
1 GB in $TMPDIR (/tmp) while it runs.

Examples:
   firn upload files /opt/storage --store s3://backup --s3-endpoint a3s.fi \
       --recipient firn.public.asc --name file-storage
   firn upload files /opt/storage --config /opt/chipster/conf/chipster.yaml
   firn upload files /opt/storage --store file:///backup --recipient a.asc --recipient b.asc \
       --exclude 'cache/**' --exclude '*.tmp'
   firn upload files /opt/storage --config /opt/chipster/conf/chipster.yaml --shard 2/4`,
		Flags:  slices.Concat(uploadFlags(fileSettings), fileFlags(), []cli.Flag{shardFlag("upload")}, reportFlags()),
		Action: uploadFiles,
	}
}

func uploadFiles(c *cli.Context) error {
	cfg, err := configOf(c, slices.Concat(sealSettings, fileSettings)...)
	if err != nil {
		return err
	}
	if err := checkFileFlags(c); err != nil {
		return err
	}
	storage, err := storageOf(c, cfg)
	if err != nil {
		return err
	}
	rec, err := newRecorder(c)
	if err != nil {
		return err
	}
	defer rec.finish()
	report, err := rec.files(cfg, storage)
	if report == nil {
		return err
	}
	if c.Bool("json") {
		return errors.Join(err, printJSON(c, report))
	}
	return errors.Join(err, printFiles(c.App.Writer, report))
}

func checkFileFlags(c *cli.Context) error {
	if per := c.String("session-key-per"); per != keyPerPackage && per != keyPerFile {
		return usagef("--session-key-per is %q, must be %s or %s", per, keyPerPackage, keyPerFile)
	}
	return nil
}

// storageOf is the folder to back up: the argument, or what is configured.
func storageOf(c *cli.Context, cfg *config.Config) (string, error) {
	args, err := arguments(c, "…")
	switch {
	case err != nil:
		return "", err
	case len(args) > 1:
		return "", usagef("%q is one argument too many; see %s --help", args[1], c.Command.HelpName)
	case len(args) == 1:
		return args[0], nil
	}
	storage, err := cfg.String("file-storage-path", storageRole)
	if err == nil && storage == "" {
		err = usagef("STORAGE is missing, and file-storage-path is not configured; see %s --help", c.Command.HelpName)
	}
	return storage, err
}

// files backs up a storage, as a recorded run.
func (r *recorder) files(cfg *config.Config, storage string) (report *uploader.Report, err error) {
	name, err := cfg.String("file-storage-id", storageRole)
	if err != nil {
		return nil, err
	}
	err = r.run(name, storageRole, func(c *cli.Context, run *runs.Active) error {
		report, err = backUpFiles(c, cfg, storage, run)
		return err
	})
	return report, err
}

// backUpFiles backs up a storage and tells the run of it.
func backUpFiles(c *cli.Context, cfg *config.Config, storage string, run *runs.Active) (*uploader.Report, error) {
	o := uploader.Options{
		Storage: storage, Exclude: c.StringSlice("exclude"), Checksum: c.Bool("checksum"), Full: c.Bool("full"),
		SessionKeyPerFile: c.String("session-key-per") == keyPerFile, Workers: c.Int("workers"), Logger: logger(c),
	}
	var err error
	if o.Shard, err = shardOf(c); err != nil {
		return nil, err
	}
	if o.Name, err = cfg.String("file-storage-id", storageRole); err != nil {
		return nil, err
	}
	if o.Recipients, err = recipientsOf(c, cfg, storageRole); err != nil {
		return nil, err
	}
	if o.Signer, err = signerOf(cfg, storageRole); err != nil {
		return nil, err
	}
	if o.Installation, err = installationOf(cfg, storageRole); err != nil {
		return nil, err
	}
	if o.Store, err = openConfiguredStore(c, cfg, storageRole); err != nil {
		return nil, err
	}
	look := newLooking(c)
	var bar *progress
	o.Scanned = look.Add
	o.Planned = func(files int, bytes int64) {
		look.Done()
		bar = newProgress(c, "upload", bytes).ofRun(run, files)
	}
	o.Progress = func(files int, bytes int64) { bar.Add(files, bytes) }
	report, err := uploader.Run(c.Context, o)
	look.Done()
	if bar != nil {
		bar.Done()
	}
	if report != nil {
		countUpload(run, report)
	}
	return report, err
}

// installationOf is what the lists of a role say whose they are; "": what the
// uploader finds out.
func installationOf(cfg *config.Config, role string) (string, error) {
	id, err := cfg.String("backup-installation", role)
	if err == nil && manifest.CheckInstallation(id) != nil {
		err = usageError{fmt.Errorf("backup-installation: %w", manifest.CheckInstallation(id))}
	}
	return id, err
}

func countUpload(run *runs.Active, r *uploader.Report) {
	if len(r.Waiting) == 0 {
		run.Made(r.Backup)
	}
	for state, n := range map[string]int{
		"total": r.Files, "new": r.New, "resumed": r.Resumed, "unchanged": r.Files - r.New - r.Resumed,
		"vanished": r.Vanished, "left_out": r.LeftOut,
	} {
		run.CountFiles(state, int64(n))
	}
	for state, n := range map[string]int64{"total": r.Size, "new": r.NewSize, "resumed": r.ResumedSize, "sealed": r.Sealed} {
		run.CountBytes(state, n)
	}
	for _, e := range r.Examples {
		run.Problem(fmt.Sprintf("left out: %q: %s", e.Path, e.Reason))
	}
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

func printFiles(w io.Writer, r *uploader.Report) error {
	fmt.Fprintf(w, "%s: %d files, %s\n", r.Backup, r.Files, humanBytes(r.Size))
	if r.Shard != "" {
		fmt.Fprintf(w, "  shard      %s\n", r.Shard)
	}
	if len(r.Waiting) > 0 {
		fmt.Fprintf(w, "  waits      for %s: there is no backup before\n", strings.Join(r.Waiting, ", "))
	}
	fmt.Fprintf(w, "  new        %d files, %s, sealed %s in %d packages\n", r.New, humanBytes(r.NewSize), humanBytes(r.Sealed), r.Packages)
	if r.Resumed > 0 {
		fmt.Fprintf(w, "  resumed    %d files, %s, sealed by an earlier run\n", r.Resumed, humanBytes(r.ResumedSize))
	}
	fmt.Fprintf(w, "  unchanged  %d files\n", r.Files-r.New-r.Resumed)
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
