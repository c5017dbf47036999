package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/chipster/firn/internal/config"
	"github.com/chipster/firn/internal/objstore"
)

// setting is a flag that stands for a key of the configuration.
type setting struct {
	flag, key, usage string
	isBool           bool
}

// Secrets have flags for the files that hold them only: the arguments of a
// process are for everyone to see.
var storeSettings = []setting{
	{flag: "store", key: "backup-store", usage: "the bucket: s3://`BUCKET`[/prefix], or file:///folder"},
	{flag: "bucket", key: "backup-bucket", usage: "`NAME` of the bucket, where no --store is given"},
	{flag: "s3-endpoint", key: "backup-s3-endpoint", usage: "`HOST` or URL of the S3 service"},
	{flag: "s3-region", key: "backup-s3-region", usage: "`REGION` of the bucket"},
	{flag: "s3-access-key", key: "backup-s3-access-key", usage: "access `KEY`, which is no secret"},
	{flag: "s3-secret-key-file", key: "backup-s3-secret-key-file", usage: "`FILE` with the secret key"},
	{flag: "s3-path-style", key: "backup-s3-path-style-access", usage: "address the bucket as part of the path", isBool: true},
	{flag: "s3-ca-file", key: "backup-s3-ca-file", usage: "`FILE` with certificates to trust besides the system's"},
	{flag: "tls-version", key: "tls-version", usage: "`VERSION` of TLS to use at most: TLSv1.2"},
}

func settingFlags(settings []setting) []cli.Flag {
	flags := []cli.Flag{&cli.PathFlag{Name: "config", Usage: "read `FILE` in place of " + config.DefaultPath}}
	for _, s := range settings {
		if s.isBool {
			flags = append(flags, &cli.BoolFlag{Name: s.flag, Usage: s.usage})
			continue
		}
		flags = append(flags, &cli.StringFlag{Name: s.flag, Usage: s.usage})
	}
	return flags
}

// configOf reads the configuration and lays the flags given over it.
func configOf(c *cli.Context, more ...setting) (*config.Config, error) {
	cfg, err := config.Load(c.Path("config"), os.Environ())
	if err != nil {
		return nil, err
	}
	for _, s := range append(storeSettings, more...) {
		if !c.IsSet(s.flag) {
			continue
		}
		value := c.String(s.flag)
		if s.isBool {
			value = fmt.Sprint(c.Bool(s.flag))
		}
		cfg.Override(s.key, value, "flag --"+s.flag)
	}
	return cfg, nil
}

// openConfiguredStore opens the bucket of a role; "" stands for all roles.
func openConfiguredStore(c *cli.Context, cfg *config.Config, role string) (objstore.Store, error) {
	text, err := cfg.String("backup-store", role)
	if err != nil {
		return nil, err
	}
	if text == "" {
		return nil, usagef("no bucket is given: use --store, or backup-bucket in the configuration")
	}
	url, err := objstore.ParseURL(text)
	if err != nil {
		return nil, usageError{err}
	}
	if url.Scheme == "file" {
		return objstore.OpenDir(url.Path)
	}
	o := objstore.S3Options{Bucket: url.Bucket, Prefix: url.Prefix}
	var errs []error
	for key, field := range map[string]*string{
		"backup-s3-endpoint": &o.Endpoint, "backup-s3-region": &o.Region, "backup-s3-access-key": &o.AccessKey,
		"backup-s3-secret-key": &o.SecretKey, "backup-s3-ca-file": &o.CAFile, "tls-version": &o.MaxTLSVersion,
	} {
		*field, err = cfg.String(key, role)
		errs = append(errs, err)
	}
	o.PathStyle, err = cfg.Bool("backup-s3-path-style-access", role)
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	return objstore.OpenS3(c.Context, o)
}

// setUpLogging makes the logger that all commands share. Log lines and
// progress go to standard error: standard output is for results.
func setUpLogging(c *cli.Context) error {
	level := slog.LevelInfo
	switch {
	case c.Bool("verbose"):
		level = slog.LevelDebug
	case c.Bool("quiet"):
		level = slog.LevelWarn
	}
	options := &slog.HandlerOptions{Level: level}
	switch c.String("log-format") {
	case "text":
		slog.SetDefault(slog.New(slog.NewTextHandler(logOutput, options)))
	case "json":
		slog.SetDefault(slog.New(slog.NewJSONHandler(logOutput, options)))
	default:
		return usagef("--log-format is %q, must be text or json", c.String("log-format"))
	}
	return nil
}

// logger is that of the run under way, where one is recorded.
func logger(c *cli.Context) *slog.Logger {
	if log, ok := c.Context.Value(loggerKey{}).(*slog.Logger); ok {
		return log
	}
	return slog.Default()
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// printJSON prints an indented document.
func printJSON(c *cli.Context, v any) error {
	e := json.NewEncoder(c.App.Writer)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func humanBytes(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

func humanDuration(d time.Duration) string {
	if d >= 10*time.Second {
		return d.Round(time.Second).String()
	}
	return d.Round(time.Millisecond).String()
}

// parseBytes reads a size such as 256MiB or 1GB.
func parseBytes(s string) (int64, error) {
	n, err := humanize.ParseBytes(s)
	if err != nil || n > 1<<62 {
		return 0, usagef("%q is no size such as 256MiB", s)
	}
	return int64(n), nil
}

// arguments returns the positional arguments, of which there must be as many
// as named; with a last name of "…", any number more.
func arguments(c *cli.Context, names ...string) ([]string, error) {
	args := c.Args().Slice()
	need := len(names)
	open := need > 0 && names[need-1] == "…"
	if open {
		need--
	}
	if len(args) < need {
		return nil, usagef("%s is missing; see %s --help", names[len(args)], c.Command.HelpName)
	}
	if len(args) > need && !open {
		return nil, usagef("%q is one argument too many; see %s --help", args[need], c.Command.HelpName)
	}
	return args, nil
}
