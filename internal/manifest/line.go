package manifest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/chipster/firn/internal/backupname"
)

const columns = 7

// ParseLine reads a line without its line feed.
func ParseLine(line string) (Entry, error) {
	e, err := parseLine(line, backupname.Name{})
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return e, err
}

// AppendLine appends a line with its line feed, and nothing where it could not be
// read back.
func AppendLine(b []byte, e *Entry) ([]byte, error) {
	line, err := appendLine(b, e)
	if err != nil {
		return b, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return line, nil
}

// parseLine reads a line without its line feed. last is the backup's name of
// the line before: most lines of a list name the same.
func parseLine(line string, last backupname.Name) (Entry, error) {
	var f [columns]string
	rest, more := line, true
	for i := range f {
		if !more {
			return Entry{}, fmt.Errorf("%d columns, not %d", i, columns)
		}
		f[i], rest, more = strings.Cut(rest, "\t")
	}
	e := Entry{Path: f[0], SealedPath: f[3], Backup: last}
	var err error
	if e.Size, err = parseSize(f[1]); err != nil {
		return Entry{}, fmt.Errorf("size: %w", err)
	}
	if e.SHA512, err = ParseHash(f[2]); err != nil {
		return Entry{}, fmt.Errorf("hash: %w", err)
	}
	if err = checkSealedPath(e.SealedPath); err != nil {
		return Entry{}, err
	}
	if e.SealedSize, err = parseSize(f[4]); err != nil {
		return Entry{}, fmt.Errorf("sealed size: %w", err)
	}
	if e.SealedSHA512, err = ParseHash(f[5]); err != nil {
		return Entry{}, fmt.Errorf("sealed hash: %w", err)
	}
	if f[6] != last.String() || last.IsZero() {
		if e.Backup, err = backupname.Parse(f[6]); err != nil {
			return Entry{}, err
		}
	}
	for more {
		var field string
		field, rest, more = strings.Cut(rest, "\t")
		if err := e.parseExtra(field); err != nil {
			return Entry{}, err
		}
	}
	e.normalize()
	return e, CheckPath(e.Path)
}

// normalize drops what has no meaning alone, so that an entry that was read
// equals the one that it is written and read again as.
func (d *Details) normalize() {
	if d.Package == "" {
		d.Offset = 0
	}
}

func parseSize(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%s is no number of bytes", quote(s))
	}
	return int64(n), nil
}

// maxOther and maxRows bound what a line takes in memory, which is many times its
// length for tiny fields and tiny tables. 16 MiB are 200,000 tables with the
// longest of names.
const (
	maxOther = 1000
	maxRows  = 16 << 20 // bytes of JSON
)

// parseExtra reads one extra column. What is not known is kept as it is; what
// is known but cannot be read is an error, for a list is not to be guessed at.
func (e *Entry) parseExtra(field string) error {
	if field == "" {
		return nil
	}
	key, value, _ := strings.Cut(field, "=")
	var err error
	switch key {
	case "name":
		e.Path, err = unescapePath(value)
	case "mtime":
		e.Modified, err = parseTime(value)
	case "mode":
		e.Mode, err = parseMode(value)
		e.HasMode = true
	case "package":
		e.Package = value
	case "offset":
		e.Offset, err = parseSize(value)
	case "key":
		e.Key = value
	case "blocks":
		e.Blocks = value
	case "rows":
		e.Rows, err = parseRows(value)
	case "installation":
		e.Installation, err = value, CheckInstallation(value)
	default:
		if len(e.Other) == maxOther {
			return fmt.Errorf("more than %d columns that are not known", maxOther)
		}
		e.Other = append(e.Other, field)
	}
	if err != nil {
		return fmt.Errorf("column %s: %w", key, err)
	}
	return nil
}

// appendLine writes a line with its line feed.
func appendLine(b []byte, e *Entry) ([]byte, error) {
	if err := CheckPath(e.Path); err != nil {
		return b, err
	}
	if err := checkSealedPath(e.SealedPath); err != nil {
		return b, err
	}
	if e.Backup.IsZero() || e.Size < 0 || e.SealedSize < 0 {
		return b, fmt.Errorf("the entry of %s is incomplete", quote(e.Path))
	}
	if len(e.Other) > maxOther {
		return b, fmt.Errorf("the entry of %s has more than %d other columns", quote(e.Path), maxOther)
	}
	if err := CheckInstallation(e.Installation); err != nil {
		return b, err
	}
	start := len(b)
	escaped := EscapePath(e.Path)
	b = append(b, escaped...)
	b = append(b, '\t')
	b = strconv.AppendInt(b, e.Size, 10)
	b = append(b, '\t')
	b = hex.AppendEncode(b, e.SHA512[:])
	b = append(b, '\t')
	b = append(b, e.SealedPath...)
	b = append(b, '\t')
	b = strconv.AppendInt(b, e.SealedSize, 10)
	b = append(b, '\t')
	b = hex.AppendEncode(b, e.SealedSHA512[:])
	b = append(b, '\t')
	b = append(b, e.Backup.String()...)
	if escaped != e.Path {
		b = append(append(b, "\tname="...), escaped...)
	}
	if e.Rows != nil && len(rowsText(e.Rows)) > maxRows {
		return b, fmt.Errorf("the numbers of rows of %s are longer than %d bytes", quote(e.Path), maxRows)
	}
	extra := len(b)
	b = e.appendExtraColumns(b)
	if bytes.IndexByte(b[extra:], '\n') >= 0 {
		return b, fmt.Errorf("an extra column of %s holds a line feed", quote(e.Path))
	}
	if e.Installation != "" {
		b = append(append(b, "\tinstallation="...), e.Installation...)
	}
	if len(b)-start >= maxLine {
		return b, fmt.Errorf("the line of %s is longer than %d bytes", quote(e.Path), maxLine)
	}
	return append(b, '\n'), nil
}

