package runs

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain is another process too: one that begins a run, and waits to be killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("RUNS_TEST_DIR"); dir != "" {
		s, err := Open(dir, Options{})
		if err != nil {
			panic(err)
		}
		a, err := s.Begin("auth", Command, 1)
		if err != nil {
			panic(err)
		}
		a.Logger(nil).Info("half done")
		_, _ = os.Stdout.WriteString(a.ID() + "\n")
		time.Sleep(time.Minute)
	}
	os.Exit(m.Run())
}

// elsewhere begins a run in another process.
func elsewhere(t *testing.T, dir string) (id string, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "RUNS_TEST_DIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line), kill
}

// A run of a process that was killed is told as interrupted at once, by all
// others, and is recorded so by the next run.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir, 0)
	id, kill := elsewhere(t, dir)
	second, _ := open(t, dir, 0) // does not take it for dead
	for _, s := range []*Store{s, second} {
		if run := get(t, s, id); run.Result != Running || !run.Ended.IsZero() {
			t.Fatalf("alive: %+v", run)
		}
	}
	if log := logOf(t, s, id); !strings.Contains(log, "half done") {
		t.Errorf("log: %q", log)
	}
	kill()
	for _, s := range []*Store{s, second} {
		if run := get(t, s, id); run.Result != Interrupted || run.Ended.Before(run.Started) || time.Since(run.Ended) > time.Minute {
			t.Errorf("killed: %+v", run)
		}
	}
	if data, _ := os.ReadFile(filepath.Join(dir, id+".json")); !strings.Contains(string(data), `"running"`) {
		t.Errorf("looking wrote the record: %s", data)
	}
	end(t, begin(t, s, "auth"), Succeeded, nil)
	if data, _ := os.ReadFile(filepath.Join(dir, id+".json")); !strings.Contains(string(data), `"interrupted"`) {
		t.Errorf("the next run left the record: %s", data)
	}
	if run := get(t, second, id); run.Result != Interrupted {
		t.Errorf("then: %+v", run)
	}
}

