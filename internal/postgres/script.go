package postgres

import (
	"bufio"
	"bytes"
	"io"
)

// script reads a dump in SQL, as pg_dump and pg_restore write it for psql, and
// leaves out what has no place in a transaction of ours:
//
//   - "\restrict KEY" at the beginning and the "\unrestrict KEY" that belongs to
//     it. psql reads the dump under a \restrict of our own, whose key no dump
//     can know; it would refuse a second one, and old ones know neither.
//   - "BEGIN;" and "COMMIT;" around the contents of large objects: that COMMIT
//     would commit the half of the dump that was read until then.
//
// All else passes byte for byte: the rows of COPY, and whatever stands within
// quotes, may hold such lines too. What else pg_dump would write is an error of
// psql's or of the transaction's, never a thing to guess at.
//
// Memory is one buffer, however long the lines are.
type script struct {
	in *bufio.Reader

	inside    inside
	delimiter []byte // of the quote that we are inside of: ', " or $tag$
	matched   int    // how much of it the last bytes were

	atLine    bool   // the next byte begins a line
	begun     bool   // there was a statement
	statement []byte // the first bytes of this one, as many as of "COPY"
	last      []byte // the last bytes of a piece of a line that goes on

	key          string // of the \restrict that was taken out
	keepBegin    bool   // leave what is around large objects, where there is no transaction of ours
	largeObjects bool   // since the BEGIN that was taken out

	rest []byte // read, and not yet handed out
}

// inside says what the bytes belong to.
type inside int

const (
	inSQL inside = iota
	inQuote
	inTag // the first delimiter of a text between dollars
	inComment
	inCopy // from the line after COPY … FROM stdin to \.
)

const (
	restrict   = `\restrict `
	unrestrict = `\unrestrict `
	begin      = "BEGIN;\n"
	commit     = "COMMIT;\n"
	beginBlobs = begin + "\nSELECT pg_catalog.lo_open("
	copyFrom   = "COPY"
	copyEnd    = " FROM stdin"
	endOfRows  = `\.`

	scriptBuffer = 256 << 10
	maxKey       = 256 // psql's have 63 characters
	maxTag       = 256 // of $tag$, with both dollars
)

func newScript(dump io.Reader, keepBegin bool) *script {
	return &script{in: bufio.NewReaderSize(&sticky{r: dump}, scriptBuffer), atLine: true, keepBegin: keepBegin}
}

// Read implements io.Reader. It ends as the dump ends.
func (s *script) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.inside == inSQL && s.atLine && len(s.statement) == 0 && s.takeOut() {
			continue
		}
		piece, err := s.in.ReadSlice('\n')
		if len(piece) == 0 {
			return 0, err // else it comes again
		}
		s.follow(piece)
		s.atLine = piece[len(piece)-1] == '\n'
		s.rest = piece // the reader's until it is read again
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// takeOut drops the next line where it is one of those, outside of everything.
func (s *script) takeOut() bool {
	switch {
	case !s.begun && s.key == "" && s.next(restrict):
		line := s.peek(len(restrict) + maxKey)
		line, _, ended := bytes.Cut(line, []byte("\n"))
		if key := line[len(restrict):]; ended && isKey(key) {
			s.key = string(key)
			return s.drop(len(line) + 1)
		}
	case s.key != "" && s.next(unrestrict+s.key):
		n := len(unrestrict) + len(s.key)
		switch line := s.peek(n + 1); {
		case len(line) == n:
		case line[n] == '\n':
			n++
		default:
			return false
		}
		s.key = ""
		return s.drop(n)
	case !s.keepBegin && !s.largeObjects && s.next(beginBlobs):
		s.largeObjects = true
		return s.drop(len(begin))
	case s.largeObjects && s.next(commit):
		s.largeObjects = false
		return s.drop(len(commit))
	}
	return false
}

// next tells whether the dump goes on with text.
func (s *script) next(text string) bool { return string(s.peek(len(text))) == text }

// peek returns fewer bytes where the dump ends.
func (s *script) peek(n int) []byte {
	b, _ := s.in.Peek(n) // an error comes again with the next read
	return b
}

func (s *script) drop(n int) bool {
	_, _ = s.in.Discard(n) // there are as many
	return true
}

