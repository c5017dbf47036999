package e2e

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const manualPage = "docs/operating.md"

// chapterOf is the text of a chapter of the manual, with what is below it.
func chapterOf(t *testing.T, title string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(project, manualPage))
	must(t, err)
	_, rest, found := strings.Cut(string(data), "\n## "+title+"\n")
	if !found {
		t.Fatalf("%s has no chapter %q", manualPage, title)
	}
	chapter, _, _ := strings.Cut(rest, "\n## ")
	return chapter
}

// firstColumn are the first cells of the rows of all tables in a text.
func firstColumn(text string) (cells []string) {
	for line := range strings.Lines(text) {
		cell, _, isRow := strings.Cut(strings.TrimPrefix(line, "| "), " |")
		if isRow && strings.HasPrefix(line, "| ") {
			cells = append(cells, cell)
		}
	}
	return cells
}

var (
	quoted = regexp.MustCompile("`([^`]+)`")
	verb   = regexp.MustCompile(`%[-+ #0]*(?:\[\d\])?[\d.]*[a-zA-Z]`)
	joint  = regexp.MustCompile(`…|: `)
)

// The messages in the table are those that the program has: their constant parts
// stand in its source.
func TestManualMessages(t *testing.T) {
	t.Parallel()
	literals := strings.Join(literalsOf(t, project), "\x00")
	checked := 0
	for _, cell := range firstColumn(chapterOf(t, "Error messages")) {
		for _, message := range quoted.FindAllStringSubmatch(cell, -1) {
			checked++
			for _, part := range joint.Split(message[1], -1) {
				if part = strings.TrimSpace(part); !strings.Contains(literals, part) {
					t.Errorf("no message of the program has %q, of %q", part, message[1])
				}
			}
		}
	}
	if checked < 60 {
		t.Errorf("only %d messages", checked)
	}
}

// literalsOf are all strings in the program's source, with "…" for what is
// formatted into them.
func literalsOf(t *testing.T, root string) (literals []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == filepath.Join(root, "e2e") || strings.HasPrefix(d.Name(), ".") && name != root):
			return fs.SkipDir
		case d.IsDir(), !strings.HasSuffix(name, ".go"), strings.HasSuffix(name, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
				if text, err := strconv.Unquote(l.Value); err == nil {
					literals = append(literals, verb.ReplaceAllString(text, "…"))
				}
			}
			return true
		})
		return nil
	})
	must(t, err)
	return literals
}

// Each exit code is explained, and no other.
func TestManualExitCodes(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile(filepath.Join(project, "cmd/firn/errors.go"))
	must(t, err)
	var want []string
	for _, m := range regexp.MustCompile(`(?m)^\texit\w+\s+= (\d+)`).FindAllStringSubmatch(string(source), -1) {
		want = append(want, m[1])
	}
	if got := firstColumn(chapterOf(t, "Exit codes"))[1:]; !slices.Equal(got, want) || len(want) < 9 {
		t.Errorf("the manual explains %q, the program has %q", got, want)
	}
}

// Each key of the configuration is in the table, in the program's order.
func TestManualConfiguration(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(firn, "config", "--json")
	cmd.Dir, cmd.Env = t.TempDir(), []string{"db_url_ROLE=x"}
	out, err := cmd.Output()
	must(t, err)
	var rows []struct{ Key, Value string }
	must(t, json.Unmarshal(out, &rows))
	var want, got []string
	for _, row := range rows {
		want = append(want, strings.Replace(row.Key, "-ROLE", "-<role>", 1))
	}
	for _, cell := range firstColumn(chapterOf(t, "Configuration"))[1:] {
		got = append(got, strings.Trim(cell, "`"))
	}
	if !slices.Equal(got, want) {
		t.Errorf("the manual has the keys\n%q, the program\n%q", got, want)
	}
	// And what is said of defaults, where these are not words.
	for _, row := range rows {
		if row.Value != "" && row.Key != "file-storage-id" && !strings.Contains(row.Key, "db-url") &&
			!strings.Contains(chapterOf(t, "Configuration"), "| `"+row.Key+"` | `"+row.Value+"`") {
			t.Errorf("the manual does not say that %s is %q by default", row.Key, row.Value)
		}
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	fenced  = regexp.MustCompile("(?ms)^```.*?^```$")
	unfit   = regexp.MustCompile(`[^\p{L}\p{N}\- _]`)
)

// anchors are those that GitHub gives the headings of a page.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		anchor := strings.ReplaceAll(unfit.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")
		name := anchor
		for n := 1; all[name]; n++ {
			name = anchor + "-" + strconv.Itoa(n)
		}
		all[name] = true
	}
	return all
}

// Links within the project lead somewhere.
func TestLinks(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob(filepath.Join(project, "docs", "*.md"))
	must(t, err)
	checked := map[string]int{}
	for _, page := range append(pages, filepath.Join(project, "README.md")) {
		text, err := os.ReadFile(page)
		must(t, err)
		for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(string(text), ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			checked[filepath.Base(page)]++
			name, anchor, _ := strings.Cut(m[1], "#")
			target := page
			if name != "" {
				target = filepath.Join(filepath.Dir(page), name)
			}
			info, err := os.Stat(target)
			if err != nil {
				t.Errorf("%s: %s leads nowhere", page, m[1])
				continue
			}
			if anchor == "" || info.IsDir() {
				continue
			}
			there, err := os.ReadFile(target)
			must(t, err)
			if !anchors(string(there))[anchor] {
				t.Errorf("%s: %s has no heading %q, but %q", page, name, anchor, slices.Sorted(maps.Keys(anchors(string(there)))))
			}
		}
	}
	if checked["README.md"] < 5 || checked["operating.md"] < 40 {
		t.Errorf("links that were looked at: %v", checked)
	}
}
