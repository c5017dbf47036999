package archiver

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/memorytest"
)

// rawHeader is a tar header with any bytes in its fields, and the right checksum.
func rawHeader(name string, kind byte, size string, change func(h []byte)) []byte {
	h := make([]byte, 512)
	copy(h, name)
	copy(h[100:], "0000644\x000000000\x000000000\x00")
	copy(h[124:136], size)
	copy(h[136:], "00000000000\x00")
	h[156] = kind
	copy(h[257:], "ustar  \x00")
	if change != nil {
		change(h)
	}
	copy(h[148:], "        ")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

func octal(n int) string { return fmt.Sprintf("%011o\x00", n) }

// blocks fills up to a whole number of blocks.
func blocks(b []byte) []byte {
	return append(b, make([]byte, (512-len(b)%512)%512)...)
}

// longName is GNU's member that holds the name of the next one.
func longName(kind byte, name string) []byte {
	return append(rawHeader("././@LongLink", kind, octal(len(name)+1), nil), blocks([]byte(name+"\x00"))...)
}

func paxHeader(kind byte, records string) []byte {
	return append(rawHeader("pax", kind, octal(len(records)), nil), blocks([]byte(records))...)
}

func record(key, value string) string {
	n := len(key) + len(value) + 3
	for l := 0; l != n; {
		l = n
		n = len(key) + len(value) + 3 + len(fmt.Sprint(l))
	}
	return fmt.Sprintf("%d %s=%s\n", n, key, value)
}

// odd is a package, and whether the good member behind the oddity is reached:
// tar cannot be read on behind a header that is none.
type odd struct {
	before  []byte
	reached bool
}

func oddPackages(good string, victim sealed) map[string]odd {
	name := victim.entry.SealedPath
	header := func(kind byte, size string) []byte { return rawHeader(name, kind, size, nil) }
	base256 := func(first byte) string {
		return string([]byte{first, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255})
	}
	sparse := func(h []byte) { copy(h[386:], "00000000000\x0000000000000\x00"); copy(h[483:], "77777777777\x00") }
	return map[string]odd{
		"a negative size":              {header('0', base256(0xff)), false},
		"a size over 64 bits":          {header('0', base256(0x80)), false},
		"a size of 8 GiB less one":     {header('0', "77777777777\x00"), false},
		"a size that is none":          {header('0', "forty-two\x00"), false},
		"a PAX size over 64 bits":      {append(paxHeader('x', record("size", "99999999999999999999")), header('0', octal(0))...), false},
		"a negative PAX size":          {append(paxHeader('x', record("size", "-1")), header('0', octal(0))...), false},
		"a PAX size of 8 EiB":          {append(paxHeader('x', record("size", "9223372036854775807")), header('0', octal(0))...), false},
		"a PAX record of 2 GiB":        {append(paxHeader('x', "2147483648 path=x\n"), header('0', octal(0))...), false},
		"a PAX record of no length":    {append(paxHeader('x', "0 path=x\n"), header('0', octal(0))...), false},
		"a PAX path with NUL":          {append(paxHeader('x', record("path", "a\x00b")), header('0', octal(0))...), false},
		"a PAX path upwards":           {append(paxHeader('x', record("path", "../"+name)), header('0', octal(0))...), true},
		"a hundred thousand records":   {append(paxHeader('x', strings.Repeat(record("a", "b"), 100_000)), header('0', octal(0))...), true},
		"PAX headers of 2 MiB":         {append(paxHeader('x', record("comment", strings.Repeat("x", 2<<20))), header('0', octal(0))...), false},
		"global PAX headers":           {bytes.Repeat(paxHeader('g', record("path", name)), 1000), true},
		"a long name of 3 MiB":         {append(longName('L', strings.Repeat("x", 3<<20)), header('0', octal(0))...), false},
		"a long name upwards":          {append(longName('L', strings.Repeat("../", 100)+name), header('0', octal(0))...), true},
		"a long name, again and again": {append(bytes.Repeat(longName('L', strings.Repeat("x", 1000)), 1000), header('0', octal(0))...), true},
		"a long name of 8 GiB":         {append(rawHeader("././@LongLink", 'L', "77777777777\x00", nil), header('0', octal(0))...), false},
		"an old sparse file of 8 GiB":  {rawHeader(name, 'S', octal(0), sparse), true},
		"no name":                      {rawHeader("", '0', octal(0), nil), true},
		"control characters":           {rawHeader("\x01\x1b[2J\x7f", '0', octal(0), nil), true},
		"a folder of that name":        {rawHeader(name+"/", '5', octal(0), nil), true},
		"a volume's label":             {rawHeader(name, 'V', octal(0), nil), true},
		"a continued file":             {rawHeader(name, 'M', octal(0), nil), true},
		"an unknown kind":              {rawHeader(name, '\xff', octal(0), nil), true},
		"a socket":                     {rawHeader(name, 's', octal(0), nil), true},
		"a link into itself":           {rawHeader(name, '2', octal(0), func(h []byte) { copy(h[157:], name) }), true},
		"a link to the root":           {rawHeader(name, '2', octal(0), func(h []byte) { copy(h[157:], "/") }), true},
		"a link to the good file":      {rawHeader(name, '1', octal(0), func(h []byte) { copy(h[157:], good) }), true},
		"given up, with bytes":         {append(rawHeader("~~~", '0', octal(len(victim.bytes)), nil), blocks(victim.bytes)...), true},
		"20,000 empty members":         {bytes.Repeat(rawHeader("empty", '0', octal(0), nil), 20_000), true},
		"20,000 times the victim":      {bytes.Repeat(header('0', octal(0)), 20_000), true},
		"zeros":                        {make([]byte, 10<<20), false},
		"noise":                        {bytes.Repeat([]byte("noise"), 10_000), false},
		"half a header":                {header('0', octal(0))[:300], false},
	}
}

// Whatever stands in a package before a good file: within little memory and
// time, the file is kept where tar can be read that far, the victim is missed or
// damaged, and nothing is anywhere that does not belong there.
func TestOddPackages(t *testing.T) {
	w0 := newWorld(t)
	good, victim := w0.seal(w0.nameAt(t, "fs"), "good", "good"), w0.seal(w0.nameAt(t, "fs"), "victim", "victim")
	behind := handMade(t, member{tar.Header{Name: good.entry.SealedPath}, string(good.bytes)})
	for what, o := range oddPackages(good.entry.SealedPath, victim) {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			n := w.nameAt(t, "fs")
			w.put(t, n.String()+"/backup-info", list(t, good.entry, victim.entry))
			w.put(t, n.String()+"/a.tar", slices.Concat(o.before, behind))
			// What came before the oddity is never lost.
			first := w.seal(n, "first", "first")
			w.put(t, n.String()+"/backup-info", list(t, first.entry, good.entry, victim.entry))
			w.put(t, n.String()+"/a.tar", slices.Concat(pack(t, first)[:1024], o.before, behind))
			b := w.archiveHostile(t)
			if b.Damaged.Count+b.Missing.Count+b.Unexpected.Count == 0 {
				t.Errorf("nothing is said: %+v", b)
			}
			want := []string{"first"}
			if o.reached {
				want = append(want, "good")
			}
			if got := w.archived(t); !slices.Equal(got, want) {
				t.Errorf("archived: %v, want %v; %+v", got, want, b)
			}
		})
	}
}

