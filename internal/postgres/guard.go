package postgres

import (
	"bytes"
	"errors"
	"io"
)

// errUnrestrict says that a dump tries to leave psql's restricted mode.
var errUnrestrict = errors.New(`the dump holds \unrestrict, a command of psql's that could run others on this host`)

// guard passes SQL on until \unrestrict comes, wherever that stands: psql refuses
// a wrong key, but before CVE-2026-18408 was mended it ran what stood between
// backquotes in the key's place.
//
// This knows nothing of quotes and comments, for a hostile dump to mislead it
// with. After an escaped backslash it is none: so do rows of COPY have the text,
// and psql refuses \\ itself.
type guard struct {
	sql   io.Reader
	match int // bytes of unrestrictCommand that were the last ones
}

const unrestrictCommand = `\unrestrict`

// Read implements io.Reader. What completes the command is not handed out.
func (g *guard) Read(p []byte) (int, error) {
	n, err := g.sql.Read(p)
	for i := 0; i < n; i++ {
		if g.match == 0 { // most of a dump has no backslashes
			skip := bytes.IndexByte(p[i:n], '\\')
			if skip < 0 {
				break
			}
			i += skip
		}
		switch c := p[i]; {
		case c == unrestrictCommand[g.match]:
			g.match++
		case c == '\\' && g.match != 1:
			g.match = 1
		default: // the second of two backslashes, too
			g.match = 0
		}
		if g.match == len(unrestrictCommand) {
			return 0, errUnrestrict
		}
	}
	return n, err
}
