package manifest

import (
	"bytes"
	"crypto/sha512"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/chipster/firn/internal/backupname"
)

func name(t testing.TB, s string) backupname.Name {
	t.Helper()
	n, err := backupname.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func entry(t testing.TB, path string) Entry {
	return Entry{
		Path: path, Size: 5, SHA512: sha512.Sum512([]byte(path)),
		SealedPath: SealedPath(path, ".lz4.gpg"), SealedSize: 500, SealedSHA512: sha512.Sum512([]byte("sealed" + path)),
		Backup: name(t, "file-storage_2019-05-08T09:26:17.038Z"),
	}
}

func write(t testing.TB, entries ...Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b)
	for i := range entries {
		if err := w.Write(&entries[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func readAll(b []byte) (entries []Entry, err error) {
	for e, err := range Read(iotest.HalfReader(bytes.NewReader(b))) {
		if err != nil {
			return entries, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func original(t testing.TB) []string {
	t.Helper()
	lists, err := filepath.Glob("../../testdata/original/*/*/*/*-info")
	if err != nil || len(lists) < 40 {
		t.Fatalf("%d lists of the original system in testdata, %v", len(lists), err)
	}
	return lists
}

// What the original wrote is read, and written again byte for byte.
func TestOriginalLists(t *testing.T) {
	for _, file := range original(t) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		entries, err := readAll(b)
		if err != nil || len(entries) == 0 {
			t.Fatalf("%s: %d entries, %v", file, len(entries), err)
		}
		if got := write(t, entries...); !bytes.Equal(got, b) {
			t.Errorf("%s came back different", file)
		}
	}
}

var oddPaths = []string{
	"a", "ab/abcd", " ", "a b", "-rf", "'\"$(x)`", "a\tb", "a\nb", "\n", "a\\b", "%", "%zz", "%41", "100%", "a%0Ab", "a%0ab", "a\r",
	"\xff\xfe", "a/\xc3\x28/b", "ä/日本", "\x7f", "a\x01", strings.Repeat("x", 255), strings.Repeat("ä", 127),
	strings.Repeat("\n", 255), strings.Repeat("d/", 1500) + "f", "long-names/ab/cd", "\ufffd",
}

// The seven columns are what the original's strict reader takes; the path
// behind them comes back whatever bytes it holds.
func TestOddPathsComeBack(t *testing.T) {
	seven := regexp.MustCompile(`^[^\t\n]+\t[0-9]+\t[0-9a-f]{128}\t[^\t\n]+\t[0-9]+\t[0-9a-f]{128}\t[^\t\n_]+_[^\t\n]+(\t[a-z]+=[^\t\n]*)*\n$`)
	columns, sealed := map[string]string{}, map[string]string{}
	for _, p := range oddPaths {
		e := entry(t, p)
		line := write(t, e)
		if !seven.Match(line) {
			t.Errorf("%q: the line is none of the original's: %q", p, line)
		}
		got, err := readAll(line)
		if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], e) {
			t.Errorf("%q came back as %+v, %v", p, got, err)
		}
		column, _, _ := strings.Cut(string(line), "\t")
		if other, ok := columns[column]; ok {
			t.Errorf("%q and %q share the column %q", p, other, column)
		}
		if other, ok := sealed[e.SealedPath]; ok {
			t.Errorf("%q and %q share the sealed path %q", p, other, e.SealedPath)
		}
		columns[column], sealed[e.SealedPath] = p, p
		for part := range strings.SplitSeq(e.SealedPath, "/") {
			if len(part) > 255 {
				t.Errorf("%q: no file can be named %q", p, part)
			}
		}
	}
}

func TestEscapeIsOneToOne(t *testing.T) {
	seen := map[string]string{}
	alphabet := []string{"%", "0", "A", "a", "\n", "\xff", "2", "5"}
	for range 200_000 {
		var b strings.Builder
		for range 1 + rand.IntN(5) {
			b.WriteString(alphabet[rand.IntN(len(alphabet))])
		}
		p := b.String()
		esc := EscapePath(p)
		if other, ok := seen[esc]; ok && other != p {
			t.Fatalf("%q and %q are both escaped as %q", p, other, esc)
		}
		seen[esc] = p
		if esc != p {
			if back, err := unescapePath(esc); err != nil || back != p {
				t.Fatalf("%q: %q, %v", p, back, err)
			}
		}
	}
}

// In a version's folder no sealed file may be where another needs a folder, or
// where the list is.
func TestSealedPathsAreNotInTheWay(t *testing.T) {
	paths := append(slices.Clone(oddPaths), "x", "x.lz4/y", "x.lz4.gpg/y", "x.lz4/z.lz4/y", "archive-info/a", "backup_info/a", "backup-info", "d/archive-info/a",
		strings.TrimSuffix(SealedPath(strings.Repeat("x", 255), ".lz4"), ".lz4")) // where another of them lies
	for _, suffix := range []string{".lz4", ".lz4.gpg"} {
		files := map[string]string{BackupInfo: "", ArchiveInfo: "", "backup_info": "", "archive_info": ""}
		for _, p := range paths {
			files[SealedPath(p, suffix)] = p
		}
		if len(files) != len(paths)+4 {
			t.Errorf("%d sealed paths of %d", len(files)-4, len(paths))
		}
		for sealed, p := range files {
			for i := range sealed {
				if other, ok := files[sealed[:i]]; ok && sealed[i] == '/' {
					t.Errorf("%q needs a folder where %q is", p, other)
				}
			}
		}
	}
}

func TestDetailsComeBack(t *testing.T) {
	for _, at := range []time.Time{
		{}, time.Unix(0, 0), time.Unix(1557307577, 38e6), time.Unix(-1, 5e8), time.Unix(-2, 1), time.Unix(-3, 0), time.Unix(4e10, 999999999),
	} {
		for _, mode := range []fs.FileMode{0, 0o644, 0o777 | fs.ModeSetuid, 0o1 | fs.ModeSetgid | fs.ModeSticky} {
			e := entry(t, "a")
			e.Details = Details{Modified: at, Mode: mode, HasMode: true, Package: "a_small_files.tar", Offset: 1536, Key: "none", Other: []string{"x=1", "y"}}
			got, err := readAll(write(t, e))
			if err != nil || len(got) != 1 || !got[0].Modified.Equal(at) || !got[0].SameFile(&e) || got[0].Mode != mode {
				t.Errorf("%v %v came back as %+v, %v", at, mode, got, err)
			}
			d, err := ParseDetails(e.ExtraColumns())
			if err != nil || d.ExtraColumns() != e.ExtraColumns() {
				t.Errorf("%q: %v", e.ExtraColumns(), err)
			}
		}
	}
}

// The counts of rows come back whatever the tables are called, on a line that
// still has its columns where others look for them.
func TestRowsComeBack(t *testing.T) {
	e := entry(t, "auth.sql")
	e.Rows = Rows{"public": {"jobs": 500000, "a\tb\nc\"d\\": 0, "<&>ä\u2028": 1 << 62}, "": {"": 1}, "empty": {}}
	line := write(t, e)
	if n := bytes.Count(line, []byte("\t")); n != 7 || bytes.Count(line, []byte("\n")) != 1 {
		t.Errorf("%d tabs in %q", n, line)
	}
	got, err := readAll(line)
	if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0].Rows, e.Rows) {
		t.Errorf("came back as %+v, %v", got, err)
	}
	// A database without tables was counted all the same.
	e.Rows = Rows{}
	if got, err := readAll(write(t, e)); err != nil || got[0].Rows == nil {
		t.Errorf("came back as %+v, %v", got, err)
	}
	e.Rows = nil
	if line := write(t, e); bytes.Contains(line, []byte("rows=")) {
		t.Errorf("nothing was counted, and yet: %q", line)
	}
}

func TestDamagedLists(t *testing.T) {
	line := string(write(t, entry(t, "ab/c")))
	hash := strings.Split(line, "\t")[2]
	for what, bad := range map[string]string{
		"empty line":         "\n",
		"too few columns":    "a\t5\n",
		"negative size":      strings.Replace(line, "\t5\t", "\t-5\t", 1),
		"signed size":        strings.Replace(line, "\t5\t", "\t+5\t", 1),
		"huge size":          strings.Replace(line, "\t5\t", "\t9223372036854775808\t", 1),
		"short hash":         strings.Replace(line, hash, hash[1:], 1),
		"uppercase hash":     strings.Replace(line, hash, strings.ToUpper(hash), 1),
		"path upwards":       strings.Replace(line, "ab/c\t", "../c\t", 1),
		"absolute path":      strings.Replace(line, "ab/c\t", "/ab/c\t", 1),
		"path with NUL":      strings.Replace(line, "ab/c\t", "ab/\x00\t", 1),
		"sealed upwards":     strings.Replace(line, "ab/c.lz4", "ab/../../c.lz4", 1),
		"sealed absolute":    strings.Replace(line, "ab/c.lz4", "/c.lz4", 1),
		"bad backup":         strings.Replace(line, "file-storage_", "file-storage/", 1),
		"bad mtime":          strings.Replace(line, "\n", "\tmtime=1.5\n", 1),
		"bad mode":           strings.Replace(line, "\n", "\tmode=0888\n", 1),
		"bad name":           strings.Replace(line, "\n", "\tname=%4\n", 1),
		"name upwards":       strings.Replace(line, "\n", "\tname=%2E%2E/x\n", 1),
		"bad offset":         strings.Replace(line, "\n", "\tpackage=a.tar\toffset=-1\n", 1),
		"rows cut short":     strings.Replace(line, "\n", "\trows={\"public\":{\"jobs\":5\n", 1),
		"negative rows":      strings.Replace(line, "\n", "\trows={\"public\":{\"jobs\":-5}}\n", 1),
		"halves of rows":     strings.Replace(line, "\n", "\trows={\"public\":{\"jobs\":1.5}}\n", 1),
		"line without bound": strings.Repeat("x", maxLine+maxLine/8),
	} {
		entries, err := readAll([]byte(line + bad))
		if !errors.Is(err, ErrInvalid) || len(entries) != 1 || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%s: %d entries, %v", what, len(entries), err)
		}
	}
}

// A list cut anywhere is an error, unless the cut is between two lines, where
// nothing can tell.
func TestCutShort(t *testing.T) {
	whole := write(t, entry(t, "a"), entry(t, "b"))
	for n := range whole {
		_, err := readAll(whole[:n])
		if between := n == 0 || whole[n-1] == '\n'; between != (err == nil) || !between && !errors.Is(err, ErrTruncated) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
}

func TestReadErrorIsPassedOn(t *testing.T) {
	broken := errors.New("broken")
	for _, err := range Read(iotest.ErrReader(broken)) {
		if !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	}
}

func TestWriterRefuses(t *testing.T) {
	good := entry(t, "a")
	for what, change := range map[string]func(*Entry){
		"no backup":        func(e *Entry) { e.Backup = backupname.Name{} },
		"path upwards":     func(e *Entry) { e.Path = "../a" },
		"sealed with tab":  func(e *Entry) { e.SealedPath = "a\tb" },
		"field with break": func(e *Entry) { e.Other = []string{"a\nb"} },
		"negative size":    func(e *Entry) { e.Size = -1 },
	} {
		e := good
		change(&e)
		var b bytes.Buffer
		w := NewWriter(&b)
		if err := w.Write(&e); !errors.Is(err, ErrInvalid) || w.Flush() != nil || b.Len() != 0 {
			t.Errorf("%s: %v, %d bytes written", what, err, b.Len())
		}
	}
}

func fuzzSeeds(t testing.TB) [][]byte {
	seeds := [][]byte{nil, []byte("\n"), []byte("a\tb")}
	for _, p := range oddPaths {
		seeds = append(seeds, write(t, entry(t, p)))
	}
	dump := entry(t, "auth.sql")
	dump.Rows = Rows{"public": {"a\tb": 1}, "b": nil}
	seeds = append(seeds, write(t, dump))
	for _, file := range original(t)[:3] {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, b)
	}
	return seeds
}

func TestFuzzSeedsExist(t *testing.T) {
	if n := len(slices.DeleteFunc(fuzzSeeds(t), func(b []byte) bool { return len(b) < 100 })); n < 20 {
		t.Errorf("only %d seeds of substance", n)
	}
}

// Whatever is read can be written, and is then read as the same.
func FuzzRead(f *testing.F) {
	for _, seed := range fuzzSeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, _ := readAll(b)
		if len(entries) == 0 {
			return
		}
		again, err := readAll(write(t, entries...))
		if err != nil || len(again) != len(entries) {
			t.Fatalf("%d entries became %d, %v", len(entries), len(again), err)
		}
		for i := range entries {
			if !reflect.DeepEqual(entries[i], again[i]) {
				t.Errorf("%+v became %+v", entries[i], again[i])
			}
			if err := CheckPath(entries[i].Path); err != nil {
				t.Error(err)
			}
		}
	})
}