// Files that are damaged, or nobody's, are left alone with one warning each, and
// the others are told.
func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	s, log := open(t, dir, 0)
	good := end(t, begin(t, s, "auth"), Succeeded, nil)
	bad := end(t, begin(t, s, "auth"), Succeeded, nil)
	for name, text := range map[string]string{
		bad.ID + ".json": `{"id":"` + bad.ID + `","job":"au`,
		"notes.txt":      "mine",
		strings.Replace(good.ID, "auth", "other", 1) + ".json": `{"id":"` + good.ID + `","job":"auth","result":"failed"}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		all, err := s.Runs("", 0)
		if err != nil || len(all) != 1 || all[0].ID != good.ID {
			t.Fatalf("%+v, %v", all, err)
		}
	}
	if n := strings.Count(log.String(), "WARN"); n != 3 {
		t.Errorf("%d warnings: %s", n, log)
	}
	end(t, begin(t, s, "auth"), Succeeded, nil)
	if _, err := os.Stat(filepath.Join(dir, "notes.txt")); err != nil {
		t.Error(err)
	}
}

// What crashes left is swept up, but not what may be in the making.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir, 0)
	run := end(t, begin(t, s, "auth"), Succeeded, nil)
	old, young := newID(time.Now().Add(-3*time.Hour), "auth"), newID(time.Now(), "auth")
	for _, name := range []string{old + ".log", old + ".json.tmp", young + ".log", young + ".json.tmp"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o640); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(name, old) {
			if err := os.Chtimes(path, time.Time{}, time.Now().Add(-2*time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, log := open(t, dir, 0)
	var names []string
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		names = append(names, strings.TrimPrefix(strings.TrimPrefix(entry.Name(), young), run.ID))
	}
	if got := strings.Join(names, " "); len(names) != 4 || strings.Contains(got, old) || log.Len() > 0 {
		t.Errorf("left: %s; %s", got, log)
	}
}

// full makes a folder one that takes no byte: it is gone, and a file in its place.
func full(t *testing.T, dir string) (mend func()) {
	t.Helper()
	if err := errors.Join(os.Rename(dir, dir+".away"), os.WriteFile(dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := errors.Join(os.Remove(dir), os.Rename(dir+".away", dir)); err != nil {
			t.Fatal(err)
		}
	}
}

// A disk that takes nothing keeps no run from running: it is recorded in memory,
// and on the disk once that takes it.
func TestDiskFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "runs")
	s, log := open(t, dir, 0)
	mend := full(t, dir)
	a := begin(t, s, "auth")
	if !strings.Contains(log.String(), "cannot be recorded") {
		t.Errorf("no warning: %s", log)
	}
	a.Logger(nil).Info("works")
	a.Add(1, 1)
	if run, err := a.End(Succeeded, nil); err == nil || run.Result != Succeeded {
		t.Errorf("%+v, %v", run, err)
	}
	if run := get(t, s, a.ID()); run.Result != Succeeded || !strings.Contains(logOf(t, s, a.ID()), "works") {
		t.Errorf("in memory: %+v", run)
	}
	if last, ok, _ := s.LastDone("auth"); !ok || last.ID != a.ID() {
		t.Errorf("last done: %+v", last)
	}
	b := begin(t, s, "auth") // begins without a disk, and ends with it
	mend()
	end(t, b, Failed, errors.New("no"))
	c := begin(t, s, "auth") // begins with a disk, and ends without it
	mend = full(t, dir)
	if run, err := c.End(Succeeded, nil); err == nil || get(t, s, c.ID()).Result != Succeeded {
		t.Errorf("%+v, %v", run, err)
	}
	mend()
	end(t, begin(t, s, "auth"), Succeeded, nil)
	other, _ := open(t, dir, 0)
	for id, want := range map[string]Result{a.ID(): Succeeded, b.ID(): Failed, c.ID(): Succeeded} {
		if run := get(t, other, id); run.Result != want {
			t.Errorf("on the disk: %+v, want %s", run, want)
		}
	}
	if !strings.Contains(logOf(t, other, a.ID()), "works") {
		t.Error("the log of the first did not get there")
	}
}

// Records are for their owner and group alone, whatever is told in them.
func TestModes(t *testing.T) {
	old := unix.Umask(0)
	defer unix.Umask(old)
	dir := filepath.Join(t.TempDir(), "runs")
	s, _ := open(t, dir, 0)
	run := end(t, begin(t, s, "auth"), Succeeded, nil)
	for path, want := range map[string]os.FileMode{dir: 0o750, filepath.Join(dir, run.ID+".json"): 0o640, filepath.Join(dir, run.ID+".log"): 0o640} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if _, err := Open(filepath.Join(dir, "no", "parent"), Options{Logger: slog.New(slog.DiscardHandler)}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a parent: %v", err)
	}
}

// FuzzDecode: a record that is believed is of its own name, and has ended or not.
func FuzzDecode(f *testing.F) {
	id := newID(time.Date(2026, 11, 23, 1, 10, 0, 0, time.UTC), "auth")
	for _, seed := range []string{
		`{"id":"` + id + `","job":"auth","started":"2026-11-23T01:10:00Z","result":"running"}`,
		`{"id":"` + id + `","job":"auth","started":"2026-11-23T01:10:00Z","ended":"2026-11-23T01:11:00Z","result":"failed","files":{"new":1}}`,
		`{"id":"` + id + `","job":"other","started":"2026-11-23T01:10:00Z","result":"running"}`,
		`{"result":"running"}`, `null`, `[]`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		run, err := decode(data, id)
		if err == nil && (run.ID != id || run.Job != "auth" || run.Ended.IsZero() != (run.Result == Running)) {
			t.Errorf("believed: %+v", run)
		}
	})
}

// A log that could not be written for a moment does not cost the record: there is
// room again when the run ends.
func TestLogFails(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir, 0)
	a := begin(t, s, "auth")
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	a.log.file = full
	a.Logger(nil).Info("lost for a moment")
	run := end(t, a, Succeeded, nil)
	other, _ := open(t, dir, 0)
	if got := get(t, other, run.ID); got.Result != Succeeded {
		t.Errorf("another process sees %+v", got)
	}
	log, err := other.Log(run.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if text, err := io.ReadAll(log); err != nil || !strings.Contains(string(text), "lost for a moment") {
		t.Errorf("%q, %v", text, err)
	}
}
