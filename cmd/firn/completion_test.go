package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func TestComplete(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		words []string
		want  []string // the candidates, or with … those that must be among them
	}{
		{nil, []string{"upload", "archive", "mount", "…"}},
		{[]string{""}, []string{"upload", "archive", "mount", "…"}},
		{[]string{"arch"}, []string{"archive"}},
		{[]string{"manp"}, nil}, // hidden
		{[]string{"--quiet", "arch"}, []string{"archive"}},
		{[]string{"--log-format", "json", "arch"}, []string{"archive"}},
		{[]string{"upload", ""}, []string{"files", "db", "all"}},
		{[]string{"upload", "fi"}, []string{"files"}},
		{[]string{"upload", "files", ""}, []string{completeFolders}},
		{[]string{"upload", "files", "--sign-k"}, []string{"--sign-key"}},
		{[]string{"upload", "files", "--recipient", ""}, []string{completeFiles}},
		{[]string{"upload", "files", "--recipient", "k.asc", ""}, []string{completeFolders}},
		{[]string{"upload", "files", "--recipient=k"}, []string{completeFiles}},
		{[]string{"upload", "files", "--recipient", "=", "k"}, []string{completeFiles}},
		{[]string{"upload", "files", "--name", ""}, nil},
		{[]string{"upload", "files", "--checksum", ""}, []string{completeFolders}},
		{[]string{"upload", "db", "--format", ""}, []string{"plain", "custom"}},
		{[]string{"upload", "db", "--format=cu"}, []string{"--format=custom"}},
		{[]string{"upload", "db", "--format", "=", "cu"}, []string{"custom"}},
		{[]string{"upload", "db", "--format", "="}, []string{"plain", "custom"}},
		{[]string{"upload", "db", "--nonsense=cu"}, nil},
		{[]string{"mount", "--qui"}, []string{"--quiet"}},
		{[]string{"mount", "--"}, []string{"--key", "--allow-other", "--help", "--verbose", "…"}},
		{[]string{"mount", "--", "--k"}, []string{completeFolders}},
		{[]string{"mount", "/root", ""}, []string{completeFolders}},
		{[]string{"restore", ""}, []string{"db"}},
		{[]string{"restore", "/mnt"}, []string{completeFolders}},
		{[]string{"restore", "/mnt/archive", ""}, nil}, // a version
		{[]string{"restore", "db", "--password-file", ""}, []string{completeFiles}},
		{[]string{"restore", "--to", ""}, []string{completeFolders}},
		{[]string{"completion", ""}, []string{"bash", "zsh", "fish"}},
		{[]string{"nonsense", ""}, nil},
	} {
		var got []string
		for _, candidate := range complete(newApp(), c.words) {
			name, _, _ := strings.Cut(candidate, "\t")
			got = append(got, name)
		}
		want, open := c.want, slices.Contains(c.want, "…")
		if open {
			want = want[:len(want)-1]
			got = slices.DeleteFunc(got, func(s string) bool { return !slices.Contains(want, s) })
			slices.Sort(got)
			want = slices.Sorted(slices.Values(want))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q becomes %q, not %q", c.words, got, want)
		}
	}
}

// Every value that is offered is that of a flag, and every command says what its
// arguments are in words that completion knows.
func TestCompletionFitsCommands(t *testing.T) {
	t.Parallel()
	known := []string{"ROOT", "MOUNTPOINT", "STORAGE", "DIR", "FILE", "KEY", "bash|zsh|fish", "VERSION", "PATTERN", "PATH", "ROLE", "NAME"}
	seen := map[string]bool{"log-format": true}
	var look func([]*cli.Command)
	look = func(commands []*cli.Command) {
		for _, c := range visible(commands) {
			for _, f := range c.Flags {
				seen[f.Names()[0]] = true
			}
			for _, name := range strings.Fields(strings.NewReplacer("[", "", "]", "", "...", "").Replace(c.ArgsUsage)) {
				if !slices.Contains(known, name) {
					t.Errorf("completion does not know what the argument %s of %s is", name, c.Name)
				}
			}
			look(c.Subcommands)
		}
	}
	look(newApp().Commands)
	for name := range flagChoices {
		if !seen[name] {
			t.Errorf("there is no flag --%s", name)
		}
	}
}

// In a real bash, at a terminal, with the tabulator.
func TestCompletionInBash(t *testing.T) {
	t.Parallel()
	dir := buildProgram(t)
	for _, name := range []string{"private one.key", "private.note"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "priest"), 0o700); err != nil {
		t.Fatal(err)
	}
	for typed, want := range map[string]string{
		"firn mou\t--ke\tprivate\\ \t":  "<mount><--key><private one.key>",
		"firn up\tf\t--sess\tpa\tpri\t": "<upload><files><--session-key-per><package><priest/>",
		"firn upload db --format=cu\t":  "<upload><db><--format=custom>",
		"firn --log-format=j\tver\t":    "<--log-format=json><ver>", // verify, or versions
	} {
		// The line is shown as bash has it in the end.
		script := "source <(firn completion bash)\nbind 'set bell-style none'\nfirn() { [ \"$1\" = __complete ] && { command firn \"$@\"; return; }; printf '<%s>' \"$@\"; echo; }\n" + typed + "\nexit\n"
		cmd := exec.Command("script", "--quiet", "--command", "bash --norc --noprofile -i", "/dev/null")
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(script)
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "TERM=dumb", "HISTFILE=")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want+"\r\n") {
			t.Errorf("%q does not become %s: %v\n%s", typed, want, err, out)
		}
	}
}

// buildProgram returns a folder with the program in it.
func buildProgram(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "firn"), ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return dir
}