// Packages that are none, or not alone.
func TestPackagesThatAreNone(t *testing.T) {
	w0 := newWorld(t)
	one, two := w0.seal(w0.nameAt(t, "fs"), "one", "one"), w0.seal(w0.nameAt(t, "fs"), "two", "two")
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, err := z.Write(pack(t, one, two))
	must(t, errors.Join(err, z.Close()))
	for what, c := range map[string]struct {
		pkg  []byte
		want []string
	}{
		"gzip":             {zipped.Bytes(), nil},
		"two archives":     {slices.Concat(pack(t, one), pack(t, two)), []string{"one"}},
		"without an end":   {pack(t, one, two)[:2048], []string{"one", "two"}},
		"bytes behind":     {append(pack(t, one, two), bytes.Repeat([]byte("x"), 1<<20)...), []string{"one", "two"}},
		"a list":           {list(t, one.entry), nil},
		"nothing":          {nil, nil},
		"a block of zeros": {append(make([]byte, 512), pack(t, one, two)...), nil},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			n := w.nameAt(t, "fs")
			w.put(t, n.String()+"/backup-info", list(t, one.entry, two.entry))
			w.put(t, n.String()+"/a.tar", c.pkg)
			w.archiveHostile(t)
			if got := w.archived(t); !slices.Equal(got, c.want) {
				t.Errorf("archived: %v, want %v", got, c.want)
			}
		})
	}
}

