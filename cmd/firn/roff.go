package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/chipster/firn/internal/config"
)

// roffText is a page in the language of man(7).
type roffText struct {
	strings.Builder
	begun bool // the section has text
}

func (r *roffText) printf(format string, args ...any) { fmt.Fprintf(&r.Builder, format, args...) }

func (r *roffText) section(name string) {
	r.printf(".SH %s\n", name)
	r.begun = false
}

// gap sets paragraphs of a section apart.
func (r *roffText) gap() {
	if r.begun {
		r.printf(".PP\n")
	}
	r.begun = true
}

// item has a tag that is roff already.
func (r *roffText) item(tag, text string) {
	r.printf(".TP\n%s\n%s\n", tag, roff(text))
	r.begun = true
}

func (r *roffText) paragraph(text string) {
	r.gap()
	r.printf("%s\n", roff(text))
}

// prose writes paragraphs; what is indented in them stays as it is.
func (r *roffText) prose(text string) {
	for _, p := range strings.Split(text, "\n\n") {
		if strings.HasPrefix(p, "   ") {
			r.literal(p)
			continue
		}
		r.paragraph(p)
	}
}

func (r *roffText) literal(text string) {
	r.gap()
	r.printf(".nf\n")
	for line := range strings.Lines(text) {
		r.printf("%s\n", roff("    "+strings.TrimPrefix(strings.TrimRight(line, "\n"), "   ")))
	}
	r.printf(".fi\n")
}

func (r *roffText) options(flags []cli.Flag) {
	if len(flags) == 0 {
		return
	}
	r.section("OPTIONS")
	for _, f := range flags {
		if v, ok := f.(cli.VisibleFlag); ok && !v.IsVisible() {
			continue
		}
		name, usage := describeFlag(f)
		r.item(bold(name), usage)
	}
}

// surroundings are the sections that only the first page has.
func (r *roffText) surroundings() {
	r.section("ENVIRONMENT")
	r.item(bold("FIRN_KEY"), "the private key itself, where no --key is given")
	r.item(bold("FIRN_PASSPHRASE"), "the passphrase, where no --passphrase-file is given")
	r.item(bold("XDG_CACHE_HOME"), "the folder of the catalogs, in place of ~/.cache")
	r.item(bold("STATE_DIRECTORY"), "the folder of the records of runs, where no --state is given")
	r.paragraph("Each key of the configuration can be a variable, with _ for -: backup_bucket.")
	r.section("FILES")
	r.item(italic(config.DefaultPath), "the configuration that is read where no --config is given")
	r.item(italic("/etc/firn/firn.yaml"), "the configuration of the services of systemd")
	r.item(italic("/var/lib/firn"), "the records of their runs")
}

func (r *roffText) seeAlso(pages []string) {
	r.section("SEE ALSO")
	for n, p := range pages {
		name, section, _ := strings.Cut(strings.TrimSuffix(p, ")"), "(")
		comma := " ,"
		if n == len(pages)-1 {
			comma = ""
		}
		r.printf(".BR %s (%s)%s\n", roff(name), section, comma)
	}
}

var lineBegin = regexp.MustCompile(`(?m)^[.']`)

// roff escapes text. All hyphens are those of commands: what is shown can be
// copied into a shell.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, `-`, `\-`, "…", "...").Replace(text)
	return lineBegin.ReplaceAllString(text, `\&$0`)
}

func bold(text string) string   { return `\fB` + roff(text) + `\fR` }
func italic(text string) string { return `\fI` + roff(text) + `\fR` }
