package objstoretest

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

const (
	region    = "us-east-1"
	accessKey = "firn-test-access-key"
	secretKey = "firn-test-secret-key"
)

// startVersityGW starts a server and returns its URL.
func startVersityGW(t testing.TB) string {
	t.Helper()
	program, dir := findVersityGW(t), t.TempDir()
	for range 5 {
		if url, ok := tryVersityGW(t, program, dir); ok {
			return url
		}
	}
	t.Fatal("versitygw does not start: see its output above")
	return ""
}

// tryVersityGW fails where another process takes the free port first.
func tryVersityGW(t testing.TB, program, dir string) (string, bool) {
	address := freeAddress(t)
	var output bytes.Buffer
	cmd := exec.Command(program, "--quiet", "--keep-alive", "--region", region, "--port", address, "posix", dir)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+accessKey, "ROOT_SECRET_KEY="+secretKey)
	cmd.Stdout, cmd.Stderr = &output, &output
	// Dies with a test process that is killed or panics.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start versitygw: %v", err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	stop := func() {
		_ = cmd.Process.Kill()
		<-ended
	}
	if !answers("http://"+address, ended) {
		stop()
		t.Logf("versitygw at %s: %s", address, output.String())
		return "", false
	}
	t.Cleanup(stop)
	return "http://" + address, true
}

// answers waits for the server, which refuses us, as we give no key.
func answers(url string, ended <-chan struct{}) bool {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		resp, err := http.Get(url)
		if err == nil {
			resp.Body.Close()
			return true
		}
		select {
		case <-ended:
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
	return false
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// findVersityGW looks in $FIRN_TOOLS, in .tools/bin of the module, and in PATH.
func findVersityGW(t testing.TB) string {
	t.Helper()
	folders := []string{os.Getenv("FIRN_TOOLS"), filepath.Join(moduleRoot(t), ".tools", "bin")}
	for _, folder := range folders {
		if path, err := exec.LookPath(filepath.Join(folder, "versitygw")); folder != "" && err == nil {
			return path
		}
	}
	path, err := exec.LookPath("versitygw")
	if err != nil {
		t.Fatal("versitygw is missing: run make tools")
	}
	return path
}

// moduleRoot is the folder of go.mod; tests run in that of their package.
func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("no go.mod above the test's folder")
	return ""
}
