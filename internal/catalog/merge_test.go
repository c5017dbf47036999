package catalog

import (
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/chipster/firn/internal/extsort"
)

// someRecords makes records of "dir|name=kind content", sorted.
func someRecords(t testing.TB, texts string) iter.Seq2[[]byte, error] {
	t.Helper()
	s := extsort.New(0)
	t.Cleanup(func() { must(t, s.Close()) })
	for text := range strings.FieldsSeq(texts) {
		path, what, _ := strings.Cut(text, "=")
		dir, name, _ := strings.Cut(path, "|")
		kind := isFolder
		if what != "" {
			kind = isFile
		}
		must(t, s.Add(append(appendRecord(nil, dir, name, kind), what...)))
	}
	return s.All()
}

// What was listed and what is listed make what has to be done, in an order in
// which it can be: a name ends before it begins anew, a folder before what is in
// it.
func TestChanges(t *testing.T) {
	for name, test := range map[string]struct{ open, list, want, damage string }{
		"first":              {"", "|b=1 |a a|x=2", "+|a +|b=1 +a|x=2", ""},
		"nothing":            {"|a a|x=1", "|a a|x=1", "", ""},
		"all gone":           {"|a a|x=1 |b=2", "", "-|a -|b -a|x", ""},
		"changed":            {"|a=1 |b=2 |c=3", "|a=1 |b=22 |c=3", "-|b +|b=22", ""},
		"among others":       {"|b=2 |d=4", "|a=1 |c=3 |e=5", "+|a=1 -|b +|c=3 -|d +|e=5", ""},
		"file becomes dir":   {"|a=1", "|a a|x=1", "-|a +|a +a|x=1", ""},
		"dir becomes file":   {"|a a|x=1", "|a=1", "-|a +|a=1 -a|x", ""},
		"folder again":       {"", "|a a|x=1 |a a|y=2 |a", "+|a +a|x=1 +a|y=2", ""},
		"names like paths":   {"a-|x=1 a|x=1 a/b|x=1", "a/b|x=1 a0|x=2 a|x=1", "-a-|x +a0|x=2", ""},
		"twice":              {"", "|a a|x=1 a|x=1", "", `"a/x" is listed twice`},
		"twice, not alike":   {"", "|x=1 |x=2", "", `"x" is listed twice`},
		"both":               {"|a=1", "|a=1 |a a|x=1", "", `"a" is both a file and a folder`},
		"both, folder twice": {"", "|a=1 |a |a a|x=1", "", `"a" is both a file and a folder`},
	} {
		t.Run(name, func(t *testing.T) {
			changes := extsort.New(0)
			defer changes.Close()
			err := diff(someRecords(t, test.list), someRecords(t, test.open), changes)
			if test.damage != "" {
				if damage, ok := err.(*damage); !ok || damage.Error() != test.damage || damage.retry {
					t.Fatalf("got %v", err)
				}
				return
			}
			must(t, err)
			var got []string
			for record, err := range changes.All() {
				must(t, err)
				key := nodeKey(record)
				dir, name := cutKey(key)
				sign, content := "+", string(record[len(key)+1:])
				if record[len(key)] == isGone {
					sign = "-"
				} else if record[len(key)] == isFile {
					content = "=" + content
				}
				got = append(got, sign+string(dir)+"|"+string(name)+content)
			}
			if !slices.Equal(got, strings.Fields(test.want)) {
				t.Errorf("got %q, want %s", got, test.want)
			}
		})
	}
}

func TestFileRecord(t *testing.T) {
	want := fileRecord{
		1<<63 - 1, 2, []byte(strings.Repeat("\x00", 64)), []byte(strings.Repeat("\xff", 64)), []byte("a\x00b"), []byte("\tmtime=1.000000000"),
	}
	record := want.append(appendRecord(nil, "d", "n", isFile))
	got := parseFile(record[len(nodeKey(record))+1:])
	if got.size != want.size || got.sealedSize != want.sealedSize || !slices.Equal(got.sha, want.sha) || !slices.Equal(got.sealedSHA, want.sealedSHA) ||
		string(got.sealedPath) != string(want.sealedPath) || string(got.extra) != string(want.extra) {
		t.Errorf("got %+v", got)
	}
}
