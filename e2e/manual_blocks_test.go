package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// block is a fenced block of a page, of which the fence names the language.
type block struct {
	page, chapter string
	line          int // of the fence
	language      string
	text          string
	notRun        string // why it is not run; "": no reason is given
	shown         *block // what it prints, where the page shows that right behind
}

func (b *block) String() string { return fmt.Sprintf("%s:%d", b.page, b.line) }

// reasons are those for which a block may not be run. What systemd and Prometheus
// are given is checked by the tests of packages and numbers.
var reasons = []string{"needs systemd", "needs Prometheus", "installs packages", "needs the source and Go", "is a part of a file"}

var notRunComment = regexp.MustCompile(`^<!-- not run: (.+) -->$`)

// blocksOf reads the fenced blocks of a page below the project.
func blocksOf(t testing.TB, page string) (blocks []*block) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(project, page))
	must(t, err)
	var open, last *block
	chapter, before := "", ""
	for i, line := range strings.Split(string(data), "\n") {
		fence, isFence := strings.CutPrefix(line, "```")
		switch {
		case open != nil && isFence:
			blocks, last, open = append(blocks, open), open, nil
		case open != nil:
			open.text += line + "\n"
		case isFence:
			open = &block{page: page, chapter: chapter, line: i + 1, language: fence}
			if m := notRunComment.FindStringSubmatch(before); m != nil {
				open.notRun = m[1]
			}
			if fence == "text" && last != nil && before == "" && last.language == "sh" {
				last.shown = open
			}
		case strings.HasPrefix(line, "#"):
			chapter = strings.TrimLeft(line, "# ")
			last = nil
		case line != "":
			last = nil
		}
		if line != "" || last == nil {
			before = line
		} else {
			before = ""
		}
	}
	if open != nil {
		t.Fatalf("%s: the block is not closed", open)
	}
	return blocks
}

// commandLine is how a line looks that somebody will type.
var commandLine = regexp.MustCompile(`(?m)^\s*(?:\$ |# )?(?:sudo )?(?:firn|mount|umount|gpg|psql|createdb|systemctl|journalctl|kubectl|curl|make|apt|dnf|dpkg|rpm|cp|rsync|scp|jq|promtool|openssl|scripts/\S+) \S`)

// checkBlocks demands of each block that it is run, or says why not.
func checkBlocks(t testing.TB, blocks []*block) {
	t.Helper()
	for _, b := range blocks {
		switch {
		case b.notRun != "" && !slices.Contains(reasons, b.notRun):
			t.Errorf("%s is not run, and %q is no reason", b, b.notRun)
		case b.notRun != "":
		case b.language == "sh":
			if b.hosts() == nil {
				t.Errorf("%s: the first line does not say on which hosts: # on the new server", b)
			}
		case commandLine.MatchString(b.text) && !isShown(blocks, b):
			t.Errorf("%s looks like commands: mark it as sh, or say in a comment before it why it is not run", b)
		}
	}
}

func isShown(blocks []*block, b *block) bool {
	return slices.ContainsFunc(blocks, func(other *block) bool { return other.shown == b })
}

// hostNames are the hosts that the pages speak of, by what the first line of a
// block calls them.
var hostNames = map[string]string{
	"your own machine": "desk", "the storage's host": "storage", "the archive server": "archive", "the new server": "new",
}

// hosts are those that a block is for: of "# on the storage's host and on the
// archive server" both. None: its first line does not say it.
func (b *block) hosts() (hosts []string) {
	first, _, _ := strings.Cut(b.text, "\n")
	list, ok := strings.CutPrefix(first, "# on ")
	if !ok {
		return nil
	}
	for name := range strings.SplitSeq(list, " and on ") {
		host, known := hostNames[name]
		if !known {
			return nil
		}
		hosts = append(hosts, host)
	}
	return hosts
}
