package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/runs"
)

// numbers are all that a night tells: of both kinds of service, in files, and of
// a mount.
type numbers struct {
	backup, archive *serving
	textfiles       string // folder
}

// night makes backups and archives them, and has a verification find damage.
func (w *world) night() (n numbers) {
	w.Helper()
	w.seal = []string{"--recipient", original + "/keys/curve.public.asc"}
	w.open = []string{"--key", original + "/keys/curve.private.base64"}
	w.importKey(original + "/keys/curve.private.base64")
	must(w, os.WriteFile(filepath.Join(w.storage, "large"), bytes.Repeat([]byte("0123456789"), 500_000), 0o644))
	must(w, os.WriteFile(filepath.Join(w.storage, "small"), []byte("data"), 0o644))
	n.textfiles = w.path("textfiles")
	must(w, os.Mkdir(n.textfiles, 0o755))

	n.backup = w.serve(slices.Concat([]string{w.storage, "--name", "file-storage", "--state", w.path("state-backup"), "--backup-time", never()}, w.seal)...)
	n.backup.made("/admin/backup", "file-storage", runs.Succeeded, 1)
	n.archive = w.serve("--archive", w.archive, "--state", w.path("state-archive"), "--backup-time", never(), "--verify-sample", "100%", w.catalog())
	n.archive.made("/admin/archive", "archive", runs.Succeeded, 1)
	n.backup.made("/admin/backup", "file-storage", runs.Succeeded, 2) // sees that the first one is archived

	w.mountNumbers(w.archive, filepath.Join(n.textfiles, "firn-mount.prom"))
	w.shell(`f=$(find "$1" -type f -name 'large*' | head -n 1); test -n "$f"; printf x | dd of="$f" bs=1 seek=2000 conv=notrunc status=none`, w.archive)
	n.archive.made("/admin/verify", "verify", runs.Incomplete, 1)

	w.firn(slices.Concat([]string{"upload", "files", w.storage, "--name", "by-hand", "--state", w.path("state-hand"), "--metrics-file", filepath.Join(n.textfiles, "firn-upload.prom")}, w.seal)...)
	return n
}

// made has a job run, as the so manieth of its service.
func (s *serving) made(path, job string, want runs.Result, runs int64) {
	s.Helper()
	s.start(path)
	if last := s.last(job, runs); last.Result != want {
		s.Fatalf("%+v", last)
	}
}

// never is a time of the day at which no test runs: half a day from now.
func never() string { return time.Now().Add(12 * time.Hour).Format("15:04") }

// names of this project's and the libraries' metrics.
var metricNames = regexp.MustCompile(`\b(?:firn|go|process)_[a-z_]+\b`)

// TestNumbers: what the rules and the dashboard ask for is there, by the way that
// the manual says, in a real Prometheus.
func TestNumbers(t *testing.T) {
	t.Parallel()
	w := newWorld(t).withBucket()
	n := w.night()
	told := map[string]bool{"firn_run_progress_ratio": true} // only while something runs
	for _, service := range []*serving{n.backup, n.archive} {
		_, exposition := service.ask("GET", "/metrics")
		promtool(t, exposition, "check", "metrics")
		for _, name := range metricNames.FindAllString(exposition, -1) {
			told[name] = true
		}
	}
	files, err := filepath.Glob(n.textfiles + "/*")
	must(t, err)
	if len(files) != 2 {
		t.Errorf("files for node_exporter: %q", files)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		must(t, err)
		promtool(t, string(b), "check", "metrics")
		for _, name := range metricNames.FindAllString(string(b), -1) {
			told[name] = true
		}
	}
	var asked []string
	for _, m := range regexp.MustCompile(`(?m)^ +(?:expr: .*|[a-z(].*)$`).FindAllString(deployed(t, "prometheus/firn.rules.yml"), -1) {
		asked = append(asked, metricNames.FindAllString(m, -1)...)
	}
	d := readDashboard(t)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			asked = append(asked, metricNames.FindAllString(target.Expr, -1)...)
		}
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(asked))) {
		if !told[name] {
			t.Errorf("nobody tells %s", name)
		}
	}
	if len(asked) < 40 || len(told) < 60 {
		t.Errorf("%d metrics asked for of %d: the test does not see them", len(asked), len(told))
	}
	p := w.prometheus(n)
	t.Run("labels", func(t *testing.T) { checkLabels(t, p) })
	t.Run("alerts", func(t *testing.T) { checkAlerts(t, p) })
	t.Run("panels", func(t *testing.T) { checkPanels(t, p, d) })
}

