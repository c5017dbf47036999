package manifest

import (
	"bytes"
	"errors"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/memorytest"
)

// withColumn is a line with something else in a column; with 7, in an extra one.
func withColumn(line string, column int, text string) string {
	columns := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
	if column == 7 {
		columns = append(columns, text)
	} else {
		columns[column] = text
	}
	return strings.Join(columns, "\t") + "\n"
}

// Whatever stands in a line, there is an error that can be shown to people,
// within little memory and time.
func TestHostileLines(t *testing.T) {
	line := string(write(t, entry(t, "ab/c")))
	long := func(s string) string { return strings.Repeat(s, (8<<20)/len(s)) }
	digits := strings.Repeat("9", 1<<20)
	cases := map[string]string{
		"four million extra columns": withColumn(line, 7, strings.Repeat("a\t", 4<<20)),
		"8 MiB of time":              withColumn(line, 7, "mtime="+long("1")),
		"rows of 17 MiB":             withColumn(line, 7, `rows={"a":{`+strings.Repeat(`"a":1,`, 3<<20)+`"a":1}}`),
		"two lines in one":           strings.TrimSuffix(line, "\n") + line,
		"CRLF":                       strings.TrimSuffix(line, "\n") + "\r\n",
		"UTF-16":                     "\xff\xfea\x00\t\x005\x00\n",
		"spaces for tabs":            strings.ReplaceAll(line, "\t", " "),
		"gzip":                       "\x1f\x8b\x08\x00\x00\x00\x00\x00\n",
		"JSON":                       `{"path":"a","size":5}` + "\n",
	}
	for column, texts := range [][]string{
		0: {"", "/", "//", "a//b", "a/", "/a", ".", "..", "./a", "a/.", "a/..", "a/../b", "\x00", "a\x00/b", strings.Repeat("a/", 2048) + "b", strings.Repeat("a", 64<<10+1), long("../"), long("\x00")},
		1: {"", "-1", "+1", "0x10", "1e3", "1_000", " 1", "1 ", "1.0", "٣", "9223372036854775808", "18446744073709551616", digits, long("\x01")},
		2: {"", "zz", strings.Repeat("g", 128), strings.Repeat("A", 128), strings.Repeat("0", 127), strings.Repeat("0", 129), long("0")},
		3: {"", "/", "../x", "x/../../y", "/x", "x//y", ".", "..", "x\x00y", strings.Repeat("a/", 500) + "b", long("../")},
		4: {"", "-1", "9223372036854775808", long("-")},
		5: {"", long("0")},
		6: {"", "fs", "_2024-01-01T00:00:00Z", "../x_2024-01-01T00:00:00Z", "fs_2024-13-01T00:00:00Z", "fs_2024-01-01T00:00:00Z/..", "fs_2024-01-01T00:00:00Z\x00", long("\x01"), "fs_" + long("\x01")},
		7: {
			"name=", "name=%", "name=%zz", "name=%2E%2E%2Fx", "name=%2Fetc%2Fpasswd", "name=a%00b", "name=a%2F", "name=" + long("%"), "name=" + long("%00"),
			"mtime=", "mtime=.", "mtime=0", "mtime=0.0", "mtime=1e9.000000000", "mtime=--1.000000000", "mtime=1.-00000001", "mtime=1099511627777.000000000", "mtime=-1099511627777.000000000",
			"mtime=-9223372036854775808.000000001", "mtime=9223372036854775807.999999999", "mtime=99999999999999999999.000000000",
			"mode=", "mode=8", "mode=-1", "mode=10000", "mode=0x1ff", "mode=" + long("7"),
			"offset=", "offset=-1", "offset=9223372036854775808", "package=p\toffset=" + digits,
			"rows=", "rows=[]", "rows=1", `rows={"a":[]}`, `rows={"a":{"b":{}}}`, `rows={"a":{"b":1e30}}`, `rows={"a":{"b":"1"}}`, `rows={"a":{"b":9223372036854775808}}`, `rows={"a":{"b":-1}}`,
			`rows={"a":{"b":` + strings.Repeat("9", 4<<20) + `}}`, `rows={"` + strings.Repeat("a", 4<<20) + `":{"a":-1}}`, "rows=" + strings.Repeat("[", 4<<20), "rows=" + strings.Repeat(`{"a":`, 1<<20),
		},
	} {
		for _, text := range texts {
			cases[strings.Join([]string{"column", string(rune('1' + column)), text[:min(len(text), 40)], string(rune('0' + len(text)%10))}, " ")] = withColumn(line, column, text)
		}
	}
	for what, bad := range cases {
		began := time.Now()
		var entries []Entry
		var err error
		memory := memorytest.Peak(func() { entries, err = readAll([]byte(line + bad)) })
		if !errors.Is(err, ErrInvalid) || len(entries) != 1 || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%.60q: %d entries, %.200v", what, len(entries), err)
		} else if len(err.Error()) > 3000 {
			t.Errorf("%.60q: a message of %d bytes: %.200v", what, len(err.Error()), err)
		}
		if entries, err := readAll([]byte(bad)); !errors.Is(err, ErrInvalid) || len(entries) != 0 && what != "two lines in one" {
			t.Errorf("%.60q, in the first line: %d entries, %.200v", what, len(entries), err)
		}
		if took := time.Since(began); memory > 150<<20 || took > 20*time.Second {
			t.Errorf("%.60q: %d MiB, %s", what, memory>>20, took)
		}
	}
}

