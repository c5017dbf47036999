package main

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/manifest"
)

func lsCommand() *cli.Command {
	return &cli.Command{
		Name:      "ls",
		Usage:     "list the files of a version",
		ArgsUsage: "ROOT VERSION [PATH]",
		Description: `Lists what is in a version, or below PATH in it. VERSION is a name, such as
file-storage_2026-01-02T01:10:00.000Z, the beginning of one, or
file-storage/latest. No key is needed.

Names with control characters are quoted as in Go. With --json it prints an
object a line: path, folder, and of files size, sha512, modified, mode and
sealedPath. In paths, control characters and what is no UTF-8 are %XX there, as
in the archive's own lists.

Examples:
   firn ls /mnt/archive file-storage/latest
   firn ls /mnt/archive file-storage_2026-01 ab -l
   firn ls /mnt/archive file-storage/latest -R --json | jq -r .sha512`,
		Flags: []cli.Flag{
			catalogFlag(), trustFlag(),
			&cli.BoolFlag{Name: "long", Aliases: []string{"l"}, Usage: "show modes, sizes and times too"},
			&cli.BoolFlag{Name: "recursive", Aliases: []string{"R"}, Usage: "list all files below, with their paths"},
			&cli.BoolFlag{Name: "json", Usage: "print an object a line"},
		},
		Action: ls,
	}
}

func ls(c *cli.Context) (err error) {
	args, err := arguments(c, "ROOT", "VERSION", "…")
	if err != nil {
		return err
	}
	if len(args) > 3 {
		return usagef("%q is one argument too many", args[3])
	}
	folder := ""
	if len(args) == 3 {
		folder = path.Clean("/" + args[2])[1:]
	}
	archive, v, err := openVersion(c, args[0], args[1])
	if err != nil {
		return err
	}
	defer archive.Close()
	out := newLines(c.App.Writer)
	defer func() { err = errors.Join(err, out.Flush()) }()
	for node, err := range listing(c, archive, v, folder) {
		if err != nil {
			return err
		}
		if err := printNode(c, out, v, folder, node); err != nil {
			return err
		}
	}
	return nil
}

// listing yields what to list. The names of what --recursive finds are paths.
func listing(c *cli.Context, archive *catalog.Catalog, v catalog.Version, folder string) iter.Seq2[catalog.Node, error] {
	return func(yield func(catalog.Node, error) bool) {
		top, err := archive.Lookup(c.Context, v, folder)
		switch {
		case err != nil || !top.Dir:
			yield(top, err)
		case c.Bool("recursive"):
			for e, err := range archive.Files(c.Context, v, folder) {
				if !yield(catalog.Node{Name: e.Path, Entry: e}, err) {
					return
				}
			}
		default:
			archive.ReadDir(c.Context, v, folder)(yield)
		}
	}
}

type shownNode struct {
	Path       string         `json:"path"`
	Folder     bool           `json:"folder,omitempty"`
	Size       *int64         `json:"size,omitempty"`
	SHA512     *manifest.Hash `json:"sha512,omitempty"`
	Modified   *time.Time     `json:"modified,omitempty"`
	Mode       string         `json:"mode,omitempty"`
	SealedPath string         `json:"sealedPath,omitempty"`
}

func printNode(c *cli.Context, out lines, v catalog.Version, folder string, n catalog.Node) error {
	if c.Bool("json") {
		return out.json.Encode(describeNode(folder, n))
	}
	name := shown(n.Name)
	if n.Dir {
		name = shown(n.Name + "/")
	}
	if !c.Bool("long") {
		_, err := fmt.Fprintln(out, name)
		return err
	}
	// Where nothing is recorded, what the mount shows.
	mode, at := fs.FileMode(0o444), v.Name.Time()
	switch {
	case n.Dir:
		mode = fs.ModeDir | 0o555
	case n.Entry.HasMode:
		mode = n.Entry.Mode
	}
	if !n.Entry.Modified.IsZero() {
		at = n.Entry.Modified
	}
	_, err := fmt.Fprintf(out, "%s %14d %s %s\n", mode, n.Entry.Size, at.UTC().Format("2006-01-02T15:04:05Z"), name)
	return err
}

func describeNode(folder string, n catalog.Node) shownNode {
	if n.Dir {
		return shownNode{Path: manifest.EscapePath(strings.TrimPrefix(folder+"/"+n.Name, "/")), Folder: true}
	}
	e := &n.Entry
	node := shownNode{Path: manifest.EscapePath(e.Path), Size: &e.Size, SHA512: &e.SHA512, SealedPath: e.SealedPath}
	if !e.Modified.IsZero() {
		at := e.Modified.UTC()
		node.Modified = &at
	}
	if e.HasMode {
		node.Mode = fmt.Sprintf("%04o", e.Mode.Perm())
	}
	return node
}