// ExtraColumns is the text of the details: each field with a tab before it, in
// a fixed order.
func (d *Details) ExtraColumns() string { return string(d.appendExtraColumns(nil)) }

func (d *Details) appendExtraColumns(b []byte) []byte {
	if !d.Modified.IsZero() {
		b = appendTime(append(b, "\tmtime="...), d.Modified)
	}
	if d.HasMode {
		bits := modeBits(d.Mode)
		b = append(append(b, "\tmode="...), '0'+byte(bits>>9), '0'+byte(bits>>6&7), '0'+byte(bits>>3&7), '0'+byte(bits&7))
	}
	if d.Package != "" {
		b = append(append(b, "\tpackage="...), d.Package...)
		b = strconv.AppendInt(append(b, "\toffset="...), d.Offset, 10)
	}
	if d.Key != "" {
		b = append(append(b, "\tkey="...), d.Key...)
	}
	if d.Blocks != "" {
		b = append(append(b, "\tblocks="...), d.Blocks...)
	}
	if d.Rows != nil {
		b = append(append(b, "\trows="...), rowsText(d.Rows)...)
	}
	for _, field := range d.Other {
		b = append(append(b, '\t'), field...)
	}
	return b
}

func rowsText(rows Rows) []byte {
	text, _ := json.Marshal(rows) // maps of strings and numbers cannot fail
	return text
}

// ParseDetails reads what ExtraColumns writes.
func ParseDetails(s string) (Details, error) {
	var e Entry
	for field := range strings.SplitSeq(strings.TrimPrefix(s, "\t"), "\t") {
		if err := e.parseExtra(field); err != nil {
			return Details{}, err
		}
	}
	e.normalize()
	return e.Details, nil
}

// parseRows reads a JSON object of objects of numbers: names of tables may hold
// anything, and JSON has neither tabs nor line feeds in its strings.
func parseRows(s string) (Rows, error) {
	var rows Rows
	if len(s) > maxRows {
		return nil, fmt.Errorf("longer than %d bytes", maxRows)
	}
	if err := json.Unmarshal([]byte(s), &rows); err != nil {
		return nil, fmt.Errorf("no numbers of rows: %s", shorten(err.Error()))
	}
	for schema, tables := range rows {
		for table, n := range tables {
			if n < 0 {
				return nil, fmt.Errorf("table %s of schema %s has %d rows", quote(table), quote(schema), n)
			}
		}
	}
	return rows, nil
}

// Times are decimal Unix seconds with nine decimals, as GNU tar and find print
// them; before 1970 the whole number is negative.
func appendTime(b []byte, t time.Time) []byte {
	sec, nsec := t.Unix(), int64(t.Nanosecond())
	if sec < 0 && nsec > 0 { // -0.5 s is the instant half a second before, not after
		sec, nsec = sec+1, 1e9-nsec
		if sec == 0 {
			b = append(b, '-')
		}
	}
	b = strconv.AppendInt(b, sec, 10)
	point := len(b)
	b = strconv.AppendInt(b, 1e9+nsec, 10) // nine digits behind a one
	b[point] = '.'
	return b
}

// maxSeconds is further from 1970 than any file system's times.
const maxSeconds = 1 << 40

func parseTime(s string) (time.Time, error) {
	whole, fraction, ok := strings.Cut(s, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	nsec, err2 := strconv.ParseUint(fraction, 10, 32)
	if !ok || err != nil || err2 != nil || len(fraction) != 9 || sec > maxSeconds || sec < -maxSeconds {
		return time.Time{}, fmt.Errorf("%s is no time in seconds with nine decimals", quote(s))
	}
	if whole[0] == '-' {
		return time.Unix(sec, -int64(nsec)).UTC(), nil
	}
	return time.Unix(sec, int64(nsec)).UTC(), nil
}

var specialBits = []struct {
	mode fs.FileMode
	bit  uint32
}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}}

func modeBits(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	for _, s := range specialBits {
		if m&s.mode != 0 {
			bits |= s.bit
		}
	}
	return bits
}

func parseMode(s string) (fs.FileMode, error) {
	bits, err := strconv.ParseUint(s, 8, 12)
	if err != nil {
		return 0, fmt.Errorf("%s is no mode", quote(s))
	}
	return ModeOf(uint32(bits)), nil
}

// ModeOf makes a mode of the twelve permission bits of Unix.
func ModeOf(bits uint32) fs.FileMode {
	m := fs.FileMode(bits & 0o777)
	for _, s := range specialBits {
		if bits&s.bit != 0 {
			m |= s.mode
		}
	}
	return m
}
