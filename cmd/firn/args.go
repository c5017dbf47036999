package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// reorder moves flags to where the library wants them, so that they can be
// written anywhere: those of the program before the command, and those of the
// command before its other arguments. What follows "--" stays where it is.
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
	var global, moved, others []string
	for len(rest) > 0 && rest[0] != "--" {
		switch n, m := flagLength(flags, rest), flagLength(app.Flags, rest); {
		case n == 0:
			others, rest = append(others, rest[0]), rest[1:]
		case findFlag(flags, rest[0]) == nil && findFlag(app.Flags, rest[0]) != nil:
			global, rest = append(global, rest[:m]...), rest[m:]
		default:
			moved, rest = append(moved, rest[:n]...), rest[n:]
		}
	}
	return slices.Concat(result[:1], global, result[1:], moved, rest[:min(1, len(rest))], others, rest[min(1, len(rest)):])
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
	if strings.Contains(args[0], "=") || len(args) == 1 {
		return 1
	}
	if f, ok := findFlag(flags, args[0]).(cli.DocGenerationFlag); ok && f.TakesValue() {
		return 2
	}
	return 1
}

// findFlag finds the flag that an argument is, or nil.
func findFlag(flags []cli.Flag, arg string) cli.Flag {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	for _, flag := range flags {
		if slices.Contains(flag.Names(), name) {
			return flag
		}
	}
	return nil
}