// A list that cannot be right archives nothing, and takes nothing away.
func TestListsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	(&nightly{w, "fs", map[string]string{"a": "a", "b/c": "c"}}).backup(t)
	w.run(t)
	before := tree(t, w.root)
	w.now = w.now.AddDate(0, 0, 1)
	n := w.nameAt(t, "fs")
	f := w.seal(n, "a", "a")
	line := string(list(t, f.entry))
	other := w.seal(n, "other", "other")
	other.entry.SealedPath = f.entry.SealedPath
	for what, bad := range map[string]string{
		"upwards":               strings.Replace(line, "a\t", "../a\t", 1),
		"sealed upwards":        strings.Replace(line, "\ta.lz4", "\t../a.lz4", 1),
		"sealed absolute":       strings.Replace(line, "\ta.lz4", "\t/tmp/a.lz4", 1),
		"into the work folder":  strings.Replace(line, "\ta.lz4", "\t../.firn/lock", 1),
		"a path twice":          line + line,
		"a sealed path twice":   line + string(list(t, other.entry)),
		"cut short":             line[:len(line)-1],
		"a name that is hidden": strings.TrimSuffix(line, "\n") + "\tname=%2E%2E%2Fa\n",
		"too deep":              strings.Replace(line, "a\t", strings.Repeat("a/", 3000)+"a\t", 1),
	} {
		w.put(t, n.String()+"/backup-info", []byte(bad))
		w.put(t, n.String()+"/a.tar", pack(t, f))
		if _, err := Run(t.Context(), w.options()); !errors.Is(err, manifest.ErrInvalid) && !errors.Is(err, manifest.ErrTruncated) {
			t.Errorf("%s: %v", what, err)
		}
		after := tree(t, w.root)
		for p, content := range before {
			if after[p] != content && p != lockFile {
				t.Errorf("%s: %s is gone or other", what, p)
			}
		}
		if v := w.versions(t)["fs"]; len(v) != 1 {
			t.Errorf("%s: %d versions", what, len(v))
		}
	}
}

// What stands in the way of a version's files on the archive's disk is not
// followed, and costs no more than what it is in the way of.
func TestHostileDisk(t *testing.T) {
	for what, prepare := range map[string]func(w *world, folder string){
		"a folder for a file": func(w *world, folder string) { must(t, os.MkdirAll(filepath.Join(folder, "a.lz4.gpg/x"), 0o755)) },
		"a link for a file": func(w *world, folder string) {
			must(t, os.MkdirAll(folder, 0o755))
			must(t, os.Symlink(filepath.Join(filepath.Dir(w.root), "outside"), filepath.Join(folder, "a.lz4.gpg")))
		},
		"a link for a folder": func(w *world, folder string) {
			must(t, os.MkdirAll(folder, 0o755))
			must(t, os.Symlink(filepath.Dir(w.root), filepath.Join(folder, "b")))
		},
		"a file for a folder": func(w *world, folder string) {
			must(t, os.MkdirAll(folder, 0o755))
			must(t, os.WriteFile(filepath.Join(folder, "b"), nil, 0o644))
		},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			n := w.nameAt(t, "fs")
			prepare(w, w.folder(n))
			w.upload(t, n, []sealed{w.seal(n, "a", "a"), w.seal(n, "b/c", "c"), w.seal(n, "good", "good")})
			outside := tree(t, w.bucket)
			_, err := Run(t.Context(), w.options())
			if err != nil && !errors.Is(err, ErrIncomplete) && !strings.Contains(err.Error(), "escapes") {
				t.Errorf("%v", err)
			}
			if err == nil || errors.Is(err, ErrIncomplete) {
				if !slices.Contains(w.archived(t), "good") {
					t.Errorf("the good file is lost: %v", w.archived(t))
				}
			}
			after := tree(t, w.bucket)
			for p, content := range outside {
				if after[p] != content {
					t.Errorf("%s was written", p)
				}
			}
			if entries, err := os.ReadDir(filepath.Dir(w.root)); err != nil || len(entries) != 2 {
				t.Errorf("beside the bucket and the root: %v, %v", entries, err)
			}
		})
	}
}

