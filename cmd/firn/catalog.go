package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
)

// catalogFlag is the flag of all commands that read an archive.
func catalogFlag() cli.Flag {
	return &cli.PathFlag{Name: "catalog", Usage: "keep the index of the archive in `FILE`, on a local disk (default: in the cache folder)"}
}

// openCatalog opens the catalog of the archive in the folder root. The first
// time it reads all lists, which can take minutes.
func openCatalog(c *cli.Context, root string) (*catalog.Catalog, error) {
	const interval = 5 * time.Second
	said := time.Now()
	trust, err := trustOf(c, nil)
	if err != nil {
		return nil, err
	}
	return catalog.Open(c.Context, root, catalog.Options{
		Path: c.Path("catalog"), Trust: trust, Logger: logger(c),
		Progress: func(version backupname.Name, lines int64) {
			if time.Since(said) >= interval {
				said = time.Now()
				logger(c).Info("reading the list of a version", "version", version.String(), "lines", lines)
			}
		},
	})
}

// openVersion opens the catalog, and finds a version in it that can be read.
func openVersion(c *cli.Context, root, spec string) (*catalog.Catalog, catalog.Version, error) {
	archive, err := openCatalog(c, root)
	if err != nil {
		return nil, catalog.Version{}, err
	}
	v, err := archive.Find(c.Context, spec)
	if err == nil {
		err = v.Readable()
	}
	if err != nil {
		return nil, catalog.Version{}, errors.Join(err, archive.Close())
	}
	return archive, v, nil
}

// openerOf makes the opener of what keyFlags give.
func openerOf(c *cli.Context) (*envelope.Opener, error) {
	list, passphrases, err := loadPrivateKeys(c)
	if err != nil {
		return nil, err
	}
	return envelope.NewOpener(list, passphrases...), nil
}

// keyHint says what to do where no key fits.
func keyHint(err error) error {
	if errors.Is(err, envelope.ErrKey) {
		return fmt.Errorf("%w; give the private key with --key, or the passphrase with --passphrase-file", err)
	}
	return err
}

// shown makes a path fit for a terminal: one that could be taken for another or
// drive the terminal is quoted as in Go.
func shown(path string) string {
	if !utf8.ValidString(path) || strings.HasPrefix(path, `"`) {
		return strconv.Quote(path)
	}
	return printable(path)
}

// lines writes many lines to standard output.
type lines struct {
	*bufio.Writer
	json *json.Encoder
}

func newLines(w io.Writer) lines {
	b := bufio.NewWriterSize(w, 64<<10)
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	return lines{b, e}
}
