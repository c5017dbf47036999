package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// reorder moves a command's flags before its other arguments, where the
// library wants them, so that they can be written anywhere. What follows "--"
// stays where it is.
func reorder(app *cli.App, args []string) []string {
	if len(args) == 0 {
		return args
	}
	result, rest := args[:1:1], args[1:]
	commands, flags := app.Commands, app.Flags
	for {
		lead, after := leadingFlags(flags, rest)
		i := -1
		if len(after) > 0 {
			i = slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(after[0]) })
		}
		if i < 0 {
			break
		}
		result = append(append(result, lead...), after[0])
		rest, flags, commands = after[1:], commands[i].Flags, commands[i].Subcommands
	}
	var moved, others []string
	for len(rest) > 0 && rest[0] != "--" {
		n := flagLength(flags, rest)
		if n == 0 {
			others, rest = append(others, rest[0]), rest[1:]
			continue
		}
		moved, rest = append(moved, rest[:n]...), rest[n:]
	}
	if len(others)+len(rest) > 0 && slices.ContainsFunc(others, isFlag) {
		others = append([]string{"--"}, others...)
	}
	return slices.Concat(result, moved, rest[:min(1, len(rest))], others, rest[min(1, len(rest)):])
}

func leadingFlags(flags []cli.Flag, args []string) (lead, rest []string) {
	n := 0
	for n < len(args) {
		k := flagLength(flags, args[n:])
		if k == 0 {
			break
		}
		n += k
	}
	return args[:n], args[n:]
}

func isFlag(arg string) bool { return len(arg) > 1 && arg[0] == '-' }

// flagLength is how many arguments the flag at the beginning takes; 0 where
// there is none. An unknown flag is one, for the library to complain about.
func flagLength(flags []cli.Flag, args []string) int {
	if !isFlag(args[0]) || args[0] == "--" {
		return 0
	}
	name, _, hasValue := strings.Cut(strings.TrimLeft(args[0], "-"), "=")
	if hasValue || len(args) == 1 {
		return 1
	}
	for _, flag := range flags {
		if !slices.Contains(flag.Names(), name) {
			continue
		}
		if f, ok := flag.(cli.DocGenerationFlag); ok && f.TakesValue() {
			return 2
		}
	}
	return 1
}
