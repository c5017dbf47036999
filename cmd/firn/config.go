package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/chipster/firn/internal/config"
	"github.com/chipster/firn/internal/keys"
	"github.com/urfave/cli/v2"
)

// configCommand is `firn config`: what is in force, and where it comes from.
func configCommand() *cli.Command {
	return &cli.Command{
		Name:  "config",
		Usage: "show the settings in force and where they come from",
		Description: `Reads conf/chipster.yaml, or the file named, and the environment, in which
backup-bucket is called backup_bucket. For a role, <key>-<role> comes before
<key>. A secret can stand in a file of its own, named by <key>-file. Secrets
are not shown.

Examples:
   firn config
   firn config --role file-storage
   backup_bucket=test firn config --config /opt/chipster/conf/chipster.yaml --json`,
		Flags: []cli.Flag{
			&cli.PathFlag{Name: "config", Usage: "read `FILE` in place of " + config.DefaultPath},
			&cli.StringFlag{Name: "role", Usage: "show what holds for `ROLE`: file-storage, auth, ..."},
			&cli.BoolFlag{Name: "json", Usage: "print a JSON array"},
		},
		Action: showConfig,
	}
}

// shownSetting is a row of the output. Value is fit to be shown.
type shownSetting struct {
	Key     string `json:"key"`
	Value   string `json:"value"`
	Set     bool   `json:"set"`
	Source  string `json:"source"`
	Warning string `json:"warning,omitempty"`
	Error   string `json:"error,omitempty"`
}

// showConfig shows everything even if some of it is wrong, and fails then.
func showConfig(c *cli.Context) error {
	if c.NArg() > 0 {
		return usagef("unexpected argument %q", c.Args().First())
	}
	settings, err := config.Load(c.Path("config"), os.Environ())
	if err != nil {
		return err
	}
	var rows []shownSetting
	var wrong []error
	for _, v := range settings.All(c.String("role")) {
		row, err := describeSetting(v)
		if err != nil {
			row.Error = err.Error()
			wrong = append(wrong, err)
		}
		rows = append(rows, row)
	}
	print := printSettings
	if c.Bool("json") {
		print = printSettingsJSON
	}
	if err := print(c.App.Writer, rows); err != nil {
		return err
	}
	for _, row := range rows {
		if row.Warning != "" && !c.Bool("json") {
			fmt.Fprintf(c.App.ErrWriter, "warning: %s: %s\n", row.Key, row.Warning)
		}
	}
	return errors.Join(wrong...)
}

func describeSetting(v config.Value) (shownSetting, error) {
	row := shownSetting{Key: v.Key, Value: v.Masked(), Set: v.Set, Source: v.Source, Warning: v.Warning}
	if !strings.HasPrefix(v.Key, "backup-gpg-public-key") || v.Text == "" {
		return row, v.Err
	}
	// A private key may stand here by mistake, so the text itself is never shown.
	row.Value = ""
	list, err := keys.Parse([]byte(v.Text))
	if err != nil {
		return row, fmt.Errorf("%s (%s): %w", v.Key, v.Source, err)
	}
	var fingerprints []string
	for _, entity := range list {
		fingerprints = append(fingerprints, keys.Fingerprint(entity))
		if entity.PrivateKey != nil {
			row.Warning = "this is a private key, which must not be on this host: replace it with the public key"
		}
	}
	row.Value = strings.Join(fingerprints, " ")
	_, err = keys.ParsePublic([]byte(v.Text))
	if err != nil {
		err = fmt.Errorf("%s (%s): %w", v.Key, v.Source, err)
	}
	return row, err
}

func printSettings(w io.Writer, rows []shownSetting) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "KEY\tVALUE\tSOURCE")
	for _, row := range rows {
		value := printable(row.Value)
		switch {
		case row.Error != "" && value == "":
			value = "(error)"
		case value == "":
			value = "-"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", row.Key, value, row.Source)
	}
	return table.Flush()
}

func printSettingsJSON(w io.Writer, rows []shownSetting) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(rows)
}

// printable quotes a text that would break lines or columns, or drive the terminal.
func printable(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}
