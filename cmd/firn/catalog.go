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
	trust, err := trustOf(c, nil)
	if err != nil {
		return nil, err
	}
	show := &listsProgress{c: c, said: time.Now()}
	defer show.done()
	return catalog.Open(c.Context, root, catalog.Options{
		Path: c.Path("catalog"), Trust: trust, Logger: logger(c), Progress: show.tell,
	})
}

// listsProgress shows how far the reading of lists is: while a catalog is opened
// with a bar where there can be one, and afterwards, when nobody waits for it, in
// the log. What is read within a second is not worth telling.
type listsProgress struct {
	c      *cli.Context
	bar    *progress // once there is one
	shown  int64     // bytes in the bar
	said   time.Time
	opened bool
}

func (l *listsProgress) tell(p catalog.Progress) {
	const patience, interval = time.Second, 5 * time.Second
	what := fmt.Sprintf("reading the lists: %d of %d versions", p.Done, p.Versions)
	if l.bar == nil && !l.opened && time.Since(l.said) >= patience {
		l.bar = newProgress(l.c, what, p.TotalBytes)
	}
	if l.bar != nil && l.bar.bar != nil {
		l.bar.Rename(what)
		l.bar.Add(0, p.Bytes-l.shown)
		l.shown = p.Bytes
	} else if time.Since(l.said) >= interval {
		l.said = time.Now()
		logger(l.c).Info("reading the lists", "done", p.Done, "of", p.Versions, "version", p.Version.String(), "lines", p.Lines)
	}
}

// done takes the bar away.
func (l *listsProgress) done() {
	if l.bar != nil {
		l.bar.Done()
	}
	l.bar, l.opened = nil, true
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
