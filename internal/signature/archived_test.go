package signature

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
)

var (
	older = must(backupname.Parse("file-storage_2026-01-01T01:10:00.000Z"))
	name  = must(backupname.Parse("file-storage_2026-01-02T01:10:00.000Z"))
	newer = must(backupname.Parse("file-storage_2026-01-03T01:10:00.000Z"))
)

func entry(path string, in backupname.Name) manifest.Entry {
	return manifest.Entry{
		Path: path, Size: 5, SHA512: manifest.Hash{1}, SealedPath: manifest.EscapePath(path) + ".lz4", SealedSize: 20, SealedSHA512: manifest.Hash{2}, Backup: in,
		Details: manifest.Details{
			Modified: time.Unix(1767229800, 5).UTC(), Mode: 0o640, HasMode: true, Package: "p.tar", Offset: 512, Key: "none", Blocks: "AAAA",
			Rows: manifest.Rows{"public": {"jobs": 5}}, Other: []string{"theirs=1"},
		},
	}
}

// backupLines are those of two new files, one of an older backup's, and one more.
func backupLines() []manifest.Entry {
	return []manifest.Entry{entry("b", name), entry("a\n", older), entry("a", name), {Path: "plain", SealedPath: "plain.lz4", Backup: name}}
}

// archived are the same lines as the archive lists them.
func archived(lines []manifest.Entry) []manifest.Entry {
	for i := range lines {
		lines[i].Backup = name
	}
	return lines
}

