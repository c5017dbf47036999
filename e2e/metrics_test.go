package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// promtool runs Prometheus' own checker.
func promtool(t testing.TB, stdin string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "promtool", args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %q: %v: run make tools if it is missing\n%s", args, err, out)
	}
}

func deployed(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(project, "deploy", name))
	must(t, err)
	return string(b)
}

// TestAlertRules: each alert fires when it should and not before.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(project, "deploy", "prometheus")
	promtool(t, "", "check", "rules", "--lint=all", "--lint-fatal", filepath.Join(dir, "firn.rules.yml"))
	promtool(t, "", "check", "config", "--syntax-only", filepath.Join(dir, "scrape.yml"))
	promtool(t, "", "test", "rules", filepath.Join(dir, "firn.rules.test.yml"))
	tested := deployed(t, "prometheus/firn.rules.test.yml")
	for _, m := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(deployed(t, "prometheus/firn.rules.yml"), -1) {
		if !strings.Contains(tested, `alertname="`+m[1]+`"`) {
			t.Errorf("%s has no test", m[1])
		}
	}
}

// dashboard is what of Grafana's format is looked at.
type dashboard struct {
	UID, Title    string
	SchemaVersion int
	Templating    struct{ List []struct{ Name, Type string } }
	Panels        []struct {
		ID                       int
		Type, Title, Description string
		GridPos                  struct{ X, Y, W, H int }
		Datasource               struct{ UID string }
		FieldConfig              struct{ Defaults struct{ Unit string } }
		Targets                  []struct {
			Expr, LegendFormat string
			Datasource         struct{ UID string }
		}
	}
}

func readDashboard(t testing.TB) (d dashboard) {
	t.Helper()
	must(t, json.Unmarshal([]byte(deployed(t, "grafana/firn.json")), &d))
	return d
}

// plain has Grafana's variables replaced in an expression, as Grafana does.
func plain(expr string) string {
	return strings.NewReplacer("$job", ".+", "$__rate_interval", "1m").Replace(expr)
}

// TestDashboard: Grafana can import it, each panel says what it shows and in
// which unit, none lies over another, and each expression is one.
func TestDashboard(t *testing.T) {
	t.Parallel()
	d := readDashboard(t)
	if d.UID == "" || d.Title == "" || d.SchemaVersion < 36 {
		t.Errorf("uid %q, title %q, version %d of the format", d.UID, d.Title, d.SchemaVersion)
	}
	ids, cells := map[int]string{}, map[[2]int]string{}
	var rules strings.Builder
	rules.WriteString("groups: [{name: panels, rules: [\n")
	for _, p := range d.Panels {
		if other, taken := ids[p.ID]; taken || p.ID == 0 || p.Title == "" {
			t.Errorf("panel %d %q: also %q", p.ID, p.Title, other)
		}
		ids[p.ID] = p.Title
		g := p.GridPos
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%q lies over %q, or beside the page", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if len(p.Targets) == 0 || p.FieldConfig.Defaults.Unit == "" || p.Description == "" || p.Datasource.UID != "${datasource}" {
			t.Errorf("%q lacks an expression, a unit, a description or the source of its data", p.Title)
		}
		for _, target := range p.Targets {
			if target.LegendFormat == "" || target.Datasource.UID != "${datasource}" {
				t.Errorf("%q: %s has no legend, or a source of its own", p.Title, target.Expr)
			}
			fmt.Fprintf(&rules, "{record: panel_%d_%d, expr: %q},\n", p.ID, rules.Len(), plain(target.Expr))
		}
	}
	rules.WriteString("]}]\n")
	file := filepath.Join(t.TempDir(), "panels.yml")
	must(t, os.WriteFile(file, []byte(rules.String()), 0o600))
	promtool(t, "", "check", "rules", file)
}
