package postgres

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
)

const header = "--\n-- PostgreSQL database dump\n--\n\n"

const blobs = "BEGIN;\n\nSELECT pg_catalog.lo_open('16389', 131072);\nSELECT pg_catalog.lowrite(0, '\\x00');\n" +
	"SELECT pg_catalog.lo_close(0);\n\nCOMMIT;\n\n"

var takenOut = strings.NewReplacer("BEGIN;\n", "", "COMMIT;\n", "")

// scripts are dumps and what psql is to read of them; "" is the same.
var scripts = []struct{ name, dump, want string }{
	{"nothing", "", ""},
	{"no line end", "SELECT 1;", ""},
	{"restricted", header + "\\restrict aB9\n\nSELECT 1;\n\n\\unrestrict aB9\n\n", header + "\nSELECT 1;\n\n\n"},
	{"no line end after the key", "\\restrict k\nSELECT 1;\n\\unrestrict k", "SELECT 1;\n"},
	{"restricted after a statement", "SELECT 1;\n\\restrict k\n\\unrestrict k\n", ""},
	{"restricted twice", "\\restrict a\n\\restrict b\n\\unrestrict b\n\\unrestrict a\n", "\\restrict b\n\\unrestrict b\n\\unrestrict a\n"},
	{"another key", "\\restrict a\n\\unrestrict b\n\\unrestrict aa\n\\unrestrict a \n", "\\unrestrict b\n\\unrestrict aa\n\\unrestrict a \n"},
	{"key taken twice", "\\restrict a\n\\unrestrict a\n\\unrestrict a\n", "\\unrestrict a\n"},
	{"a key in a row", "\\restrict a\nCOPY t FROM stdin;\n\\unrestrict a\n\\.\n\\unrestrict a\n", "COPY t FROM stdin;\n\\unrestrict a\n\\.\n"},
	{"no key", "\\restrict \n\\restrict a b\n\\restrict " + strings.Repeat("a", 2*maxKey) + "\n", ""},
	{"large objects", header + blobs + blobs + "SELECT 1;\n", header + takenOut.Replace(blobs+blobs) + "SELECT 1;\n"},
	{"large objects of old versions", "BEGIN;\n\nSELECT pg_catalog.lo_open(pg_catalog.lo_create('1'), 131072);\nCOMMIT;\n",
		"\nSELECT pg_catalog.lo_open(pg_catalog.lo_create('1'), 131072);\n"},
	{"another transaction", "BEGIN;\n\nSELECT 1;\nCOMMIT;\nBEGIN;\nSELECT pg_catalog.lo_open('1', 1);\nCOMMIT;\n", ""},
	{"rows", "COPY public.t (a) FROM stdin;\n" + blobs + "\\.\n", ""},
	{"rows and then large objects", "COPY public.t (a) FROM stdin;\n" + blobs + "\\.\n\n" + blobs,
		"COPY public.t (a) FROM stdin;\n" + blobs + "\\.\n\n" + takenOut.Replace(blobs)},
	{"rows with quotes", "COPY t FROM stdin;\nit's $$ \"\n\\.x\n\\.\n" + blobs, "COPY t FROM stdin;\nit's $$ \"\n\\.x\n\\.\n" + takenOut.Replace(blobs)},
	{"a column with a line in its name", "COPY t (\"a;\nb\") FROM stdin;\n" + blobs + "\\.\n", ""},
	{"a table called so", "COPY \"x FROM stdin;\" (a) FROM stdin;\n" + blobs + "\\.\n", ""},
	{"a function", "CREATE FUNCTION f() AS $_$\nit's $$\n" + blobs + "$_ $x$_$;\n" + blobs,
		"CREATE FUNCTION f() AS $_$\nit's $$\n" + blobs + "$_ $x$_$;\n" + takenOut.Replace(blobs)},
	{"a function that copies", "AS $$\nCOPY t FROM stdin;\n$$;\n" + blobs, "AS $$\nCOPY t FROM stdin;\n$$;\n" + takenOut.Replace(blobs)},
	{"a comment that copies", "COMMENT ON TABLE t IS 'it''s\nCOPY t FROM stdin;\n" + blobsInText + "';\n" + blobs,
		"COMMENT ON TABLE t IS 'it''s\nCOPY t FROM stdin;\n" + blobsInText + "';\n" + takenOut.Replace(blobs)},
	{"a remark that quotes", "-- Name: it's $$ \"; COPY t FROM stdin;\n" + blobs, "-- Name: it's $$ \"; COPY t FROM stdin;\n" + takenOut.Replace(blobs)},
	{"parameters are no quotes", "SELECT $1, a$b$c, $1$;\n" + blobs, "SELECT $1, a$b$c, $1$;\n" + takenOut.Replace(blobs)},
	{"no copy into it", "COPY t TO stdout;\n" + blobs, "COPY t TO stdout;\n" + takenOut.Replace(blobs)},
	{"other words at the end", "SELECT a FROM stdin;\n" + blobs, "SELECT a FROM stdin;\n" + takenOut.Replace(blobs)},
	{"cut in the commit", strings.TrimSuffix(blobs, "\n\n"), strings.TrimPrefix(strings.TrimSuffix(blobs, "\n\n"), "BEGIN;\n")},
}

const blobsInText = "BEGIN;\n\nSELECT pg_catalog.lo_open(1);\nCOMMIT;\n"

