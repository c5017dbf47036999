package metrics

import (
	"bytes"
	"flag"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/service"
)

var update = flag.Bool("update", false, "write what is expected anew")

// at is an instant of the night of the tests, in UTC.
func at(hour, minute int) time.Time {
	return time.Date(2026, 11, 23, hour, minute, 0, 0, time.UTC)
}

func ended(job string, result runs.Result, began, end time.Time) *runs.Run {
	return &runs.Run{Job: job, Result: result, Trigger: runs.Scheduled, Attempt: 1, Started: began, Ended: end}
}

// full is a state with all that a service can tell.
func full() service.State {
	done := ended("file-storage", runs.Incomplete, at(1, 10), at(1, 30))
	done.Files = map[string]int64{"total": 1000, "new": 20, "vanished": 1}
	done.Bytes = map[string]int64{"total": 5 << 30, "new": 3 << 20, "sealed": 1 << 20}
	checked := ended("verify", runs.Incomplete, at(5, 10), at(5, 20))
	checked.Files = map[string]int64{"checked": 30, "read": 29, "damaged": 1}
	return service.State{
		Now: at(13, 10), ScheduleOn: true, Next: at(13, 30), Queue: []string{"auth", "archive"},
		Jobs: []service.JobState{
			{
				Name: "file-storage", Kind: service.Files, Scheduled: true, Last: done, LastDone: done, Newest: done.Started,
				Running: &runs.Run{Job: "file-storage", Result: runs.Running, Progress: runs.Progress{Bytes: 25, BytesTotal: 100}},
				Seen:    &service.Seen{Backup: at(1, 10), Archived: at(1, 10).AddDate(0, 0, -1), Waiting: 1},
				Ends:    map[runs.Result]int64{runs.Incomplete: 1, runs.Failed: 2}, Retries: 2,
			},
			{ // fails, and another host made a backup since it last worked
				Name: "auth", Kind: service.Database, Scheduled: true, Failures: 3,
				Last:     ended("auth", runs.Failed, at(12, 0), at(12, 1)),
				LastDone: ended("auth", runs.Succeeded, at(1, 10), at(1, 11)),
				Seen:     &service.Seen{Backup: at(7, 10)}, Newest: at(7, 10),
			},
			{Name: "archive", Kind: service.Archive, Queued: true}, // has never run
			{Name: "verify", Kind: service.Verify, Last: ended("verify", runs.Failed, at(6, 10), at(6, 11)), LastDone: checked, Newest: checked.Started}, // a failure does not hide the damage
		},
		Holdings: &service.Holdings{
			Folder: "/mnt/archive", DiskTotal: 1 << 40, DiskFree: 1 << 38, Catalog: 8 << 20,
			Versions: []service.Version{
				{Storage: "file-storage", Time: at(1, 10), Files: 7, Sealed: 70, Damaged: "cut short"},
				{Storage: "file-storage", Time: at(1, 10).AddDate(0, 0, -1), Files: 5, Sealed: 50},
				{Storage: "file-storage", Time: at(1, 10).AddDate(0, 0, -2), Files: 3, Sealed: 30},
				{Storage: "auth-db-backup", Time: at(1, 10), Files: 1, Sealed: 10},
				{Storage: "gone", Time: at(1, 10), Damaged: "cut short"},
			},
		},
	}
}

func serveState(state service.State, o Options) *collector {
	return &collector{state: func() service.State { return state }, problems: func() []string { return []string{"one", "two"} }, options: o}
}

// scrape asks as Prometheus does.
func scrape(t *testing.T, c *collector) string {
	t.Helper()
	var log bytes.Buffer
	w := httptest.NewRecorder()
	handler(c, slog.New(slog.NewTextHandler(&log, nil))).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 || log.Len() > 0 {
		t.Fatalf("status %d, log %q", w.Code, log.String())
	}
	return w.Body.String()
}

// samples are the lines of a metric, without its name.
func samples(exposition, metric string) (lines []string) {
	for _, m := range regexp.MustCompile(`(?m)^`+metric+`\b(.*)$`).FindAllStringSubmatch(exposition, -1) {
		lines = append(lines, m[1])
	}
	return lines
}

func wantSamples(t *testing.T, exposition, metric string, want ...string) {
	t.Helper()
	if got := samples(exposition, metric); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s is %q; want %q", metric, got, want)
	}
}

// golden compares all lines of this program's own metrics with a file, which is
// also the place to read what they look like.
func golden(t *testing.T, name, exposition string) {
	t.Helper()
	ours := regexp.MustCompile(`(?m)^(# (HELP|TYPE) )?firn_.*\n`).FindAllString(exposition, -1)
	got := strings.Join(ours, "")
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("not as in %s (see it with -update and a diff):\n%s", file, got)
	}
}