// An installation is of the list, not of the file: it comes back, and two lines
// that differ in nothing else stand for the same file.
func TestInstallation(t *testing.T) {
	e := entry(t, "a")
	with := e
	with.Installation = "chipster-prod/ü1"
	got, err := readAll(write(t, with))
	if err != nil || got[0].Installation != with.Installation || !got[0].SameFile(&e) || strings.Contains(got[0].ExtraColumns(), "installation") {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"a b", "a\tb", "a\nb", "\x7f", "\xff", "a\u00a0b", strings.Repeat("x", 101)} {
		with.Installation = bad
		if line, err := AppendLine([]byte("before"), &with); !errors.Is(err, ErrInvalid) || string(line) != "before" {
			t.Errorf("%q: %q, %v", bad, line, err)
		}
	}
	long := strings.Repeat("x", 101)
	if _, err := readAll(append(bytes.TrimSuffix(write(t, e), []byte("\n")), "\tinstallation="+long+"\n"...)); !errors.Is(err, ErrInvalid) {
		t.Errorf("a long one was read: %v", err)
	}
}

// One line alone is what it is in a list.
func TestOneLine(t *testing.T) {
	e := entry(t, "a b%41\x01")
	line, err := AppendLine(nil, &e)
	if err != nil || !bytes.Equal(line, write(t, e)) {
		t.Fatalf("%q, %v", line, err)
	}
	got, err := ParseLine(strings.TrimSuffix(string(line), "\n"))
	if err != nil || !reflect.DeepEqual(got, e) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := ParseLine("a\t1"); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v", err)
	}
}
