package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// manpagesCommand is `firn manpages`, for the packages: the manual is made from
// the commands, so it cannot say anything else than --help does.
func manpagesCommand() *cli.Command {
	return &cli.Command{
		Name:      "manpages",
		Hidden:    true,
		Usage:     "write the manual pages of all commands",
		ArgsUsage: "DIR",
		Description: `Writes one page for each command into the folder DIR. They have the date of
$SOURCE_DATE_EPOCH, or none.`,
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "DIR")
			if err != nil {
				return err
			}
			date, err := sourceDate(os.Getenv("SOURCE_DATE_EPOCH"))
			if err != nil {
				return err
			}
			for name, text := range manpages(newApp(), date) {
				if err := os.WriteFile(filepath.Join(args[0], name), []byte(text), 0o644); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// sourceDate is the day of a time in seconds, as reproducible builds have it.
func sourceDate(epoch string) (string, error) {
	if epoch == "" {
		return "", nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return "", usagef("SOURCE_DATE_EPOCH is %q, must be seconds", epoch)
	}
	return time.Unix(seconds, 0).UTC().Format(time.DateOnly), nil
}

// manpages returns the text of all pages by the names of their files.
func manpages(app *cli.App, date string) map[string]string {
	m := manual{app: app, date: date, pages: map[string]string{}}
	root := &cli.Command{Name: app.Name, Usage: app.Usage, Description: app.Description, Flags: app.Flags, Subcommands: app.Commands, ArgsUsage: "[ARGUMENT...]"}
	m.add(nil, root)
	m.pages["mount.fuse.firn.8"] = m.helperPage()
	return m.pages
}

type manual struct {
	app   *cli.App
	date  string
	pages map[string]string
}

// add makes the pages of a command, which is called by the words of parents and
// its own name, and of those below it.
func (m *manual) add(parents []string, c *cli.Command) {
	words := append(slices.Clone(parents), c.Name)
	name := strings.Join(words, "-")
	prose, examples := splitExamples(c.Description)
	r := m.begin(name, 1, c.Usage)
	r.section("SYNOPSIS")
	r.printf(".B %s\n", roff(strings.Join(words, " ")))
	if commands := visible(c.Subcommands); len(commands) > 0 {
		r.printf("[%s] %s [%s]\n", italic("OPTION..."), italic("COMMAND"), italic("ARGUMENT..."))
		if c.Action != nil && c.ArgsUsage != "" {
			r.printf(".br\n.B %s\n[%s] %s\n", roff(strings.Join(words, " ")), italic("OPTION..."), italic(c.ArgsUsage))
		}
	} else {
		r.printf("[%s] %s\n", italic("OPTION..."), italic(c.ArgsUsage))
	}
	r.section("DESCRIPTION")
	r.prose(prose)
	if commands := visible(c.Subcommands); len(commands) > 0 {
		r.section("COMMANDS")
		for _, sub := range commands {
			r.item(bold(strings.Join(append(slices.Clone(words), sub.Name), "-"))+"(1)", sub.Usage)
		}
	}
	r.options(c.Flags)
	if len(parents) > 0 {
		r.paragraph("Options of the program, such as --verbose, are in firn(1).")
	}
	if examples != "" {
		r.section("EXAMPLES")
		r.literal(examples)
	}
	m.exitStatus(r)
	if len(parents) == 0 {
		r.surroundings()
	}
	r.seeAlso(related(parents, c))
	m.pages[name+".1"] = r.String()
	for _, sub := range visible(c.Subcommands) {
		m.add(words, sub)
	}
}

func (m *manual) begin(name string, section int, usage string) *roffText {
	r := &roffText{}
	r.printf(".TH %s %d %q \"firn %s\" \"firn manual\"\n", roff(strings.ToUpper(name)), section, m.date, roff(m.app.Version))
	r.section("NAME")
	r.printf("%s \\- %s\n", roff(name), roff(usage))
	return r
}

// exitCodesBegin is how the program's help begins to tell the exit codes.
const exitCodesBegin = "Exit codes: "

func (m *manual) exitStatus(r *roffText) {
	_, codes, _ := strings.Cut(m.app.Description, exitCodesBegin)
	r.section("EXIT STATUS")
	for _, code := range strings.Split(strings.TrimSuffix(strings.ReplaceAll(codes, "\n", " "), "."), "; ") {
		number, meaning, _ := strings.Cut(code, " ")
		r.item(bold(number), meaning)
	}
}

// helperPage is about the program under its other name.
func (m *manual) helperPage() string {
	r := m.begin("mount.fuse.firn", 8, "mount an archive of firn by mount(8) and fstab(5)")
	r.section("SYNOPSIS")
	r.printf(".B mount \\-t fuse.firn\n[\\fB\\-o\\fR %s] %s\n", italic("OPTION[,OPTION...]"), italic("ROOT MOUNTPOINT"))
	prose, examples := splitExamples(mountHelperDescription)
	r.section("DESCRIPTION")
	r.prose(prose)
	r.section("OPTIONS")
	for _, f := range mountCommand().Flags {
		name, usage := describeFlag(f)
		name = strings.TrimPrefix(name, "--")
		usage = strings.Replace(usage, ", - is standard input", "", 1) // there is none
		r.item(bold(strings.Replace(name, " ", "=", 1)), usage)
	}
	r.section("EXAMPLES")
	r.literal(examples)
	r.section("EXIT STATUS")
	r.item(bold("0"), "the archive is mounted and can be read")
	r.item(bold("1"), "wrong usage")
	r.item(bold("32"), "it is not mounted; the message says why")
	r.seeAlso([]string{"firn-mount(1)", "fstab(5)", "mount(8)", "umount(8)"})
	return r.String()
}

func visible(commands []*cli.Command) []*cli.Command {
	return slices.DeleteFunc(slices.Clone(commands), func(c *cli.Command) bool { return c.Hidden })
}

// related are the pages of the command above and those below.
func related(parents []string, c *cli.Command) (pages []string) {
	if len(parents) == 0 {
		pages = append(pages, "mount.fuse.firn(8)")
	}
	for n := range parents {
		pages = append(pages, strings.Join(parents[:n+1], "-")+"(1)")
	}
	for _, sub := range visible(c.Subcommands) {
		pages = append(pages, strings.Join(append(slices.Clone(parents), c.Name, sub.Name), "-")+"(1)")
	}
	slices.Sort(pages)
	return pages
}

// splitExamples takes the examples out of a description, and the exit codes,
// which have sections of their own. Examples are the indented lines after
// "Examples:".
func splitExamples(description string) (prose, examples string) {
	var text, example []string
	for _, p := range strings.Split(description, "\n\n") {
		after, begins := strings.CutPrefix(p, "Examples:\n")
		switch {
		case begins, len(example) > 0 && strings.HasPrefix(p, "   "):
			example = append(example, after)
		case !strings.HasPrefix(p, exitCodesBegin):
			text = append(text, p)
		}
	}
	return strings.Join(text, "\n\n"), strings.Join(example, "\n\n")
}

// describeFlag returns "--key FILE" and what it is for.
func describeFlag(f cli.Flag) (name, usage string) {
	name, usage, _ = strings.Cut(f.String(), "\t")
	name, _, _ = strings.Cut(name, " [ ") // the library's sign of flags that can be repeated
	return name, strings.TrimSpace(noDefault.ReplaceAllString(usage, ""))
}

// noDefault is what the library says of flags that are off or not set.
var noDefault = regexp.MustCompile(`\(default: (false|0)\)$`)
