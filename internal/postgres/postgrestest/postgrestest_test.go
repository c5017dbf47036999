package postgrestest

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const childEnv = "FIRN_TEST_POSTGRES"

// A child starts a server, and waits to be killed.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	s, err := Start()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.process.Process.Pid, s.Dir)
	select {}
}

func TestServer(t *testing.T) {
	s, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	one, two := s.CreateDatabase(t), s.CreateDatabase(t)
	s.Exec(t, one, "CREATE TABLE t AS SELECT generate_series(1, 3) i; INSERT INTO t VALUES (NULL)")
	if got := s.Query(t, one, "SELECT count(*) FROM t"); got != "4" {
		t.Errorf("count is %s", got)
	}
	if got := s.Query(t, one, "SELECT i FROM t WHERE i IS NULL"); got != "" {
		t.Errorf("NULL is %q", got)
	}
	if got := s.Query(t, two, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"); got != "0" {
		t.Errorf("the other database has %s tables", got)
	}
	s.Stop()
	if _, err := os.Stat(s.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is left: %v", err)
	}
}

func TestServerEndsWithItsTest(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	text, dir, ok := strings.Cut(strings.TrimSpace(line), " ")
	pid, _ := strconv.Atoi(text)
	if err != nil || !ok || pid == 0 {
		t.Fatalf("the child says %q, error %v", line, err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for range 500 {
		if ended(pid) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("the server still runs, process %d", pid)
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

// ended is also true of a process that waits for init to be told.
func ended(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, _ := strings.Cut(string(stat), ") ")
	return err != nil || strings.HasPrefix(after, "Z")
}
