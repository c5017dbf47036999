package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chipster/firn/internal/postgres/postgrestest"
)

// uploadedAll is what `firn upload all` says.
type uploadedAll struct {
	Files *struct {
		Backup string
		Files  int
	}
	FilesError string
	Databases  []databaseReport
}

// Files and databases do not stop one another.
func TestDatabasesAndFiles(t *testing.T) {
	t.Parallel()
	d := newDatabases(t, postgrestest.New(t), withNewKey)
	d.add("auth", authDatabase...)
	d.add("session-db", sessionDatabase...)
	d.set("file_storage_id", "file-storage")
	newSite(t, d.storage).fill(5, 1)
	all := func(want int, storage string, args ...string) (report uploadedAll, stderr string) {
		t.Helper()
		stderr = d.inNowhere(want, &report, slices.Concat([]string{"upload", "all", storage}, d.seal, args)...)
		return report, stderr
	}

	report, _ := all(0, d.storage)
	if report.Files == nil || report.Files.Files != len(tree(t, d.storage)) || report.FilesError != "" || len(report.Databases) != 2 {
		t.Fatalf("%+v", report)
	}
	backups := []string{report.Databases[0].Backup, report.Files.Backup, report.Databases[1].Backup}
	if got := d.pull(); !slices.Equal(slices.Sorted(slices.Values(got)), backups) {
		t.Errorf("archived %q, not %q", got, backups)
	}

	// The storage is missing.
	report, stderr := all(3, filepath.Join(d.storage, "missing"))
	if report.Files != nil || !strings.Contains(report.FilesError, "missing") || len(report.Databases) != 2 || !strings.Contains(stderr, "missing") {
		t.Errorf("%+v\n%s", report, stderr)
	}
	if got := d.pull(); !slices.Equal(got, []string{report.Databases[0].Backup, report.Databases[1].Backup}) {
		t.Errorf("archived %q", got)
	}

	// A database cannot be saved.
	d.set("db_pass_auth", "wrong")
	report, _ = all(3, d.storage)
	if report.Files == nil || report.FilesError != "" {
		t.Errorf("%+v", report)
	}
	d.checkFailed(report.Databases, "auth", d.user)
	if got := d.pull(); !slices.Equal(got, []string{report.Files.Backup, report.Databases[1].Backup}) {
		t.Errorf("archived %q", got)
	}

	// Nothing can be saved.
	d.set("db_pass_session_db", "wrong")
	report, _ = all(5, filepath.Join(d.storage, "missing"))
	if report.Files != nil || report.FilesError == "" || len(report.Databases) != 2 {
		t.Errorf("%+v", report)
	}
}

// Neither memory nor a disk takes the dump.
func TestDatabaseMemory(t *testing.T) {
	t.Parallel()
	d := newDatabases(t, postgrestest.New(t), withNewKey)
	d.add("large", append(largeDatabase(100),
		`CREATE TABLE long (text text)`, `INSERT INTO long SELECT repeat(md5(i::text), 1 << 15) FROM generate_series(1, 200) AS i`)...)
	var output bytes.Buffer
	cmd := exec.Command(firn, slices.Concat([]string{"upload", "db", "--json"}, d.seal)...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = d.nowhere, d.env, &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	must(t, cmd.Start())
	memory := peakOf(cmd.Process.Pid)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, output.String())
	}
	d.checkSaved("large")
	backup := d.objects("", "backup-info")[0]
	l, _ := d.recorded(backup, string(d.object(backup)))
	written := cmd.ProcessState.SysUsage().(*syscall.Rusage).Oublock * 512 // pg_dump's too
	t.Logf("a dump of %d MiB, sealed %d: %d MiB of memory, %d bytes written", l.size>>20, l.sealedSize>>20, memory>>20, written)
	if l.size < 300<<20 || memory < 20<<20 || memory > 200<<20 || written > 1<<20 {
		t.Errorf("a dump of %d bytes, %d of memory, %d written", l.size, memory, written)
	}
}

// peakOf follows the most memory that a process took, in bytes, until it has
// ended. What the system tells of it then is no less than what this process took
// when it started the other one.
func peakOf(pid int) (peak int64) {
	for field := regexp.MustCompile(`VmHWM:\s+(\d+) kB`); ; time.Sleep(5 * time.Millisecond) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		m := field.FindSubmatch(status)
		if err != nil || m == nil { // a process that has ended and is not waited for has no memory
			return peak
		}
		kilobytes, err := strconv.ParseInt(string(m[1]), 10, 64)
		if err != nil {
			return peak
		}
		peak = kilobytes << 10
	}
}
