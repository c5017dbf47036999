package uploader

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// The original's rules for what goes into a package together. It grouped by
// the first characters of the file names to keep packages at a size that one
// can download to restore a few files.
const (
	smallSize  = 1 << 20 // files below go into "<prefix>_small_files.tar"
	mediumSize = 1 << 30 // files below go into "<prefix>_medium_files.tar", others have one each
)

// prefixLength is how many characters of a file's name choose its package,
// by the number of new files.
func prefixLength(files int) int {
	switch {
	case files < 500:
		return 0
	case files < 10_000:
		return 1
	case files < 100_000:
		return 2
	case files < 1_000_000:
		return 3
	}
	return 4
}

// group is the files of one package.
type group struct {
	name  string // of the package: the last part of its key
	small bool   // the files are
	files []file
}

// groups sorts new files into packages.
func groups(files []file) []group {
	n := prefixLength(len(files))
	small := map[string]*group{}
	var all []*group
	add := func(name string, f file) {
		g := small[name]
		if g == nil {
			g = &group{name: name, small: f.size < smallSize}
			small[name] = g
			all = append(all, g)
		}
		g.files = append(g.files, f)
	}
	taken := map[string]bool{}
	for _, f := range files {
		base := packageText(path.Base(f.path))
		switch prefix := base[:min(n, len(base))]; {
		case f.size < smallSize:
			add(prefix+"_small_files.tar", f)
		case f.size < mediumSize:
			add(prefix+"_medium_files.tar", f)
		default:
			name := base + ".tar"
			for i := 2; taken[name]; i++ {
				name = fmt.Sprintf("%s-%d.tar", base, i)
			}
			taken[name] = true
			all = append(all, &group{name: name, files: []file{f}})
		}
	}
	result := make([]group, len(all))
	for i, g := range all {
		result[i] = *g
	}
	slices.SortFunc(result, func(a, b group) int { return cmp.Compare(a.name, b.name) })
	return result
}

// packageText makes a file's name fit for an object's key that people type: a
// byte for a character, and nothing that a shell or a URL reads its own way.
func packageText(s string) string {
	var b strings.Builder
	for len(s) > 0 && b.Len() < 100 {
		r, n := utf8.DecodeRuneInString(s)
		if r < utf8.RuneSelf && (isAlphanumeric(byte(r)) || strings.ContainsRune("-.", r) && b.Len() > 0) {
			b.WriteByte(byte(r))
		} else {
			b.WriteByte('=')
		}
		s = s[n:]
	}
	return b.String()
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