// lint has Prometheus' own tool judge names, units and help.
func lint(t *testing.T, exposition string) {
	t.Helper()
	cmd := exec.Command("promtool", "check", "metrics")
	cmd.Stdin = strings.NewReader(exposition)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool: %v: run make tools if it is missing\n%s", err, out)
	}
}

func TestServed(t *testing.T) {
	out := scrape(t, serveState(full(), Options{Version: "1.2.3", Interval: 24 * time.Hour}))
	golden(t, "served.prom", regexp.MustCompile(`(?m)^(firn_store_retries_total) .*`).ReplaceAllString(out, "$1 0"))
	lint(t, out)
	for _, name := range []string{"go_goroutines", "process_resident_memory_bytes"} {
		if len(samples(out, name)) != 1 {
			t.Errorf("no %s", name)
		}
	}
	// The newer of two: of what the records say and of what the bucket says.
	wantSamples(t, out, "firn_last_success_age_seconds", `{job="auth"} 21600`, `{job="file-storage"} 43200`, `{job="verify"} 28800`)
	// A damaged version is there, but is not the newest that can be read.
	wantSamples(t, out, "firn_archive_files", `{storage="auth-db-backup"} 1`, `{storage="file-storage"} 5`)
	wantSamples(t, out, "firn_archive_versions", `{storage="auth-db-backup"} 1`, `{storage="file-storage"} 3`, `{storage="gone"} 1`)
}

// Numbers are of the instant of the scrape.
func TestScrapesSeeNow(t *testing.T) {
	state := full()
	c := &collector{state: func() service.State { return state }, problems: func() []string { return nil }}
	wantSamples(t, scrape(t, c), "firn_queue_length", " 2")
	state.Now, state.Queue, state.ScheduleOn, state.Next = state.Now.Add(time.Hour), nil, false, time.Time{}
	out := scrape(t, c)
	wantSamples(t, out, "firn_queue_length", " 0")
	wantSamples(t, out, "firn_schedule_enabled", " 0")
	wantSamples(t, out, "firn_next_run_timestamp_seconds")
	wantSamples(t, out, "firn_last_success_age_seconds", `{job="auth"} 25200`, `{job="file-storage"} 46800`, `{job="verify"} 32400`)
	state.Now = at(0, 0) // a clock that was set back
	wantSamples(t, scrape(t, c), "firn_last_success_age_seconds", `{job="auth"} 0`, `{job="file-storage"} 0`, `{job="verify"} 0`)
}

// What is not known is not told as a number.
func TestUnknownIsNotTold(t *testing.T) {
	state := service.State{Now: at(1, 0), Jobs: []service.JobState{{Name: "new", Running: &runs.Run{Progress: runs.Progress{FilesTotal: runs.Unknown, BytesTotal: runs.Unknown}}}}}
	out := scrape(t, serveState(state, Options{}))
	lint(t, out)
	for _, name := range []string{"last_success", "last_run", "last_archived", "backups_waiting", "run_progress", "next_run", "archive", "disk", "catalog"} {
		if strings.Contains(out, "\nfirn_"+name) {
			t.Errorf("%s is told", name)
		}
	}
	wantSamples(t, out, "firn_run_active", `{job="new"} 1`)
	wantSamples(t, out, "firn_consecutive_failures", `{job="new"} 0`)
}

// Where no archiver takes anything, nothing waits for one.
func TestFinalStorage(t *testing.T) {
	out := scrape(t, serveState(full(), Options{Final: true}))
	wantSamples(t, out, "firn_backups_waiting")
	wantSamples(t, out, "firn_last_archived_timestamp_seconds")
}

// Any name of a job, a storage or a folder can be told.
func TestNamesOfAnyKind(t *testing.T) {
	const odd = "a \"quoted\"\nname\\ of \xff\xfe ä"
	state := full()
	state.Jobs[0].Name, state.Holdings.Folder, state.Holdings.Versions[0].Storage = odd, odd, odd
	out := scrape(t, serveState(state, Options{Version: odd}))
	lint(t, out)
	want := `"a \"quoted\"\nname\\ of ` + "\uFFFD" + ` ä"`
	wantSamples(t, out, "firn_disk_total_bytes", "{folder="+want+"} 1.099511627776e+12")
	if !strings.Contains(out, "firn_run_active{job="+want+"} 1") {
		t.Errorf("the job is not there:\n%s", out)
	}
}

// Two jobs that look the same once they are text cost one number, not the scrape.
func TestOneBadNumber(t *testing.T) {
	state := service.State{Jobs: []service.JobState{{Name: "a\xff"}, {Name: "a\xfe"}, {Name: "b"}}}
	var log bytes.Buffer
	w := httptest.NewRecorder()
	handler(serveState(state, Options{}), slog.New(slog.NewTextHandler(&log, nil))).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 || !strings.Contains(w.Body.String(), `firn_run_active{job="b"} 0`) || !strings.Contains(log.String(), "collected before") {
		t.Errorf("status %d, log %q\n%s", w.Code, log.String(), w.Body.String())
	}
}
