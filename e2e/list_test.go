package e2e

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// line is what the original's reader takes of a line of a list: the first seven
// columns. What firn adds behind them is kept as it is.
type line struct {
	path, hash             string
	size                   int64
	sealedPath, sealedHash string
	sealedSize             int64
	backup                 string
	extra                  map[string]string
}

// The original's format, in its own terms, and what firn adds.
var (
	columnRules = []*regexp.Regexp{
		regexp.MustCompile(`^[^\t\n\x00]+$`),
		regexp.MustCompile(`^(0|[1-9][0-9]*)$`),
		regexp.MustCompile(`^[0-9a-f]{128}$`),
		regexp.MustCompile(`^[^\t\n\x00]+\.lz4(\.gpg)?$`),
		regexp.MustCompile(`^[1-9][0-9]*$`),
		regexp.MustCompile(`^[0-9a-f]{128}$`),
		regexp.MustCompile(`^[^_\t/]+_\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.(\d{3}){1,3})?Z$`),
	}
	extraRules = map[string]*regexp.Regexp{
		"name":         regexp.MustCompile(`^[^\t\n\x00]+$`),
		"mtime":        regexp.MustCompile(`^-?[0-9]+\.[0-9]{9}$`),
		"mode":         regexp.MustCompile(`^[0-7]{4}$`),
		"package":      regexp.MustCompile(`^([0-9A-Za-z=_.-]+|[^_\t/]+-db-backup_[0-9TZ:.-]+)\.tar$`),
		"offset":       regexp.MustCompile(`^[0-9]+$`),
		"key":          regexp.MustCompile(`^([0-9A-F]{16}(,[0-9A-F]{16})*|passphrase-[0-9A-F]{16}|none)$`),
		"rows":         regexp.MustCompile(`^\{("[^\t\n]+":\{("[^\t\n]+":[0-9]+,?)*\},?)*\}$`),
		"installation": regexp.MustCompile(`^[0-9a-f]{16}$`),
		"blocks":       regexp.MustCompile(`^[A-Za-z0-9+/]{70,}$`), // at least two of them
	}
)

// parseList is strict: whatever is not as documented fails the test.
func parseList(t testing.TB, what, text string) (lines []line) {
	t.Helper()
	if !strings.HasSuffix(text, "\n") {
		t.Fatalf("%s does not end in a line feed", what)
	}
	seen := map[string]bool{}
	for n, row := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		columns := strings.Split(row, "\t")
		if len(columns) < len(columnRules) {
			t.Fatalf("%s, line %d: %d columns", what, n+1, len(columns))
		}
		for i, rule := range columnRules {
			if !rule.MatchString(columns[i]) {
				t.Fatalf("%s, line %d: column %d is %q", what, n+1, i+1, columns[i])
			}
		}
		l := line{path: columns[0], hash: columns[2], sealedPath: columns[3], sealedHash: columns[5], backup: columns[6], extra: map[string]string{}}
		l.size, _ = strconv.ParseInt(columns[1], 10, 64)
		l.sealedSize, _ = strconv.ParseInt(columns[4], 10, 64)
		for _, field := range columns[len(columnRules):] {
			key, value, _ := strings.Cut(field, "=")
			if key == "installation" && n > 0 {
				t.Fatalf("%s, line %d: an installation, which is for the first line", what, n+1)
			}
			if rule := extraRules[key]; rule == nil || !rule.MatchString(value) || l.extra[key] != "" {
				t.Fatalf("%s, line %d: extra column %q", what, n+1, field)
			}
			l.extra[key] = value
		}
		if seen[l.path] || seen["sealed "+l.sealedPath] {
			t.Fatalf("%s, line %d: %q or %q is listed twice", what, n+1, l.path, l.sealedPath)
		}
		seen[l.path], seen["sealed "+l.sealedPath] = true, true
		lines = append(lines, l)
	}
	return lines
}

// checkBackup looks at a backup in the bucket: the list, and with tar the
// packages.
func (w *world) checkBackup(backup string, files int) {
	w.Helper()
	lines := parseList(w, backup, string(w.object(backup+"/backup-info")))
	if len(lines) != files {
		w.Errorf("%s lists %d files, not %d", backup, len(lines), files)
	}
	want := map[string][]string{}
	for _, l := range lines {
		if l.backup == backup {
			want[l.extra["package"]] = append(want[l.extra["package"]], l.sealedPath)
		}
	}
	packages := w.objects(backup+"/", ".tar")
	if len(packages) != len(want) {
		w.Errorf("%s: packages %q, listed are %d", backup, packages, len(want))
	}
	for _, key := range packages {
		name := strings.TrimPrefix(key, backup+"/")
		out, stderr, code := w.run(w.object(key), "tar", "--list", "--quoting-style=literal")
		members := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		slices.Sort(members)
		slices.Sort(want[name])
		if code != 0 || stderr != "" || !slices.Equal(members, want[name]) {
			w.Errorf("tar lists in %s, with exit code %d and %q:\n%q\nnot\n%q", key, code, stderr, members, want[name])
		}
	}
}

// object reads an object from the bucket.
func (w *world) object(key string) []byte {
	w.Helper()
	r, err := w.store.Get(w.Context(), key, 0, -1)
	must(w, err)
	defer r.Close()
	data, err := io.ReadAll(r)
	must(w, err)
	return data
}

// checkArchive looks at the whole archive: each list is as documented, and what
// each line names is where the original looks for it, with the hash listed.
// Then gpg and lz4 open every sealed file.
func (w *world) checkArchive(versions []string) {
	w.Helper()
	sealed := map[string]string{} // hash by file
	for i, version := range versions {
		data, err := os.ReadFile(filepath.Join(w.archive, version, "archive-info"))
		must(w, err)
		for _, l := range parseList(w, version, string(data)) {
			if l.backup != version {
				w.Errorf("%s says that %q is in %s", version, l.sealedPath, l.backup)
			}
			if name := w.findSealed(versions[i:], l, sealed); name == "" {
				w.Errorf("%s: %q is nowhere", version, l.sealedPath)
			}
		}
	}
	w.openAll(sealed)
}

func (w *world) findSealed(folders []string, l line, known map[string]string) string {
	for _, folder := range folders {
		name := filepath.Join(w.archive, folder) + "/" + l.sealedPath
		if info, err := os.Lstat(name); err != nil || info.Size() != l.sealedSize {
			continue
		}
		if known[name] == "" {
			hash, err := hashOf(name)
			must(w, err)
			known[name] = hash
		}
		if known[name] == l.sealedHash {
			return name
		}
	}
	return ""
}

// openAll opens sealed files as one would by hand.
func (w *world) openAll(sealed map[string]string) {
	w.Helper()
	dir := w.path("by-hand")
	must(w, os.Mkdir(dir, 0o755))
	n := 0
	for name := range sealed {
		suffix := ".lz4"
		if strings.HasSuffix(name, ".gpg") {
			suffix = ".lz4.gpg"
		}
		must(w, os.Link(name, filepath.Join(dir, strconv.Itoa(n)+suffix)))
		n++
	}
	w.shell(`cd "$1"
		if ls | grep -q 'gpg$'; then ls | grep 'gpg$' | xargs gpg --batch --quiet --decrypt-files; fi
		ls | grep 'lz4$' | xargs lz4 -q -t -m`, dir)
	opened, err := filepath.Glob(filepath.Join(dir, "*.lz4"))
	if err != nil || len(opened) != n || n == 0 {
		w.Errorf("%d of %d files opened, %v", len(opened), n, err)
	}
}
