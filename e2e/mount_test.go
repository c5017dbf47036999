package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// mount mounts the archive until the end of the test, by a process of its own,
// and returns the folder.
func (w *world) mount() string {
	w.Helper()
	dir, err := os.MkdirTemp(w.dir, "mount")
	must(w, err)
	cmd := exec.Command(firn, slices.Concat([]string{"--quiet", "mount", w.archive, dir, w.catalog()}, w.open)...)
	var output bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = w.dir, w.env, &output, &output
	// Unmounts when the test process is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	must(w, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	w.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				w.Errorf("mount ended with %v\n%s", err, output.String())
			}
		case <-time.After(20 * time.Second):
			w.Errorf("mount does not end\n%s", output.String())
			_ = cmd.Process.Kill()
		}
		if isMounted(dir) {
			w.Errorf("%s is still mounted", dir)
			_ = exec.Command("fusermount3", "-u", "-z", dir).Run()
		}
	})
	for deadline := time.Now().Add(20 * time.Second); !isMounted(dir); time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-ended:
			ended <- err
			w.Fatalf("mount: %v\n%s", err, output.String())
		default:
		}
		if time.Now().After(deadline) {
			w.Fatal("the mount does not come up")
		}
	}
	return dir
}

// isMounted asks the kernel's table: to look at the folder itself would hang
// where the file system does.
func isMounted(dir string) bool {
	table, err := os.ReadFile("/proc/self/mountinfo")
	return err == nil && strings.Contains(string(table), " "+dir+" ")
}

// inMount is where a mount shows a version.
func inMount(mount, version string) string {
	storage, instant, _ := strings.Cut(version, "_")
	return filepath.Join(mount, storage, instant)
}

// await waits for a new version to appear in a mount.
func (w *world) await(folder string) {
	w.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		_, err := os.Stat(folder)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("the new version does not appear: %v", err)
		}
	}
}