func filtered(t testing.TB, dump io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(newScript(dump, false))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestScript(t *testing.T) {
	for _, test := range scripts {
		want := test.want
		if want == "" {
			want = test.dump
		}
		for chunks, reader := range map[string]io.Reader{
			"whole": strings.NewReader(test.dump), "bytes": iotest.OneByteReader(strings.NewReader(test.dump)),
			"halves": iotest.HalfReader(strings.NewReader(test.dump)), "eof with data": iotest.DataErrReader(strings.NewReader(test.dump)),
		} {
			if got := filtered(t, reader); got != want {
				t.Errorf("%s, %s:\n%q became\n%q, not\n%q", test.name, chunks, test.dump, got, want)
			}
		}
	}
}

// Lines may be far longer than the buffer, and what counts may lie anywhere
// about its edges.
func TestScriptLongLines(t *testing.T) {
	for near := scriptBuffer - 20; near < scriptBuffer+3; near++ {
		long := strings.Repeat("x", near)
		for name, before := range map[string]string{
			"columns": "COPY t (" + long + ") FROM stdin;\n" + blobs + "\\.\n",
			"row":     "COPY t FROM stdin;\n" + long + "\\.\n" + long + long + "\\\n\\.\n",
			"quote":   "SELECT '" + long + "''" + long + "';\n",
			"dollars": "SELECT $x$" + long + "$x$x$x$, $x$" + blobs + "$x$;\n",
			"remark":  "-- " + long + "'\n",
		} {
			if got := filtered(t, strings.NewReader(before+blobs)); got != before+takenOut.Replace(blobs) {
				t.Fatalf("%s of %d bytes: %d bytes became %d", name, near, len(before+blobs), len(got))
			}
		}
	}
}

// How a dump ends is how the script ends, also for a reader that goes on after
// an error.
func TestScriptPassesErrors(t *testing.T) {
	broken := errors.New("broken")
	for _, dump := range []string{"", "\\restr", header, "SELECT 1;\n", "SELECT", blobs[:9]} {
		s := newScript(&forgetful{strings.NewReader(dump), broken}, false)
		got, err := io.ReadAll(s)
		if !errors.Is(err, broken) || !strings.HasSuffix(dump, string(got)) {
			t.Errorf("%q ended as %q with %v", dump, got, err)
		}
		if n, err := s.Read(make([]byte, 9)); n != 0 || !errors.Is(err, broken) {
			t.Errorf("%q went on after its error", dump)
		}
	}
}

// forgetful returns an error where r ends, and then more.
type forgetful struct {
	r   io.Reader
	err error
}

func (f *forgetful) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err == io.EOF && f.err != nil {
		f.r, err, f.err = strings.NewReader("more"), f.err, nil
	}
	return n, err
}

// onlyLinesLeftOut checks that nothing was changed but by leaving out lines of
// the kinds that may be.
func onlyLinesLeftOut(t testing.TB, dump, got string) {
	t.Helper()
	for line := range strings.Lines(dump) {
		if rest, same := strings.CutPrefix(got, line); same {
			got = rest
			continue
		}
		if line != begin && line != commit && !strings.HasPrefix(line, restrict) && !strings.HasPrefix(line, unrestrict) {
			t.Fatalf("%q is missing from the script of %q", line, dump)
		}
	}
	if got != "" {
		t.Fatalf("%q came into the script of %q", got, dump)
	}
}

var words = []string{
	"\n", "\n", "\n", "'", "\"", "$$", "$x$", "$", ";", "--", "BEGIN;\n", "COMMIT;\n", "\nSELECT pg_catalog.lo_open(", "COPY t", " FROM stdin;\n", "\\.\n",
	"\\restrict k\n", "\\unrestrict k\n", "x", " ",
}

// Any text at all, made of what matters: the script does not depend on how the
// dump is read, and without what is to be taken out it is the dump.
func TestScriptOfAnything(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2_000 {
		var b strings.Builder
		for range random.IntN(30) {
			b.WriteString(words[random.IntN(len(words))])
		}
		checkScript(t, b.String())
	}
}

func checkScript(t testing.TB, dump string) {
	t.Helper()
	got := filtered(t, strings.NewReader(dump))
	if bytewise := filtered(t, iotest.OneByteReader(strings.NewReader(dump))); bytewise != got {
		t.Fatalf("%q became %q, and read by bytes %q", dump, got, bytewise)
	}
	onlyLinesLeftOut(t, dump, got)
	if !strings.Contains(dump, restrict) && !strings.Contains(dump, beginBlobs) && got != dump {
		t.Fatalf("%q became %q", dump, got)
	}
}

func FuzzScript(f *testing.F) {
	for _, s := range scripts {
		f.Add([]byte(s.dump))
	}
	f.Fuzz(func(t *testing.T, dump []byte) { checkScript(t, string(dump)) })
}

func BenchmarkScript(b *testing.B) {
	row := strings.Repeat("0123456789\t", 20) + "\n"
	for name, dump := range map[string]string{
		"rows":          "COPY t FROM stdin;\n" + strings.Repeat(row, 1<<16) + "\\.\n",
		"large objects": "BEGIN;\n\n" + strings.Repeat("SELECT pg_catalog.lowrite(0, '\\x"+strings.Repeat("00", 1<<14)+"');\n", 1<<9),
		"statements":    strings.Repeat("INSERT INTO t VALUES (1, 2, 3, 4, 5, 6, 7, 8, 9);\n", 1<<18),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(dump)))
			for b.Loop() {
				_, _ = io.Copy(io.Discard, struct{ io.Reader }{newScript(bytes.NewReader([]byte(dump)), false)})
			}
		})
	}
}
