package e2e

import (
	"regexp"
	"strings"
	"testing"
)

// What differs from one run to the next, in the order in which it is replaced.
var varying = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(`\b\d[\d.,]*\s?(?:ns|µs|ms|s|m|h|min|B|KiB|MiB|GiB|TiB|kB|MB|GB)(?:\d[\d.]*(?:ms|s|m))*(/s)?\b`), "N unit$1"},
	{regexp.MustCompile(`\b[0-9A-F]{16,}\b|\b[0-9a-f]{32,}\b`), "HEX"},
	{regexp.MustCompile(`\d+(?:\.\d+)?`), "N"},
	{regexp.MustCompile(`\s+`), " "},
}

func constantPart(line string) string {
	for _, v := range varying {
		line = v.pattern.ReplaceAllString(line, v.by)
	}
	return strings.TrimSpace(line)
}

// checkShown demands that the lines that a page shows were printed, in this order.
// A line "…" stands for any others, and "…" in a line for any text.
func checkShown(t testing.TB, b *block, printed string) {
	t.Helper()
	lines := strings.Split(printed, "\n")
	for i, want := range strings.Split(strings.TrimSpace(b.shown.text), "\n") {
		if strings.TrimSpace(want) == "…" {
			continue
		}
		parts := strings.Split(constantPart(want), "…")
		for j := range parts {
			parts[j] = regexp.QuoteMeta(strings.TrimSpace(parts[j]))
		}
		like := regexp.MustCompile("^" + strings.Join(parts, ".*") + "$")
		for len(lines) > 0 && !like.MatchString(constantPart(lines[0])) {
			lines = lines[1:]
		}
		if len(lines) == 0 {
			t.Errorf("%s shows in line %d\n%s\nwhich is not what was printed:\n%s", b.page, b.shown.line+1+i, want, printed)
			return
		}
		lines = lines[1:]
	}
}

// Output that is shown is compared, but for what differs each time.
func TestShownOutput(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		shown, printed string
		same           bool
	}{
		{"3 files, 12.5 MiB in 1.2s", "27 files, 3 KiB in 15ms", true},
		{"3 files, 12.5 MiB in 1.2s", "27 folders, 3 KiB in 15ms", false},
		{"a\nc", "a\nb\nc", true},
		{"c\na", "a\nb\nc", false},
		{"a\n…\nb: …, done", "x\na\ny\nb: 17 things, done", true},
		{"fingerprint  6F9E8313AEB2C0DE6F9E8313AEB2C0DE6F9E8313", "fingerprint  1234567890123456789012345678901234567890", true},
		{"auth-db-backup_2026-01-02T01:10:00.123Z: 1 file", "auth-db-backup_2027-11-30T23:59:59.001Z: 2 file", true},
	} {
		var got checker
		checkShown(&got, &block{shown: &block{text: test.shown}}, test.printed)
		if got.failed == test.same {
			t.Errorf("%q and %q: the same is %t", test.shown, test.printed, !got.failed)
		}
	}
}

// checker is a test that notes whether it failed.
type checker struct {
	testing.TB
	failed bool
}

func (c *checker) Helper()               {}
func (c *checker) Errorf(string, ...any) { c.failed = true }
