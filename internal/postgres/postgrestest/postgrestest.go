// Package postgrestest runs a real PostgreSQL server for tests.
//
// The server is a test's own: on free ports of 127.0.0.1, in a new folder, with
// passwords and TLS, and without the care for data that would make it slow. It
// ends with the test process, also when that is killed.
package postgrestest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Server is a running server. Its methods may be called concurrently.
type Server struct {
	Host           string // 127.0.0.1; the certificate is also for localhost
	Port           int
	User, Password string // a superuser
	BinDir         string // with the programs of the server's version
	Dir            string // has the socket
	CAFile         string // certificate (PEM) that the server's is signed by

	process *exec.Cmd
	ended   chan struct{} // closed when the process has
	output  bytes.Buffer  // of the process, to be read when it has ended
}

// New starts a server for one test.
func New(t testing.TB) *Server {
	t.Helper()
	s, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// Main runs the tests of a package that share one server, and ends the process.
func Main(m *testing.M, server **Server) {
	os.Exit(func() int {
		var err error
		if *server, err = Start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer (*server).Stop()
		return m.Run()
	}())
}

// Start starts a server. Stop must be called.
func Start() (*Server, error) {
	bin, err := findBin()
	if err != nil {
		return nil, err
	}
	owner, err := account()
	if err != nil {
		return nil, err
	}
	s := &Server{Host: "127.0.0.1", User: "tester", Password: "tester's password", BinDir: bin}
	if s.Dir, err = os.MkdirTemp("", "firn-postgres-"); err != nil {
		return nil, err
	}
	err = s.initialize(owner)
	for range 5 { // another process may take the free port first
		if err == nil {
			if err = s.start(owner); err == nil {
				return s, nil
			}
		}
	}
	_ = os.RemoveAll(s.Dir)
	return nil, fmt.Errorf("start PostgreSQL of %s: %w", bin, err)
}

func (s *Server) data() string { return filepath.Join(s.Dir, "data") }

// initialize makes the folder of data and the certificate.
func (s *Server) initialize(owner *syscall.Credential) error {
	password := filepath.Join(s.Dir, "password")
	if err := os.WriteFile(password, []byte(s.Password), 0o600); err != nil {
		return err
	}
	if err := s.makeCertificates(); err != nil {
		return err
	}
	if err := giveTo(owner, s.Dir); err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(s.BinDir, "initdb"), "--no-sync", "--pgdata="+s.data(), "--auth=scram-sha-256",
		"--username="+s.User, "--pwfile="+password, "--encoding=UTF8", "--locale=C")
	cmd.Dir = s.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: owner, Pdeathsig: syscall.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return nil
}

func (s *Server) start(owner *syscall.Credential) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.Port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	arguments := []string{"-D", s.data()}
	for _, setting := range []string{
		"listen_addresses=127.0.0.1", "port=" + strconv.Itoa(s.Port), "unix_socket_directories=" + s.Dir,
		"ssl=on", "ssl_cert_file=" + filepath.Join(s.Dir, "server.crt"), "ssl_key_file=" + filepath.Join(s.Dir, "server.key"),
		"fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=32MB", "lc_messages=C",
		"max_locks_per_transaction=10", // the least: what needs many shows with few objects
	} {
		arguments = append(arguments, "-c", setting)
	}
	s.output.Reset()
	s.process = exec.Command(filepath.Join(s.BinDir, "postgres"), arguments...)
	s.process.Dir = s.Dir
	s.process.Stdout, s.process.Stderr = &s.output, &s.output
	// SIGQUIT is the server's own way to end at once, and takes its children along.
	s.process.SysProcAttr = &syscall.SysProcAttr{Credential: owner, Pdeathsig: syscall.SIGQUIT}
	if err := s.process.Start(); err != nil {
		return err
	}
	s.ended = make(chan struct{})
	go func() {
		defer close(s.ended)
		_ = s.process.Wait()
	}()
	return s.wait()
}

// wait returns when the server answers.
func (s *Server) wait() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		conn, err := s.connect(ctx, "postgres")
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-s.ended:
			return errors.New(s.output.String())
		case <-ctx.Done():
			s.end()
			return fmt.Errorf("it does not answer: %w: %s", err, s.output.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop ends the server at once, as a crash would, and removes its folder.
func (s *Server) Stop() {
	s.end()
	_ = os.RemoveAll(s.Dir)
}

func (s *Server) end() {
	_ = s.process.Process.Signal(syscall.SIGQUIT)
	select {
	case <-s.ended:
	case <-time.After(10 * time.Second):
		_ = s.process.Process.Kill()
		<-s.ended
	}
}

// account is as whom the server runs: it refuses to be root.
func account() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL does not run as root: %w: run make tools", err)
	}
	uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(uidErr, gidErr)
}

func giveTo(owner *syscall.Credential, dir string) error {
	if owner == nil {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, int(owner.Uid), int(owner.Gid))
	})
}

// findBin is the folder of the newest version that has a server.
func findBin() (string, error) {
	var found []string
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin"} {
		folders, _ := filepath.Glob(pattern) // the pattern is right
		found = append(found, folders...)
	}
	slices.SortFunc(found, func(a, b string) int { return major(b) - major(a) })
	if path, err := exec.LookPath("postgres"); err == nil {
		found = append(found, filepath.Dir(path))
	}
	for _, folder := range found {
		_, initdb := exec.LookPath(filepath.Join(folder, "initdb"))
		_, postgres := exec.LookPath(filepath.Join(folder, "postgres"))
		if initdb == nil && postgres == nil {
			return folder, nil
		}
	}
	return "", errors.New("there is no PostgreSQL server here: run make tools")
}

// major is 15 of /usr/lib/postgresql/15/bin and /usr/pgsql-15/bin.
func major(folder string) int {
	name := filepath.Base(filepath.Dir(folder))
	n, _ := strconv.Atoi(strings.TrimPrefix(name, "pgsql-")) // 0 of a stranger
	return n
}
