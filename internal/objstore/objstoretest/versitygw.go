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

	"github.com/chipster/firn/internal/objstore"
)

const (
	region    = "us-east-1"
	accessKey = "firn-test-access-key"
	secretKey = "firn-test-secret-key"
)

// Gateway is a versitygw with what the server of the environment may lack.
type Gateway struct {
	Accounts bool // besides root's, see AddAccount
	Versions bool // buckets may keep versions, and lock them
}

// Start starts the server for the test and returns how root reaches it; there is
// no bucket.
func (g Gateway) Start(t testing.TB) objstore.S3Options {
	t.Helper()
	program, dir := findVersityGW(t), t.TempDir()
	for range 5 {
		if url, ok := g.try(t, program, dir); ok {
			return objstore.S3Options{Endpoint: url, PathStyle: true, Region: region, AccessKey: accessKey, SecretKey: secretKey}
		}
	}
	t.Fatal("versitygw does not start: see its output above")
	return objstore.S3Options{}
}

// AddAccount makes an account on a Gateway, and returns o with its keys. It may
// do what the policies of buckets say, and nothing else.
func AddAccount(t testing.TB, o objstore.S3Options, name string) objstore.S3Options {
	t.Helper()
	secret := name + "-secret-key"
	cmd := exec.Command(findVersityGW(t), "admin", "--endpoint-url", o.Endpoint, "--region", o.Region,
		"create-user", "--access", name, "--secret", secret, "--role", "user")
	cmd.Env = append(os.Environ(), "ADMIN_ACCESS_KEY="+o.AccessKey, "ADMIN_SECRET_KEY="+o.SecretKey)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make the account %s: %v: %s", name, err, out)
	}
	o.AccessKey, o.SecretKey = name, secret
	return o
}

// try fails where another process takes the free port first.
func (g Gateway) try(t testing.TB, program, dir string) (string, bool) {
	address := freeAddress(t)
	folder := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	args := []string{"--quiet", "--keep-alive", "--region", region, "--port", address}
	if g.Accounts {
		args = append(args, "--iam-dir", folder("accounts"))
	}
	args = append(args, "posix")
	if g.Versions {
		args = append(args, "--versioning-dir", folder("versions"))
	}
	var output bytes.Buffer
	cmd := exec.Command(program, append(args, folder("buckets"))...)
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
