package fs

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/keys"
)

// Mounts are made by a process of their own: one that waits for its own mount
// can wait for ever.
const childEnv = "FIRN_TEST_MOUNT"

// childOptions are what a child is told.
type childOptions struct {
	Archive, Mountpoint, CatalogPath string
	KeyFile                          string // of a private key without a passphrase
	Passphrase                       string
	Storage, Version                 string
}

func TestMain(m *testing.M) {
	text := os.Getenv(childEnv)
	if text == "" {
		os.Exit(m.Run())
	}
	if err := child(text); err != nil {
		slog.Error("child", "error", err)
		os.Exit(1)
	}
}

func child(text string) error {
	var o childOptions
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	c, err := catalog.Open(context.Background(), o.Archive, catalog.Options{Path: o.CatalogPath})
	if err != nil {
		return err
	}
	defer c.Close()
	opener := envelope.NewOpener(nil, []byte(o.Passphrase))
	if o.KeyFile != "" {
		data, err := os.ReadFile(o.KeyFile)
		if err != nil {
			return err
		}
		list, err := keys.ParsePrivate(data, nil)
		if err != nil {
			return err
		}
		opener = envelope.NewOpener(list)
	}
	options := Options{Archive: o.Archive, Catalog: c, Opener: opener, Mountpoint: o.Mountpoint, Storage: o.Storage}
	if o.Version != "" {
		v, err := c.Find(context.Background(), o.Version)
		if err != nil {
			return err
		}
		options.Version = &v
	}
	server, err := Mount(options)
	if err != nil {
		return err
	}
	if _, err := os.Stdout.WriteString("ready\n"); err != nil {
		return err
	}
	go func() {
		<-signals
		if err := server.Unmount(); errors.Is(err, ErrBusy) {
			slog.Info("busy")
			_ = server.Detach()
		}
	}()
	server.Wait()
	return nil
}

// mounted is a mount in a child process.
type mounted struct {
	dir  string
	cmd  *exec.Cmd
	log  *safeBuffer
	once sync.Once
	err  error // of the child's end
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// mount mounts an archive until the end of the test.
func mount(t testing.TB, o childOptions) *mounted {
	t.Helper()
	o.CatalogPath = filepath.Join(t.TempDir(), "catalog")
	o.Mountpoint = t.TempDir()
	return start(t, o, os.Args[0])
}

// start mounts with a command line that ends in this program.
func start(t testing.TB, o childOptions, command ...string) *mounted {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	m := &mounted{dir: o.Mountpoint, log: &safeBuffer{}, cmd: exec.Command(command[0], command[1:]...)}
	m.cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	m.cmd.Stderr = m.log
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.stop(t) })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil && err != io.EOF || line != "ready\n" {
		t.Fatalf("the mount did not get ready: %q, %v\n%s", line, err, m.log)
	}
	return m
}

// stop unmounts and returns how the child ended.
func (m *mounted) stop(t testing.TB) error {
	m.once.Do(func() {
		_ = m.cmd.Process.Signal(syscall.SIGTERM)
		m.err = m.wait(t)
	})
	return m.err
}

// wait waits for the child's end, for so long and no longer.
func (m *mounted) wait(t testing.TB) error {
	last := time.AfterFunc(20*time.Second, func() {
		t.Errorf("the mount does not end\n%s", m.log)
		_ = m.cmd.Process.Kill()
		_ = unix.Unmount(m.dir, unix.MNT_DETACH)
	})
	defer last.Stop()
	return m.cmd.Wait()
}

// command runs a program and returns what it wrote to standard output.
func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := tryCommand(t, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tryCommand(t testing.TB, name string, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("%v; install coreutils, findutils, tar, rsync, util-linux and fuse3", err)
	}
	var complaints bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &complaints
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		err = errors.Join(err, errors.New(complaints.String()))
	}
	return string(out), err
}