// archiveHostile runs the archiver on a backup that nobody should have made,
// and holds what must be true whatever it is.
func (w *world) archiveHostile(t testing.TB) Backup {
	t.Helper()
	outside := tree(t, filepath.Dir(w.root))
	var report *Report
	var err error
	began := time.Now()
	memory := memorytest.Peak(func() { report, err = Run(t.Context(), w.options()) })
	if err != nil && !errors.Is(err, ErrIncomplete) {
		t.Errorf("%v", err)
	}
	if took := time.Since(began); memory > 100<<20 || took > 30*time.Second {
		t.Errorf("%d MiB and %s", memory>>20, took)
	}
	text, jsonErr := json.Marshal(report)
	must(t, jsonErr)
	if len(text) > 1<<20 {
		t.Errorf("a report of %d KiB", len(text)>>10)
	}
	w.checkArchive(t)
	for p := range tree(t, filepath.Dir(w.root)) {
		if _, ok := outside[p]; !ok && !strings.HasPrefix(p, "root/") && !strings.HasPrefix(p, "bucket/") {
			t.Errorf("%s was written", p)
		}
	}
	return report.Backups[0]
}

// archived are the paths that the only version lists, sorted.
func (w *world) archived(t testing.TB) (paths []string) {
	t.Helper()
	for _, v := range w.versions(t)["fs"] {
		for _, e := range v.entries {
			paths = append(paths, e.Path)
		}
	}
	slices.Sort(paths)
	return paths
}

// Of a sparse file a package of some bytes can bring any number.
func TestSparseMember(t *testing.T) {
	w := newWorld(t)
	n := w.nameAt(t, "fs")
	f := w.seal(n, "a", "a")
	f.bytes = make([]byte, 64<<20)
	f.entry.SealedSize, f.entry.SealedSHA512 = int64(len(f.bytes)), sha512.Sum512(f.bytes)
	sparse := record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0") +
		record("GNU.sparse.name", f.entry.SealedPath) + record("GNU.sparse.realsize", "67108864")
	w.put(t, n.String()+"/backup-info", list(t, f.entry))
	w.put(t, n.String()+"/a.tar", slices.Concat(paxHeader('x', sparse),
		rawHeader("x", '0', octal(512), func(h []byte) { copy(h[257:], "ustar\x0000") }), blocks([]byte("0\n")), make([]byte, 1024)))
	if report, err := Run(t.Context(), w.options()); !errors.Is(err, ErrIncomplete) || report.Backups[0].Unexpected.Count != 1 || len(w.archived(t)) > 0 {
		t.Errorf("%v: %+v", err, report)
	}
}

// Names of megabytes do not become reports of gigabytes.
func TestLongNamesInTheReport(t *testing.T) {
	w := newWorld(t)
	n := w.nameAt(t, "fs")
	f := w.seal(n, "a", "a")
	w.put(t, n.String()+"/backup-info", list(t, f.entry))
	var pkg []byte
	for range 20 {
		pkg = append(append(pkg, longName('L', strings.Repeat("\x01", 1<<20-600))...), rawHeader("x", '0', octal(0), nil)...)
	}
	w.put(t, n.String()+"/a.tar", append(pkg, pack(t, f)...))
	w.archiveHostile(t) // refuses reports of over 1 MiB
}

// A version that no reader could show is not archived.
func TestFileAndFolder(t *testing.T) {
	for _, paths := range [][]string{{"a", "a/b"}, {"a/b", "a"}, {"x/y/z/1", "x/y/z/2", "x/y"}} {
		w := newWorld(t)
		n := w.nameAt(t, "fs")
		var files []sealed
		for _, p := range paths {
			files = append(files, w.seal(n, p, p))
		}
		w.upload(t, n, files)
		if _, err := Run(t.Context(), w.options()); !errors.Is(err, manifest.ErrInvalid) || len(w.archived(t)) > 0 {
			t.Errorf("%q: %v", paths, err)
		}
	}
}
