package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/chipster/firn/internal/catalog"
)

func versionsCommand() *cli.Command {
	return &cli.Command{
		Name:      "versions",
		Usage:     "list the versions in an archive",
		ArgsUsage: "ROOT [NAME]",
		Description: `Lists the versions in the archive ROOT, or those of the storage NAME. No key is
needed. The times are UTC.

With --json it prints an array of objects: name, storage, time, files, bytes,
sealedBytes, and damaged, which says why a list cannot be read.

Examples:
   firn versions /mnt/archive
   firn versions /mnt/archive file-storage --json`,
		Flags:  []cli.Flag{catalogFlag(), trustFlag(), &cli.BoolFlag{Name: "json", Usage: "print a JSON array"}},
		Action: versions,
	}
}

type shownVersion struct {
	Name        string    `json:"name"`
	Storage     string    `json:"storage"`
	Time        time.Time `json:"time"`
	Files       int64     `json:"files"`
	Bytes       int64     `json:"bytes"`
	SealedBytes int64     `json:"sealedBytes"`
	Damaged     string    `json:"damaged,omitempty"`
}

func versions(c *cli.Context) error {
	args, err := arguments(c, "ROOT", "…")
	if err != nil {
		return err
	}
	if len(args) > 2 {
		return usagef("%q is one argument too many", args[2])
	}
	archive, err := openCatalog(c, args[0])
	if err != nil {
		return err
	}
	defer archive.Close()
	storage := ""
	if len(args) == 2 {
		storage = args[1]
	}
	found, err := archive.Versions(c.Context, storage)
	if err != nil {
		return err
	}
	if storage != "" && len(found) == 0 {
		return fmt.Errorf("%w: %s has none of the storage %q", catalog.ErrNoVersion, args[0], storage)
	}
	if !c.Bool("json") {
		return printVersions(c.App.Writer, found)
	}
	rows := []shownVersion{}
	for _, v := range found {
		rows = append(rows, shownVersion{v.Name.String(), v.Name.Storage(), v.Name.Time(), v.Files, v.Size, v.SealedSize, v.Damaged})
	}
	return printJSON(c, rows)
}

func printVersions(w io.Writer, found []catalog.Version) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tTIME\tFILES\tSIZE\tSEALED\tSTATE")
	for _, v := range found {
		if state := v.Damaged; state != "" {
			if !v.Untrusted { // which says it itself
				state = "damaged: " + state
			}
			fmt.Fprintf(table, "%s\t%s\t-\t-\t-\t%s\n", v.Name.Storage(), v.Name.TimeText(), printable(state))
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\tok\n", v.Name.Storage(), v.Name.TimeText(), v.Files, humanBytes(v.Size), humanBytes(v.SealedSize))
	}
	return table.Flush()
}
