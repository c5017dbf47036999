package manifest

import (
	"reflect"
	"strings"
	"testing"
)

var detailSeeds = []string{
	"", "\tmtime=1767229800.000000000\tmode=0644\tpackage=_small_files.tar\toffset=512\tkey=6F9E8313AEB2C0DE", "\tmtime=-0.000000001",
	"\tmtime=-9223372036854775808.000000001", "\tmode=7777", "\trows={\"a\":{\"b\":1},\"c\":null}", "\tblocks=AAAA\tx=y\tz", "\toffset=5", "mtime=1.000000000\t\t\tx",
}

// What is read of extra columns can be written, and is then read as the same:
// the catalog keeps them as text.
func FuzzParseDetails(f *testing.F) {
	if len(detailSeeds) < 5 {
		f.Fatal("no seeds")
	}
	for _, seed := range detailSeeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "\n") {
			return
		}
		d, err := ParseDetails(text)
		if err != nil {
			if len(err.Error()) > 3000 {
				t.Errorf("a message of %d bytes", len(err.Error()))
			}
			return
		}
		again, err := ParseDetails(d.ExtraColumns())
		if err != nil || !reflect.DeepEqual(d, again) {
			t.Errorf("%+v became %+v, %v", d, again, err)
		}
	})
}

// Whatever a path: its escaped form fits into a column and comes back, and its
// sealed path is one that a list may hold, in no other's way.
func FuzzPaths(f *testing.F) {
	if len(oddPaths) < 10 {
		f.Fatal("no seeds")
	}
	for _, p := range oddPaths {
		f.Add(p)
	}
	f.Add(strings.Repeat("a/", maxParts-1) + "a")
	f.Add("long-names/x")
	f.Fuzz(func(t *testing.T, p string) {
		escaped := EscapePath(p)
		if strings.ContainsAny(escaped, "\t\n\r\x00") {
			t.Errorf("%q is escaped as %q", p, escaped)
		}
		if escaped != p || needsEscape(p) {
			if back, err := unescapePath(escaped); len(escaped) <= 3*maxPath && (err != nil || back != p) {
				t.Errorf("%q came back as %q, %v", p, back, err)
			}
		}
		if CheckPath(p) != nil {
			return
		}
		for _, suffix := range []string{".lz4", ".lz4.gpg"} {
			sealed := SealedPath(p, suffix)
			if err := checkSealedPath(sealed); err != nil || !strings.HasSuffix(sealed, suffix) || len(sealed) > maxSealedPath {
				t.Errorf("%q is sealed as %q: %v", p, sealed, err)
			}
			if first, _, _ := strings.Cut(sealed, "/"); IsListName(first) {
				t.Errorf("%q is sealed as %q, which is a list", p, sealed)
			}
		}
	})
}
