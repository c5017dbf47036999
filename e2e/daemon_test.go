package e2e

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"time"
)

// daemon is a program that runs until somebody ends it.
type daemon struct {
	*world
	cmd   *exec.Cmd
	ended chan struct{}

	mu  sync.Mutex
	out bytes.Buffer
}

// daemon starts a program, and ends it with the test as stop does.
func (w *world) daemon(program string, args ...string) *daemon {
	w.Helper()
	d := &daemon{world: w, cmd: exec.Command(program, args...), ended: make(chan struct{})}
	d.cmd.Dir, d.cmd.Env, d.cmd.Stdout, d.cmd.Stderr = w.dir, w.env, d, d
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	must(w, d.cmd.Start())
	go func() {
		_ = d.cmd.Wait() // its exit code tells
		close(d.ended)
	}()
	w.Cleanup(func() {
		d.stop()
		if w.Failed() {
			w.Logf("%s %q printed:\n%s", filepath.Base(program), args, d.printed())
		}
	})
	return d
}

func (d *daemon) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.out.Write(p)
}

func (d *daemon) printed() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.out.String()
}

// await waits until something is so.
func (d *daemon) await(what string, so func() bool) {
	d.Helper()
	for end := time.Now().Add(patience); !so(); time.Sleep(20 * time.Millisecond) {
		select {
		case <-d.ended:
			d.Fatalf("%s has ended, without %s\n%s", d.cmd, what, d.printed())
		default:
		}
		if time.Now().After(end) {
			d.Fatalf("%s: there is still no %s\n%s", d.cmd, what, d.printed())
		}
	}
}

// awaitPrinted waits for what the expression matches, and returns the match.
func (d *daemon) awaitPrinted(expr string) (match []string) {
	d.Helper()
	pattern := regexp.MustCompile(expr)
	d.await(expr, func() bool {
		match = pattern.FindStringSubmatch(d.printed())
		return match != nil
	})
	return match
}

// stop ends it as systemd and Kubernetes do. It must have nothing against that.
func (d *daemon) stop() {
	d.Helper()
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-d.ended:
	case <-time.After(30 * time.Second):
		_ = d.cmd.Process.Kill()
		<-d.ended
		d.Errorf("%s does not end\n%s", d.cmd, d.printed())
		return
	}
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		d.Errorf("%s: exit code %d\n%s", d.cmd, code, d.printed())
	}
}