func listOf(t testing.TB, lines ...manifest.Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := manifest.NewWriter(&b)
	for i := range lines {
		if err := w.Write(&lines[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// collect gathers what comes before the error.
func collect(t testing.TB, trusted Trusted, archive, backup io.Reader, sig []byte) (all []manifest.Entry, err error) {
	t.Helper()
	for e, problem := range trusted.Archived(name, archive, backup, sig) {
		if err != nil {
			t.Fatal("something comes after an error")
		}
		if err = problem; err == nil {
			all = append(all, e)
		}
	}
	return all, err
}

func TestArchived(t *testing.T) {
	s := signer(t, newCurve())
	for name, keep := range map[string][]int{
		"all": {0, 1, 2, 3}, "without the first": {1, 2, 3}, "without the last": {0, 1}, "without some": {0, 2}, "none": nil,
	} {
		var want []manifest.Entry
		for _, i := range keep {
			want = append(want, archived(backupLines())[i])
		}
		backup := listOf(t, backupLines()...)
		got, err := collect(t, s.Trusted(), bytes.NewReader(listOf(t, want...)), bytes.NewReader(backup), sign(t, s, object, backup))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, error %v, want %v", name, got, err, want)
		}
	}
	if got, err := collect(t, s.Trusted(), strings.NewReader(""), strings.NewReader(""), sign(t, s, object, nil)); err != nil || got != nil {
		t.Errorf("a backup without files: %v, error %v", got, err)
	}
}

// No part of a line may differ, and no line be made up.
func TestArchivedLineThatIsNotSigned(t *testing.T) {
	s := signer(t, newCurve())
	backup := listOf(t, backupLines()...)
	sig := sign(t, s, object, backup)
	last := func(change func(*manifest.Entry)) []manifest.Entry {
		lines := archived(backupLines())
		change(&lines[2])
		return lines[:3]
	}
	swap := archived(backupLines())
	swap[1], swap[2] = swap[2], swap[1]
	tests := map[string]struct {
		archive []manifest.Entry
		reason  string
	}{
		"path":          {last(func(e *manifest.Entry) { e.Path = "c" }), `line for "c" is not in the signed list`},
		"size":          {last(func(e *manifest.Entry) { e.Size++ }), `line for "a" is not in the signed list`},
		"hash":          {last(func(e *manifest.Entry) { e.SHA512[63]++ }), "not in the signed list"},
		"sealed path":   {last(func(e *manifest.Entry) { e.SealedPath = "b.lz4" }), "not in the signed list"},
		"sealed size":   {last(func(e *manifest.Entry) { e.SealedSize++ }), "not in the signed list"},
		"sealed hash":   {last(func(e *manifest.Entry) { e.SealedSHA512[63]++ }), "not in the signed list"},
		"time":          {last(func(e *manifest.Entry) { e.Modified = e.Modified.Add(1) }), "not in the signed list"},
		"mode":          {last(func(e *manifest.Entry) { e.Mode = 0o4777 }), "not in the signed list"},
		"no mode":       {last(func(e *manifest.Entry) { e.HasMode = false }), "not in the signed list"},
		"package":       {last(func(e *manifest.Entry) { e.Package = "q.tar" }), "not in the signed list"},
		"offset":        {last(func(e *manifest.Entry) { e.Offset++ }), "not in the signed list"},
		"key":           {last(func(e *manifest.Entry) { e.Key = "0123456789ABCDEF" }), "not in the signed list"},
		"blocks":        {last(func(e *manifest.Entry) { e.Blocks = "AAAB" }), "not in the signed list"},
		"rows":          {last(func(e *manifest.Entry) { e.Rows["public"]["jobs"]++ }), "not in the signed list"},
		"other's":       {last(func(e *manifest.Entry) { e.Other = nil }), "not in the signed list"},
		"backup":        {last(func(e *manifest.Entry) { e.Backup = older }), `line for "a" names another backup, ` + older.String()},
		"newer backup":  {last(func(e *manifest.Entry) { e.Backup = newer }), "names another backup"},
		"one more":      {append(archived(backupLines()), entry("z", name)), `line for "z" is not in the signed list`},
		"twice":         {append(archived(backupLines())[:1], archived(backupLines())...), `line for "b" is not in the signed list`},
		"in disorder":   {swap, `line for "a\n" is not in the signed list`},
		"nothing of it": {[]manifest.Entry{entry("z", name)}, "not in the signed list"},
	}
	for what, test := range tests {
		_, err := collect(t, s.Trusted(), bytes.NewReader(listOf(t, test.archive...)), bytes.NewReader(backup), sig)
		if wantUntrusted(t, err, test.reason); t.Failed() {
			t.Fatal(what)
		}
	}
}

// The archive's list is that of the backup's list each time: what fails is that.
func TestArchivedNeedsTheSignedList(t *testing.T) {
	s := signer(t, newCurve())
	backup := listOf(t, backupLines()...)
	longer := listOf(t, append(backupLines(), entry("z", name))...)
	future := listOf(t, append(backupLines(), entry("z", newer))...)
	tests := map[string]struct {
		backup, sig []byte
		reason      string
	}{
		"no signature":      {backup, nil, "there is no signature"},
		"other key":         {backup, sign(t, signer(t, newCurve()), object, backup), "which is not trusted"},
		"other version's":   {backup, sign(t, s, another, backup), "signed for"},
		"a line less":       {backup, sign(t, s, object, longer), "the bytes are not those that were signed"},
		"a line more":       {longer, sign(t, s, object, backup), "the bytes are not those that were signed"},
		"another last line": {listOf(t, append(backupLines()[:3], entry("z", name))...), sign(t, s, object, backup), "the bytes are not those that were signed"},
		"a newer backup":    {future, sign(t, s, object, future), `line for "z" names a newer backup`},
		"other bytes":       {bytes.Replace(backup, []byte("mode=0640"), []byte("mode=640"), 1), sign(t, s, object, backup), "the bytes are not those that were signed"},
	}
	for what, test := range tests {
		archive := listOf(t, archived(backupLines())[:3]...)
		_, err := collect(t, s.Trusted(), bytes.NewReader(archive), bytes.NewReader(test.backup), test.sig)
		if wantUntrusted(t, err, test.reason); t.Failed() {
			t.Fatal(what)
		}
	}
}

// What is damaged or cannot be read is no question of trust.
func TestArchivedOtherErrors(t *testing.T) {
	s := signer(t, newCurve())
	backup, archive := string(listOf(t, backupLines()...)), string(listOf(t, archived(backupLines())...))
	disk := errors.New("disk")
	fails := func(text string) io.Reader {
		return io.MultiReader(strings.NewReader(text[:len(text)/2]), iotest.ErrReader(disk))
	}
	whole := func(text string) io.Reader { return strings.NewReader(text) }
	tests := map[string]struct {
		archive, backup io.Reader
		want            error
		says            string
	}{
		"archive cannot be read": {fails(archive), whole(backup), disk, "archive-info"},
		"backup cannot be read":  {whole(archive), fails(backup), disk, "backup-info"},
		"at once":                {iotest.ErrReader(disk), whole(""), disk, "archive-info"},
		"archive is cut short":   {whole(archive[:len(archive)-1]), whole(backup), manifest.ErrTruncated, "archive-info"},
		"backup is cut short":    {whole(archive), whole(backup[:len(backup)-1]), manifest.ErrTruncated, "backup-info"},
		"archive is none":        {whole("<html>\n"), whole(backup), manifest.ErrInvalid, "archive-info: line 1"},
		"end of backup is none":  {whole(archive), whole(backup + "<html>\n"), manifest.ErrInvalid, "backup-info: line 5"},
	}
	for what, test := range tests {
		_, err := collect(t, s.Trusted(), test.archive, test.backup, sign(t, s, object, []byte(backup)))
		if !errors.Is(err, test.want) || errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %v, want %v of %s alone", what, err, test.want, test.says)
		}
	}
}

func TestArchivedStopsWhenAsked(t *testing.T) {
	s := signer(t, newCurve())
	backup := listOf(t, backupLines()...)
	n := 0
	for range s.Trusted().Archived(name, bytes.NewReader(listOf(t, archived(backupLines())...)), bytes.NewReader(backup), sign(t, s, object, backup)) {
		n++
		break
	}
	if n != 1 {
		t.Errorf("%d lines", n)
	}
}

// Both lists are read side by side, a buffer ahead at most: none is kept.
func TestArchivedReadsSideBySide(t *testing.T) {
	s := signer(t, newCurve())
	var lines []manifest.Entry
	for i := range 5_000 {
		lines = append(lines, entry(fmt.Sprintf("file%04d", i), older))
	}
	backup := listOf(t, lines...)
	archive := listOf(t, archived(lines)...)
	a, b := &counter{r: bytes.NewReader(archive)}, &counter{r: bytes.NewReader(backup)}
	n := 0
	for _, err := range s.Trusted().Archived(name, a, b, sign(t, s, object, backup)) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		if apart := max(a.n-b.n, b.n-a.n); apart > 1<<20 {
			t.Fatalf("%d bytes apart after line %d of %d bytes", apart, n, len(backup))
		}
	}
	if n != len(lines) || b.n != len(backup) {
		t.Errorf("%d of %d lines, %d of %d bytes", n, len(lines), b.n, len(backup))
	}
}

type counter struct {
	r io.Reader
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}
