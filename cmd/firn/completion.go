package main

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// The scripts know nothing of the commands: each asks `firn __complete`.
var (
	//go:embed completion/firn.bash
	bashCompletion string
	//go:embed completion/firn.zsh
	zshCompletion string
	//go:embed completion/firn.fish
	fishCompletion string
)

func completionCommand() *cli.Command {
	scripts := map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a script that lets a shell complete commands and flags",
		ArgsUsage: "bash|zsh|fish",
		Description: `The packages for Debian and Red Hat install these scripts already.

Examples:
   source <(firn completion bash)
   firn completion zsh >~/.zfunc/_firn      # a folder of $fpath
   firn completion fish >~/.config/fish/completions/firn.fish`,
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "SHELL")
			if err != nil {
				return err
			}
			script, ok := scripts[args[0]]
			if !ok {
				return usagef("there is no completion for %q; choose bash, zsh or fish", args[0])
			}
			_, err = fmt.Fprint(c.App.Writer, script)
			return err
		},
	}
}

// completeCommand is `firn __complete -- WORD...`: the words after firn on a
// command line, the last of which is being typed. It prints what that can
// become, a line each with an explanation after a tab; or :files or :folders
// where the shell knows better.
func completeCommand() *cli.Command {
	return &cli.Command{
		Name:            "__complete",
		Hidden:          true,
		SkipFlagParsing: true,
		Action: func(c *cli.Context) error {
			words := c.Args().Slice()
			if len(words) > 0 && words[0] == "--" {
				words = words[1:]
			}
			for _, candidate := range complete(newApp(), words) {
				fmt.Fprintln(c.App.Writer, candidate)
			}
			return nil
		},
	}
}

// What only the shell can complete.
const (
	completeFiles   = ":files"
	completeFolders = ":folders"
)

// flagChoices are the values of flags that have but a few.
var flagChoices = map[string][]string{
	"log-format":      {"text", "json"},
	"format":          {"plain", "custom"},
	"session-key-per": {keyPerPackage, keyPerFile},
	"final":           {"archive", "s3"},
	"only":            {"files", "db"},
}

// commandLine is how far a line is typed.
type commandLine struct {
	app      *cli.App
	command  *cli.Command // nil: none is named yet
	flag     cli.Flag     // whose value comes next, or nil
	given    int          // arguments that are neither commands nor flags
	onlyArgs bool         // after --
}

// complete returns what the last of the words can become.
func complete(app *cli.App, words []string) []string {
	if len(words) == 0 {
		words = []string{""}
	}
	line := commandLine{app: app}
	last := len(words) - 1
	for _, word := range words[:last] {
		line.read(word)
	}
	return line.candidates(words[last])
}

// read takes in a word that is typed already.
func (l *commandLine) read(word string) {
	switch {
	case word == "=" && l.flag != nil: // bash makes three words of --flag=value
	case l.flag != nil:
		l.flag = nil
	case l.onlyArgs:
		l.given++
	case word == "--":
		l.onlyArgs = true
	case isFlag(word):
		if flag := findFlag(l.flags(), word); flag != nil && takesValue(flag) && !strings.Contains(word, "=") {
			l.flag = flag
		}
	default:
		i := slices.IndexFunc(l.commands(), func(c *cli.Command) bool { return c.HasName(word) })
		if i < 0 || l.given > 0 {
			l.given++
			return
		}
		l.command = l.commands()[i]
	}
}

func (l *commandLine) commands() []*cli.Command {
	if l.command == nil {
		return l.app.Commands
	}
	return l.command.Subcommands
}

func (l *commandLine) flags() []cli.Flag {
	if l.command == nil {
		return l.app.Flags
	}
	return slices.Concat(l.command.Flags, l.app.Flags)
}

func (l *commandLine) candidates(word string) []string {
	if l.flag != nil {
		return beginningWith(strings.TrimPrefix(word, "="), "", valuesOf(l.flag))
	}
	if name, value, ok := strings.Cut(word, "="); ok && isFlag(word) && !l.onlyArgs {
		if flag := findFlag(l.flags(), name); flag != nil {
			return beginningWith(value, name+"=", valuesOf(flag))
		}
		return nil
	}
	if strings.HasPrefix(word, "-") && !l.onlyArgs {
		return beginningWith(word, "", l.flagNames())
	}
	var found []string
	if l.given == 0 && !l.onlyArgs {
		for _, c := range visible(l.commands()) {
			found = append(found, c.Name+"\t"+c.Usage)
		}
		found = beginningWith(word, "", found)
	}
	if len(found) == 0 {
		found = l.argument()
	}
	return found
}

func (l *commandLine) flagNames() (names []string) {
	for _, f := range l.flags() {
		_, usage := describeFlag(f)
		names = append(names, "--"+f.Names()[0]+"\t"+usage)
	}
	return append(names, "--help\tshow help")
}

// argument completes what ArgsUsage calls the next argument.
func (l *commandLine) argument() []string {
	if l.command == nil {
		return nil
	}
	names := strings.Fields(strings.NewReplacer("[", "", "]", "", "...", "").Replace(l.command.ArgsUsage))
	if len(names) == 0 {
		return nil
	}
	switch name := names[min(l.given, len(names)-1)]; name {
	case "ROOT", "MOUNTPOINT", "STORAGE", "DIR":
		return []string{completeFolders}
	case "FILE", "KEY":
		return []string{completeFiles}
	case "bash|zsh|fish":
		return strings.Split(name, "|")
	}
	return nil
}

// valuesOf returns what a flag can be set to.
func valuesOf(flag cli.Flag) []string {
	switch {
	case !takesValue(flag):
		return nil
	case takesFile(flag):
		return []string{completeFiles}
	case placeholder(flag) == "DIR":
		return []string{completeFolders}
	}
	return flagChoices[flag.Names()[0]]
}

func takesValue(flag cli.Flag) bool {
	f, ok := flag.(cli.DocGenerationFlag)
	return ok && f.TakesValue()
}

// takesFile tells by the flag's help: what it calls FILE is one.
func takesFile(flag cli.Flag) bool {
	name := placeholder(flag)
	return takesValue(flag) && (name == "FILE" || strings.HasSuffix(name, ".asc"))
}

// placeholder is what the help calls the value: FILE in "--key FILE".
func placeholder(flag cli.Flag) string {
	parts := strings.SplitN(flag.(cli.DocGenerationFlag).GetUsage(), "`", 3)
	if len(parts) < 3 {
		return ""
	}
	return parts[1]
}

// beginningWith keeps what begins with the word, and puts the prefix before it.
// What the shell has to complete stays as it is.
func beginningWith(word, prefix string, all []string) (kept []string) {
	for _, candidate := range all {
		switch {
		case candidate == completeFiles || candidate == completeFolders:
			kept = append(kept, candidate)
		case strings.HasPrefix(candidate, word):
			kept = append(kept, prefix+candidate)
		}
	}
	return kept
}