// What is odd and no error: it means what it says, byte for byte.
func TestOddLines(t *testing.T) {
	line := string(write(t, entry(t, "ab/c")))
	for text, want := range map[string]string{
		"\ufeffab/c": "\ufeffab/c", "ab\r": "ab\r", "...": "...", "a\\..\\b": "a\\..\\b", "~": "~", "C:": "C:", "\xff\xfe": "\xff\xfe", " ": " ", "%2E%2E": "%2E%2E",
		"\u202egpj.exe": "\u202egpj.exe",
	} {
		entries, err := readAll([]byte(withColumn(line, 0, text)))
		if err != nil || len(entries) != 1 || entries[0].Path != want {
			t.Errorf("%q: %+v, %v", text, entries, err)
		}
	}
	// The name wins over the first column, whatever that seems to be.
	entries, err := readAll([]byte(withColumn(line, 7, "name=other")))
	if err != nil || entries[0].Path != "other" {
		t.Errorf("%+v, %v", entries, err)
	}
	// Twice the same path is the reader's to notice.
	if entries, err := readAll([]byte(line + line)); err != nil || len(entries) != 2 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
}

// The times furthest from now that a list may hold come back.
func TestTimesAtTheEdge(t *testing.T) {
	for _, text := range []string{"1099511627776.999999999", "-1099511627776.999999999", "0.000000000", "-0.000000001", "-1.000000000"} {
		e := entry(t, "a")
		d, err := ParseDetails("\tmtime=" + text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		e.Details = d
		got, err := readAll(write(t, e))
		if err != nil || !got[0].Modified.Equal(d.Modified) || string(appendTime(nil, got[0].Modified)) != text {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

// Lists of the longest lines take the memory of one of them.
func TestManyLongLines(t *testing.T) {
	e := entry(t, "huge")
	e.Blocks = strings.Repeat("A", 60<<20)
	line := write(t, e)
	lines := make([]io.Reader, 6)
	for i := range lines {
		lines[i] = bytes.NewReader(line)
	}
	n := 0
	memory := memorytest.Peak(func() {
		for _, err := range Read(io.MultiReader(lines...)) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
	})
	if n != len(lines) || memory > 350<<20 {
		t.Errorf("%d lines took %d MiB", n, memory>>20)
	}
}

// The most that a line may hold of tiny tables and of columns that are not
// known takes a bounded multiple of its length.
func TestTinyThingsTakeLittle(t *testing.T) {
	e := entry(t, "db")
	var rows strings.Builder
	rows.WriteString("{")
	for rows.Len() < 4<<20 {
		rows.WriteString(`"` + strings.Repeat("a", rows.Len()%4) + string(rune('!'+1+rows.Len()%10)) + string(rune(0x4e00+rows.Len()%20000)) + `":{"a":1},`)
	}
	rows.WriteString(`"z":{}}`)
	line := bytes.TrimSuffix(write(t, e), []byte("\n"))
	line = append(append(line, "\trows="+rows.String()...), '\n')
	memory := memorytest.Peak(func() {
		if _, err := readAll(line); err != nil {
			t.Error(err)
		}
	})
	if memory > 160<<20 {
		t.Errorf("%d MiB", memory>>20)
	}
}

// What could not be read back is not written.
func TestWriterRefusesTheUnreadable(t *testing.T) {
	for what, change := range map[string]func(*Entry){
		"too many columns":   func(e *Entry) { e.Other = make([]string, maxOther+1) },
		"too long a line":    func(e *Entry) { e.Blocks = strings.Repeat("A", maxLine) },
		"too many rows":      func(e *Entry) { e.Rows = Rows{strings.Repeat("a", maxRows): {"a": 1}} },
		"too deep a path":    func(e *Entry) { e.Path = strings.Repeat("a/", maxParts) + "a" },
		"too deep to place":  func(e *Entry) { e.SealedPath = strings.Repeat("a/", maxSealedParts) + "a" },
		"a size of too much": func(e *Entry) { e.Size = math.MinInt64 },
	} {
		e := entry(t, "a")
		change(&e)
		var b bytes.Buffer
		w := NewWriter(&b)
		if err := w.Write(&e); !errors.Is(err, ErrInvalid) || w.Flush() != nil || b.Len() != 0 {
			t.Errorf("%s: %v, %d bytes written", what, err, b.Len())
		}
	}
	e := entry(t, strings.Repeat("a/", maxParts-1)+"a")
	for range maxOther {
		e.Other = append(e.Other, "x")
	}
	if got, err := readAll(write(t, e)); err != nil || len(got) != 1 {
		t.Errorf("the most that may be: %v", err)
	}
}

// A list with all that a line can hold, cut anywhere: what is yielded is what
// stands there, and what was cut is an error but between two lines, where
// nothing in the list can tell.
func TestCutAnywhere(t *testing.T) {
	dump := entry(t, "auth.sql")
	dump.Rows = Rows{"public": {"jobs": 5}}
	odd := entry(t, "a\n%41\xff")
	odd.Modified, odd.Mode, odd.HasMode = time.Unix(-1, 5).UTC(), 0o4755, true
	odd.Package, odd.Offset, odd.Key, odd.Blocks, odd.Other = "p.tar", 512, "none", "AAAA", []string{"x=y", "z"}
	whole := write(t, dump, odd, entry(t, "c"))
	all, err := readAll(whole)
	if err != nil || len(all) != 3 {
		t.Fatalf("%d entries, %v", len(all), err)
	}
	for n := range whole {
		got, err := readAll(whole[:n])
		lines := bytes.Count(whole[:n], []byte("\n"))
		between := n == 0 || whole[n-1] == '\n'
		if between && err != nil || !between && !errors.Is(err, ErrTruncated) {
			t.Errorf("cut at %d: %v", n, err)
		}
		if len(got) != lines || lines > 0 && !reflect.DeepEqual(got, all[:lines]) {
			t.Errorf("cut at %d: %d entries of %d lines", n, len(got), lines)
		}
	}
}
