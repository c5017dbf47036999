package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Tools finds the programs of PostgreSQL.
type Tools struct {
	Dir string // look here only; "": $PATH, then where Debian and Red Hat put them
}

// folders are where Debian and Red Hat put the programs of each version.
var folders = []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin"}

// tool is a program that was found.
type tool struct {
	name    string // pg_dump
	path    string
	version Version
}

// PgDump returns the version of the pg_dump that Dump would take for a server;
// ErrTool says that there is none.
func (t Tools) PgDump(ctx context.Context, server Version) (Version, error) {
	found, err := t.find(ctx, "pg_dump", server)
	return found.version, err
}

// find returns the oldest program that is not of an older major version than
// the server: pg_dump refuses a newer server, and one that is newer than need
// be writes settings that the server does not know.
func (t Tools) find(ctx context.Context, name string, server Version) (tool, error) {
	var newest tool
	var fitting []tool
	var broken []error
	for _, path := range t.candidates(name) {
		version, err := versionOf(ctx, path)
		switch {
		case ctx.Err() != nil:
			return tool{}, ctx.Err()
		case err != nil:
			broken = append(broken, err)
			continue
		}
		found := tool{name, path, version}
		if version.first() >= server.first() {
			fitting = append(fitting, found)
		}
		if newest.path == "" || version > newest.version {
			newest = found
		}
	}
	if len(fitting) == 0 {
		return tool{}, t.missing(name, server, newest, errors.Join(broken...))
	}
	// That of $PATH, which is the first, where there are several.
	return slices.MinFunc(fitting, func(a, b tool) int { return cmp.Compare(a.version.first(), b.version.first()) }), nil
}

// candidates are the paths of the program, that of $PATH first.
func (t Tools) candidates(name string) []string {
	if t.Dir != "" {
		path, err := exec.LookPath(filepath.Join(t.Dir, name))
		if err != nil {
			return nil
		}
		return []string{path}
	}
	var paths []string
	if path, err := exec.LookPath(name); err == nil && !isWrapper(path) {
		paths = append(paths, path)
	}
	for _, folder := range folders {
		found, _ := filepath.Glob(filepath.Join(folder, name)) // the pattern is right
		paths = append(paths, found...)
	}
	return paths
}

// isWrapper tells whether a program is Debian's pg_wrapper, which runs one of
// those in folders: which, depends on the servers that are on this host.
func isWrapper(path string) bool {
	target, err := filepath.EvalSymlinks(path)
	return err == nil && filepath.Base(target) == "pg_wrapper"
}

// missing is the error that says what to install.
func (t Tools) missing(name string, server Version, newest tool, broken error) error {
	where := "here"
	if t.Dir != "" {
		where = "in " + t.Dir
	}
	why := fmt.Sprintf("there is no %s %s: install %s", name, where, packageOf(name, server))
	if newest.path != "" {
		why = fmt.Sprintf("the server is PostgreSQL %v, but the newest %s %s is %v (%s): install %s (or newer)",
			server, name, where, newest.version, newest.path, packageOf(name, server))
	}
	if broken != nil {
		return fmt.Errorf("%w: %s; %w", ErrTool, why, broken)
	}
	return fmt.Errorf("%w: %s", ErrTool, why)
}

// packageOf is the Debian package that has the program.
func packageOf(name string, server Version) string {
	p := "postgresql-client-"
	if name == "vacuumlo" {
		p = "postgresql-" // it is not among the clients
	}
	return p + server.major()
}

// versionOf asks a program.
func versionOf(ctx context.Context, path string) (Version, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%s --version: %w", path, cmp.Or(ctx.Err(), err))
	}
	version, ok := parseVersion(string(out))
	if !ok {
		return 0, fmt.Errorf("%s --version says something else", path)
	}
	return version, nil
}

// versionText matches "pg_dump (PostgreSQL) 15.18 (Debian …)", 16beta1 and 9.6.24.
var versionText = regexp.MustCompile(`^\S+ \([^)]*\) (\d{1,3})(?:\.(\d{1,4}))?(?:\.(\d{1,2}))?`)

func parseVersion(text string) (Version, bool) {
	match := versionText.FindStringSubmatch(strings.TrimSpace(text))
	if match == nil {
		return 0, false
	}
	var numbers [3]Version
	for i := range numbers {
		n, _ := strconv.Atoi(match[i+1]) // digits, or nothing
		numbers[i] = Version(n)
	}
	if numbers[0] < 10 {
		return numbers[0]*10000 + numbers[1]%100*100 + numbers[2], true
	}
	return numbers[0]*10000 + numbers[1], true
}