func isKey(b []byte) bool {
	for _, c := range b {
		if !isWord(c) {
			return false
		}
	}
	return len(b) > 0
}

// isWord tells of the bytes that names and keys are made of.
func isWord(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c >= 0x80
}

// follow keeps track of what a line, or a piece of a long one, leaves us in.
func (s *script) follow(piece []byte) {
	if s.inside == inCopy {
		if s.atLine && string(bytes.TrimRight(piece, "\r\n")) == endOfRows {
			s.inside = inSQL
		}
		return
	}
	copies := false // rows begin with the next line, whatever follows on this one
	for i := 0; i < len(piece); i++ {
		switch s.inside {
		case inSQL:
			copies = s.sql(piece, i) || copies
		case inTag:
			if !s.tag(piece[i]) {
				s.inside = inSQL
				i-- // it may begin something else
			}
		case inQuote:
			// Most of a dump of large objects is within quotes.
			if s.matched == 0 {
				skip := bytes.IndexByte(piece[i:], s.delimiter[0])
				if skip < 0 {
					i = len(piece)
					continue
				}
				i += skip
			}
			s.quoted(piece[i])
		case inComment:
			if piece[i] == '\n' {
				s.inside = inSQL
			}
		}
	}
	s.last = append(s.last[:0], piece[max(0, len(piece)-len(copyEnd)):]...)
	if copies && s.inside == inSQL {
		s.inside = inCopy
	}
}

// sql follows one byte outside of quotes, and tells whether it ends a COPY whose
// rows follow. pg_dump writes no comments with /*.
func (s *script) sql(piece []byte, i int) (copies bool) {
	c, before := piece[i], s.before(piece, i)
	switch {
	case c == ' ', c == '\t', c == '\n', c == '\r':
		return false
	case c == '-' && i+1 < len(piece) && piece[i+1] == '-':
		s.inside = inComment
		return false
	case c == '\'', c == '"':
		// A quote within is written twice, never with a backslash: for us two
		// texts, one after the other.
		s.inside, s.delimiter, s.matched = inQuote, append(s.delimiter[:0], c), 0
	case c == '$' && !isWord(lastByte(before)) && lastByte(before) != '$':
		s.inside, s.delimiter = inTag, append(s.delimiter[:0], c)
	case c == ';':
		copies = string(s.statement) == copyFrom && bytes.HasSuffix(before, []byte(copyEnd))
		s.statement = s.statement[:0]
		return copies
	}
	s.begun = true
	if len(s.statement) < len(copyFrom) {
		s.statement = append(s.statement, c)
	}
	return false
}

// before are the bytes of the line before the one at i: as many as copyEnd has,
// where there are so many.
func (s *script) before(piece []byte, i int) []byte {
	if i >= len(copyEnd) {
		return piece[i-len(copyEnd) : i]
	}
	if s.atLine {
		return piece[:i]
	}
	return append(bytes.Clone(s.last), piece[:i]...)
}

func lastByte(b []byte) byte {
	if len(b) == 0 {
		return 0
	}
	return b[len(b)-1]
}

// tag follows one byte of $tag$, and tells whether it can be one: $1 is none.
func (s *script) tag(c byte) bool {
	switch {
	case c == '$':
		s.inside, s.matched = inQuote, 0
	case !isWord(c), len(s.delimiter) == 1 && '0' <= c && c <= '9', len(s.delimiter) == maxTag:
		return false
	}
	s.delimiter = append(s.delimiter, c)
	return true
}

// quoted follows one byte within a quote. A delimiter has its first byte again
// only at its end, so that a match that fails can only begin anew with that.
func (s *script) quoted(c byte) {
	switch {
	case c == s.delimiter[s.matched]:
		s.matched++
	case c == s.delimiter[0]:
		s.matched = 1
	default:
		s.matched = 0
	}
	if s.matched == len(s.delimiter) {
		s.inside = inSQL
	}
}

// sticky remembers how a reader ended: a bufio.Reader forgets errors that it
// returned, and others may read on.
type sticky struct {
	r   io.Reader
	err error
}

func (s *sticky) Read(p []byte) (n int, err error) {
	if s.err != nil {
		return 0, s.err
	}
	n, s.err = s.r.Read(p)
	return n, s.err
}
