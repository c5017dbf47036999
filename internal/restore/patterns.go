package restore

import (
	"fmt"
	"path"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// patterns choose files; none of them choose all. Not safe for concurrent use.
type patterns []*pattern

type pattern struct {
	text    string
	glob    string
	matched bool
}

func parsePatterns(texts []string) (patterns, error) {
	var all patterns
	for _, text := range texts {
		glob := path.Clean("/" + text)[1:]
		if glob == "" {
			return nil, nil // the version's own folder is everything
		}
		if !doublestar.ValidatePattern(glob) {
			return nil, fmt.Errorf("%q is no pattern: %w; put a \\ before a character that is meant as it is", text, doublestar.ErrBadPattern)
		}
		all = append(all, &pattern{text: text, glob: glob})
	}
	return all, nil
}

// folder is the one folder, or file, that all matches are in.
func (p patterns) folder() string {
	if len(p) != 1 {
		return ""
	}
	if strings.ContainsRune(p[0].glob, '\\') {
		return ""
	}
	base, _ := doublestar.SplitPattern(p[0].glob + "/**")
	if base == "." {
		return ""
	}
	return base
}

// match tells whether a pattern fits a file or a folder that it is in. All
// patterns are tried, to know which are of no use.
func (p patterns) match(file string) bool {
	found := len(p) == 0
	for _, one := range p {
		if one.match(file) {
			one.matched, found = true, true
		}
	}
	return found
}

func (p *pattern) match(file string) bool {
	// As it is first: names can hold any of the special characters.
	if file == p.glob || strings.HasPrefix(file, p.glob+"/") || doublestar.MatchUnvalidated(p.glob, file) {
		return true
	}
	for i := range len(file) {
		if file[i] == '/' && doublestar.MatchUnvalidated(p.glob, file[:i]) {
			return true
		}
	}
	return false
}

func (p patterns) unmatched() error {
	var texts []string
	for _, one := range p {
		if !one.matched {
			texts = append(texts, fmt.Sprintf("%q", one.text))
		}
	}
	if texts == nil {
		return nil
	}
	return fmt.Errorf("%w %s", ErrNoMatch, strings.Join(texts, ", "))
}
