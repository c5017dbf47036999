package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/manifest"
)

func diffCommand() *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "show which files differ between two versions",
		ArgsUsage: "ROOT VERSION VERSION",
		Description: `Prints a line for each file that the second version has more (+), has not any
more (-), or has with other content (~). The exit code is 0 also where they
differ. No key is needed.

Names with control characters are quoted as in Go. With --json it prints an
object a line: kind (added, removed, changed), path (see firn ls), and old and
new, each with size and sha512.

Example:
   firn diff /mnt/archive file-storage_2026-01-01 file-storage/latest`,
		Flags:  []cli.Flag{catalogFlag(), trustFlag(), &cli.BoolFlag{Name: "json", Usage: "print an object a line"}},
		Action: diff,
	}
}

type shownContent struct {
	Size   int64         `json:"size"`
	SHA512 manifest.Hash `json:"sha512"`
}

type shownChange struct {
	Kind string        `json:"kind"`
	Path string        `json:"path"`
	Old  *shownContent `json:"old,omitempty"`
	New  *shownContent `json:"new,omitempty"`
}

var changeSigns = map[catalog.Kind]string{catalog.Added: "+", catalog.Removed: "-", catalog.Changed: "~"}

func diff(c *cli.Context) (err error) {
	args, err := arguments(c, "ROOT", "VERSION", "VERSION")
	if err != nil {
		return err
	}
	archive, older, err := openVersion(c, args[0], args[1])
	if err != nil {
		return err
	}
	defer archive.Close()
	newer, err := archive.Find(c.Context, args[2])
	if err != nil {
		return err
	}
	out := newLines(c.App.Writer)
	defer func() { err = errors.Join(err, out.Flush()) }()
	counts := map[catalog.Kind]int64{}
	for change, err := range archive.Diff(c.Context, older, newer) {
		if err != nil {
			return err
		}
		counts[change.Kind]++
		if err := printChange(c, out, change); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(c.App.ErrWriter, "%d added, %d removed, %d changed between %s and %s\n",
		counts[catalog.Added], counts[catalog.Removed], counts[catalog.Changed], older.Name, newer.Name)
	return err
}

func printChange(c *cli.Context, out lines, change catalog.Change) error {
	if !c.Bool("json") {
		_, err := fmt.Fprintf(out, "%s %s\n", changeSigns[change.Kind], shown(change.Path))
		return err
	}
	content := func(e *manifest.Entry) *shownContent {
		if e == nil {
			return nil
		}
		return &shownContent{e.Size, e.SHA512}
	}
	return out.json.Encode(shownChange{change.Kind.String(), manifest.EscapePath(change.Path), content(change.Old), content(change.New)})
}
