package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// Every command has a page with all that its help says, and man has nothing to
// complain about.
func TestManpages(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("man"); err != nil {
		t.Fatalf("%v: run make tools", err)
	}
	app := newApp()
	pages := manpages(app, "2026-01-02")
	var look func(words []string, commands []*cli.Command)
	look = func(words []string, commands []*cli.Command) {
		for _, c := range visible(commands) {
			words := append(words[:len(words):len(words)], c.Name)
			name := strings.Join(words, "-") + ".1"
			text, ok := pages[name]
			if !ok {
				t.Errorf("there is no %s", name)
				continue
			}
			checkPage(t, name, text, c)
			look(words, c.Subcommands)
		}
	}
	look([]string{"firn"}, app.Commands)
	for _, name := range []string{"firn-manpages.1", "firn-__complete.1"} {
		if _, ok := pages[name]; ok {
			t.Errorf("%s is hidden, and has a page", name)
		}
	}
	first := shown1(t, "firn.1", pages["firn.1"])
	for _, want := range []string{"EXIT STATUS", "130    interrupted", "7      not signed by a trusted key", "firn-upload(1)", "mount.fuse.firn(8)", "2026-01-02"} {
		if !strings.Contains(first, want) {
			t.Errorf("firn.1 does not say %q", want)
		}
	}
	helper := shown1(t, "mount.fuse.firn.8", pages["mount.fuse.firn.8"])
	for _, want := range []string{"cache-size=SIZE", "allow-other\n", "/mnt/archive /mnt/versions fuse.firn noauto,allow_other,key=/etc/firn/private.key 0 0"} {
		if !strings.Contains(helper, want) {
			t.Errorf("mount.fuse.firn.8 does not say %q:\n%s", want, helper)
		}
	}
}

func checkPage(t *testing.T, name, text string, c *cli.Command) {
	t.Helper()
	page := words(shown1(t, name, text))
	for _, f := range c.Flags {
		flag, usage := describeFlag(f)
		if want := words(flag + " " + usage); !strings.Contains(page, want) {
			t.Errorf("%s does not say %q", name, want)
		}
	}
	for line := range strings.Lines(c.Description) {
		if want := words(line); want != "Examples:" && !strings.Contains(page, want) {
			t.Errorf("%s does not say %q", name, want)
		}
	}
}

// shown1 is the page as man shows it, on a line that no paragraph is too long for.
func shown1(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("man", "--warnings", "-E", "ascii", "-l", file)
	cmd.Env = append(os.Environ(), "MANWIDTH=2000", "LC_ALL=C.UTF-8", "MANROFFOPT=", "MAN_KEEP_FORMATTING=")
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil || complaints.Len() > 0 {
		t.Errorf("man %s: %v\n%s", name, err, complaints.String())
	}
	return out.String()
}

// words is a text with single spaces.
func words(text string) string { return strings.Join(strings.Fields(text), " ") }

func TestRoffEscapes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain":               "plain",
		".profile":            `\&.profile`,
		"a\n'quoted'":         "a\n\\&'quoted'",
		`a\b`:                 `a\eb`,
		"--key -":             `\-\-key \-`,
		"file-storage/latest": `file\-storage/latest`,
	} {
		if got := roff(text); got != want {
			t.Errorf("%q becomes %q, not %q", text, got, want)
		}
	}
}

func TestSourceDate(t *testing.T) {
	t.Parallel()
	if date, err := sourceDate("1700000000"); date != "2023-11-14" || err != nil {
		t.Errorf("%q, %v", date, err)
	}
	if _, err := sourceDate("today"); exitCode(err) != exitUsage {
		t.Errorf("today is taken: %v", err)
	}
}
