package postgres

import (
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
)

// unrestricts is the rule in other words.
var unrestricts = regexp.MustCompile(`(^|[^\\])(\\\\)*\\unrestrict`)

var guarded = []string{
	"", "SELECT 1;\n", `\unrestrict`, "\\unrestrict `touch pwned`\n", `SELECT 1 \unrestrict x`, `'\'\unrestrict`, `/* \*/\unrestrict`, `\unrestri\unrestrict`,
	`\\unrestrict`, `\\\unrestrict`, `a\\\\unrestrict`, `\unrestric`, `\ unrestrict`, `\u\nrestrict`, `unrestrict`, "\\\nunrestrict",
}

// Nothing that psql could take for the command comes through, however it is cut;
// all else does.
func FuzzGuard(f *testing.F) {
	for _, text := range guarded {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for name, cut := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "halves": iotest.HalfReader, "bytes": iotest.OneByteReader} {
			got, err := io.ReadAll(&guard{sql: cut(strings.NewReader(text))})
			if hostile := unrestricts.MatchString(text); hostile != errors.Is(err, errUnrestrict) || unrestricts.Match(got) || !hostile && string(got) != text {
				t.Errorf("%s: %q gave %q and %v", name, text, got, err)
			}
		}
	})
}

func TestGuardSeeds(t *testing.T) {
	n := 0
	for _, text := range guarded {
		if unrestricts.MatchString(text) {
			n++
		}
	}
	if n < 6 || len(guarded)-n < 6 {
		t.Errorf("%d of %d seeds are hostile", n, len(guarded))
	}
}
