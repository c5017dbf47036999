package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const inside = "FIRN_MANUAL"

// The commands of the manual and of the README do what the text says, in the order
// in which they stand there: one story of several hosts, from nothing to restored.
func TestManual(t *testing.T) {
	t.Parallel()
	t.Run("operating", func(t *testing.T) {
		runPage(t, "docs/operating.md", (*story).checkOperating)
	})
	t.Run("readme", func(t *testing.T) {
		runPage(t, "README.md", (*story).checkReadme)
	})
}

func runPage(t *testing.T, page string, check func(*story)) {
	t.Parallel()
	if os.Getenv(inside) == "" {
		inNamespaces(t, inside)
		return
	}
	s := newStory(newRig(t))
	chapter := ""
	for _, b := range blocksOf(t, page) {
		if b.chapter != chapter {
			chapter = b.chapter
			if what := happens[chapter]; what != nil {
				what(s)
			}
		}
		if b.language != "sh" || b.notRun != "" {
			continue
		}
		for _, host := range b.hosts() {
			printed, err := s.shell(host, b.text)
			if err != nil {
				t.Fatalf("%s, on %s: %v\n%s\n%s", b, host, err, b.text, printed)
			}
			if b.shown != nil {
				checkShown(t, b, printed)
			}
			t.Logf("%s, on %s\n%s\n%s", b, host, b.text, printed)
		}
	}
	check(s)
}

// Nothing in the pages that looks like a command is left untried without a reason.
func TestManualBlocks(t *testing.T) {
	t.Parallel()
	given := map[string]bool{}
	for page, least := range map[string]int{"docs/operating.md": 40, "README.md": 7} {
		blocks := blocksOf(t, page)
		checkBlocks(t, blocks)
		run := 0
		for _, b := range blocks {
			given[b.notRun] = true
			if b.language == "sh" && b.notRun == "" {
				run++
			}
		}
		if run < least {
			t.Errorf("only %d blocks of %s are run", run, page)
		}
	}
	manual, err := os.ReadFile(filepath.Join(project, "docs", "operating.md"))
	must(t, err)
	readme, err := os.ReadFile(filepath.Join(project, "README.md"))
	must(t, err)
	for chapter := range happens {
		if !strings.Contains("\n"+string(manual)+"\n"+string(readme), "\n## "+chapter+"\n") && !strings.Contains(string(manual), "\n### "+chapter+"\n") {
			t.Errorf("nothing happens before %q, which is no chapter", chapter)
		}
	}
	for _, reason := range reasons {
		if !given[reason] {
			t.Errorf("nothing is left untried because it %s", reason)
		}
	}
}

func TestCheckBlocks(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		language, text, notRun string
		right                  bool
	}{
		{"sh", "# on the archive server\nfirn versions /mnt/archive\n", "", true},
		{"sh", "# on the storage's host and on the archive server\nfirn config\n", "", true},
		{"sh", "firn versions /mnt/archive\n", "", false},
		{"sh", "# on the moon\nfirn versions /mnt/archive\n", "", false},
		{"", "firn versions /mnt/archive\n", "", false},
		{"text", "firn versions /mnt/archive\n", "", false},
		{"console", "$ systemctl restart firn\n", "", false},
		{"", "systemctl restart firn\n", "needs systemd", true},
		{"", "systemctl restart firn\n", "I am lazy", false},
		{"text", "firn: no such version\n", "", true},
		{"yaml", "backup-bucket: x\n", "", true},
	} {
		var got checker
		checkBlocks(&got, []*block{{language: test.language, text: test.text, notRun: test.notRun}})
		if got.failed == test.right {
			t.Errorf("%+v: found right is %t", test, !got.failed)
		}
	}
}
