package e2e

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// stage is one of the Dockerfile's, with its instructions in order.
type stage struct {
	name, base   string
	instructions []instruction
}

type instruction struct{ name, rest string }

var hereDocument = regexp.MustCompile(`<<'?(\w+)'?`)

// readDockerfile reads what this project uses of the format: comments,
// instructions that go on behind a backslash, and here-documents.
func readDockerfile(t testing.TB, text string) (stages []stage) {
	t.Helper()
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSpace(lines[i])
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		for strings.HasSuffix(line, `\`) {
			i++
			line = strings.TrimSuffix(line, `\`) + strings.TrimSpace(lines[i])
		}
		if end := hereDocument.FindStringSubmatch(line); end != nil {
			from := i + 1
			if i = from + slices.Index(lines[from:], end[1]); i < from {
				t.Fatalf("%s has no end", line)
			}
			line = "RUN " + strings.Join(lines[from:i], "\n")
		}
		name, rest, _ := strings.Cut(line, " ")
		if name == "FROM" {
			words := strings.Fields(rest)
			words = slices.DeleteFunc(words, func(w string) bool { return strings.HasPrefix(w, "--") })
			if len(words) != 3 || words[1] != "AS" {
				t.Fatalf("%s: want FROM base AS name", line)
			}
			stages = append(stages, stage{name: words[2], base: words[0]})
			continue
		}
		if !slices.Contains([]string{"ARG", "COPY", "ENTRYPOINT", "EXPOSE", "RUN", "USER", "WORKDIR"}, name) {
			t.Errorf("%s: this test does not know it", line)
		}
		if len(stages) > 0 {
			last := &stages[len(stages)-1]
			last.instructions = append(last.instructions, instruction{name, rest})
		} else if name != "ARG" {
			t.Errorf("%s: before the first FROM", line)
		}
	}
	return stages
}

// all returns the arguments of all instructions of a name.
func (s stage) all(name string) (rests []string) {
	for _, i := range s.instructions {
		if i.name == name {
			rests = append(rests, i.rest)
		}
	}
	return rests
}

// The Dockerfile makes the images that the manifests want: a user that is not
// root, by number, as Kubernetes cannot tell otherwise, and the program as the
// entry. That it can be built is seen where there is an engine.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(project, "deploy", "Dockerfile"))
	must(t, err)
	stages := readDockerfile(t, string(text))
	var names []string
	for _, s := range stages {
		names = append(names, s.name)
	}
	if !slices.Equal(names, []string{"build", "firn-db", "firn"}) {
		t.Fatalf("stages %q", names)
	}
	for i, s := range stages {
		for _, copied := range s.all("COPY") {
			checkCopy(t, copied, names[:i])
		}
		for _, script := range s.all("RUN") {
			check := exec.Command("sh", "-n")
			check.Stdin = strings.NewReader(script)
			if output, err := check.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", script, err, output)
			}
		}
		if i == 0 {
			continue
		}
		if user := s.all("USER"); !slices.Equal(user, []string{"65532:65532"}) {
			t.Errorf("%s: user %q", s.name, user)
		}
		if entry := s.all("ENTRYPOINT"); !slices.Equal(entry, []string{`["/usr/local/bin/firn"]`}) {
			t.Errorf("%s: entry %q", s.name, entry)
		}
	}
	module, err := os.ReadFile(filepath.Join(project, "go.mod"))
	must(t, err)
	version := regexp.MustCompile(`(?m)^ARG GO_VERSION=(.+)$`).FindSubmatch(text)
	if version == nil || !strings.Contains(string(module), "\ngo "+string(version[1])) {
		t.Errorf("Go's version is %q, and another one in go.mod", version)
	}
}

// checkCopy demands that what is copied is in the project, or from an earlier stage.
func checkCopy(t *testing.T, copied string, earlier []string) {
	t.Helper()
	words := strings.Fields(copied)
	if from, ok := strings.CutPrefix(words[0], "--from="); ok {
		if !slices.Contains(earlier, from) {
			t.Errorf("COPY %s: there is no stage %s before it", copied, from)
		}
		return
	}
	for _, source := range words[:len(words)-1] {
		if _, err := os.Stat(filepath.Join(project, source)); err != nil || !inContext(t, source) {
			t.Errorf("COPY %s: %v, or .dockerignore leaves it out", copied, err)
		}
	}
}

// The builder gets every file that the program is made of, and no others of size.
func TestDockerignore(t *testing.T) {
	t.Parallel()
	list := exec.Command("go", "list", "-deps", "-json=Dir,Standard,Module,GoFiles,SFiles,HFiles,EmbedFiles", "./cmd/firn")
	list.Dir, list.Stderr = project, os.Stderr
	list.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := list.Output()
	must(t, err)
	count := 0
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			Dir                                 string
			Standard                            bool
			Module                              struct{ Main bool }
			GoFiles, SFiles, HFiles, EmbedFiles []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if must(t, err); !p.Module.Main {
			continue
		}
		for _, file := range slices.Concat(p.GoFiles, p.SFiles, p.HFiles, p.EmbedFiles) {
			path, err := filepath.Rel(project, filepath.Join(p.Dir, file))
			must(t, err)
			if count++; !inContext(t, path) {
				t.Errorf(".dockerignore leaves out %s", path)
			}
		}
	}
	for _, path := range []string{".git", ".tools/bin/versitygw", "bin/firn", "docs/design.md", "e2e/e2e_test.go", "internal/keys/testdata/x", "cmd/firn/args_test.go"} {
		if inContext(t, path) {
			t.Errorf(".dockerignore leaves %s in", path)
		}
	}
	if count < 50 {
		t.Errorf("only %d files", count)
	}
}

// inContext applies .dockerignore, as far as this project uses its patterns: the
// last one that fits the path, or a folder above it, counts.
func inContext(t testing.TB, path string) bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(project, ".dockerignore"))
	must(t, err)
	in := true
	for line := range strings.Lines(string(text)) {
		pattern := strings.TrimSpace(line)
		if pattern == "" || strings.HasPrefix(pattern, "#") {
			continue
		}
		pattern, back := strings.CutPrefix(pattern, "!")
		name, anywhere := strings.CutPrefix(pattern, "**/")
		for i, part := range strings.Split(path, "/") {
			fits, err := filepath.Match(name, part)
			if must(t, err); fits && (anywhere || i == 0) {
				in = back
			}
		}
	}
	return in || path == "."
}