// prometheus starts one with the configuration that is told to users; the place
// of node_exporter is taken by what serves its files.
func (w *world) prometheus(n numbers) *promServer {
	w.Helper()
	node := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
		files, _ := filepath.Glob(n.textfiles + "/*.prom")
		for _, file := range files {
			b, _ := os.ReadFile(file)
			fmt.Fprintf(out, "%snode_textfile_mtime_seconds{file=%q} %d\n", b, file, time.Now().Unix())
		}
	}))
	w.Cleanup(node.Close)
	config := strings.NewReplacer(
		"/etc/prometheus/firn-token", w.path("token"), "rule_files:", "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files:",
		"storage.example.org:8370", strings.TrimPrefix(n.backup.url, "http://"), "archive.example.org:8370", strings.TrimPrefix(n.archive.url, "http://"),
		"archive.example.org:9100", node.Listener.Addr().String(),
	).Replace(deployed(w, "prometheus/scrape.yml"))
	must(w, os.WriteFile(w.path("prometheus.yml"), []byte(config), 0o600))
	must(w, os.WriteFile(w.path("firn.rules.yml"), []byte(deployed(w, "prometheus/firn.rules.yml")), 0o600))
	// It cannot tell which port it got, so it is given one that was free just now.
	free, err := net.Listen("tcp", "127.0.0.1:0")
	must(w, err)
	address := free.Addr().String()
	must(w, free.Close())
	w.daemon("prometheus", "--config.file="+w.path("prometheus.yml"), "--storage.tsdb.path="+w.path("tsdb"), "--web.listen-address="+address).
		awaitPrinted("Server is ready to receive web requests")
	return &promServer{w, "http://" + address}
}

type promServer struct {
	*world
	url string
}

type sample struct{ Metric map[string]string }

func (p *promServer) get(path string) []byte {
	p.Helper()
	r, err := http.Get(p.url + path)
	must(p, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	must(p, err)
	return body
}

func (p *promServer) query(t *testing.T, expr string) []sample {
	t.Helper()
	var answer struct {
		Status, Error string
		Data          struct{ Result []sample }
	}
	must(t, json.Unmarshal(p.get("/api/v1/query?query="+url.QueryEscape(expr)), &answer))
	if answer.Status != "success" {
		t.Fatalf("%s: %s", expr, answer.Error)
	}
	return answer.Data.Result
}

// await asks until an expression has as many results.
func (p *promServer) await(t *testing.T, expr string, atLeast int) []sample {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		found := p.query(t, expr)
		if len(found) >= atLeast {
			return found
		}
		if time.Now().After(deadline) {
			t.Errorf("%s: %d results; want %d", expr, len(found), atLeast)
			return nil
		}
	}
}

// checkLabels: "job" is that of firn, whoever told it.
func checkLabels(t *testing.T, p *promServer) {
	jobs := map[string]bool{}
	for _, s := range p.await(t, "firn_last_run_timestamp_seconds", 4) {
		jobs[s.Metric["job"]] = true
	}
	if got, want := slices.Sorted(maps.Keys(jobs)), []string{"archive", "by-hand", "file-storage", "verify"}; !slices.Equal(got, want) {
		t.Errorf("the jobs are %q; want %q", got, want)
	}
	if wrong := p.query(t, `{exported_job!=""}`); len(wrong) > 0 {
		t.Errorf("another label for jobs: %v", wrong[0].Metric)
	}
	p.await(t, `up{job="firn"} == 1`, 2)
}

// checkAlerts: after a night in which all went well but for damage in the archive,
// that is what is told, and nothing else waits to be.
func checkAlerts(t *testing.T, p *promServer) {
	p.await(t, `ALERTS{alertname="FirnVerifyFoundDamage", state="changed", job="verify", alertstate="firing"}`, 1)
	for _, s := range p.query(t, `ALERTS{alertname!~"FirnVerifyFoundDamage|FirnOtherProblem"}`) {
		t.Errorf("also: %v", s.Metric)
	}
	rules := string(p.get("/api/v1/rules"))
	if failed := regexp.MustCompile(`"lastError":"[^"]*"`).FindString(rules); failed != "" {
		t.Errorf("a rule fails: %s", failed)
	}
	if !strings.Contains(rules, "Damage in the archive, files changed: 1") {
		t.Error("nobody is told what is damaged")
	}
}

// quiet are panels that show nothing after a good night.
var quiet = []string{"Under way", "Running and waiting", "Runs that were not whole, a day", "Errors, an hour"}

func checkPanels(t *testing.T, p *promServer, d dashboard) {
	p.await(t, `count_over_time(firn_queue_length[1m]) > 3`, 2) // rates need several
	p.await(t, `count_over_time(firn_mount_active[1m]) > 3`, 1)
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			if slices.Contains(quiet, panel.Title) {
				p.query(t, plain(target.Expr))
				continue
			}
			p.await(t, plain(target.Expr), 1)
		}
	}
}
