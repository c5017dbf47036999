package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// rig is where the commands of a page are run: hosts with folders of their own
// under the paths that the page names, an S3 service, and PostgreSQL at its usual
// port. All of it is within namespaces of this process's own, and gone with it.
type rig struct {
	testing.TB
	dir   string
	hosts map[string]*rigHost
	env   []string
	pgBin string // PostgreSQL's programs
}

// dropCopies takes what other tests have mounted out of this namespace: until the
// last copy is gone, their programs do not hear that they are unmounted.
func (r *rig) dropCopies() {
	table, err := os.ReadFile("/proc/self/mountinfo")
	must(r, err)
	for line := range strings.Lines(string(table)) {
		if place := strings.Fields(line)[4]; strings.HasPrefix(place, "/tmp/") {
			_ = syscall.Unmount(place, syscall.MNT_DETACH) // or it went with one above
		}
	}
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{TB: t, dir: "/run/rig", hosts: map[string]*rigHost{}}
	must(t, syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	must(t, syscall.Mount("proc", "/proc", "proc", 0, ""))
	r.dropCopies()
	r.linkUp()
	r.coverRun()
	r.coverPrograms()
	r.coverEtc()
	r.startS3()
	r.startPostgres()
	for _, name := range []string{"desk", "storage", "archive", "new"} {
		r.startHost(name)
	}
	r.env = []string{
		"PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin", "HOME=/root", "USER=root", "LC_ALL=C.UTF-8",
		"TZ=" + zoneOfNoon(time.Now()),
	}
	return r
}

// zoneOfNoon is a time zone in which it is about noon, far from the times at which
// services begin by themselves.
func zoneOfNoon(now time.Time) string {
	offset := 12 - now.UTC().Hour()
	return fmt.Sprintf("RIG%+d", -offset) // POSIX counts westwards
}

// linkUp switches the loopback interface on, which a new namespace has down.
func (r *rig) linkUp() {
	r.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	must(r, err)
	defer syscall.Close(fd)
	request := struct {
		name  [16]byte
		flags uint16
		_     [22]byte
	}{flags: syscall.IFF_UP}
	copy(request.name[:], "lo")
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request))); errno != 0 {
		r.Fatalf("loopback: %v", errno)
	}
}

// coverRun puts an empty /run in the place of the real one, with the rig's folder in
// it.
func (r *rig) coverRun() {
	r.Helper()
	program, err := os.ReadFile(firn)
	must(r, err)
	script, err := os.ReadFile(filepath.Join(project, "scripts", "restore.sh"))
	must(r, err)
	must(r, syscall.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"))
	for name, data := range map[string][]byte{"bin/firn": program, "examples/restore.sh": script, "bin/scp": []byte(scp)} {
		file := filepath.Join(r.dir, name)
		must(r, os.MkdirAll(filepath.Dir(file), 0o755))
		must(r, os.WriteFile(file, data, 0o755))
	}
}

// scp stands in for the real one, which needs servers: scp FILE... HOST:PATH
const scp = `#!/bin/sh -e
for to in "$@"; do :; done
host=${to%%:*} path=${to#*:}
while [ $# -gt 1 ]; do
	cp "$1" "/run/rig/hosts/${host%%.*}$path"
	shift
done
`

// coverPrograms makes /usr/local/bin the rig's, and gives /usr/sbin the helper that
// mount(8) looks for, and /usr/share/doc what the packages bring.
func (r *rig) coverPrograms() {
	r.Helper()
	sbin := filepath.Join(r.dir, "sbin")
	must(r, os.Mkdir(sbin, 0o755))
	must(r, syscall.Mount("/usr/sbin", sbin, "", syscall.MS_BIND, ""))
	must(r, syscall.Mount("tmpfs", "/usr/sbin", "tmpfs", 0, "mode=755"))
	programs, err := os.ReadDir(sbin)
	must(r, err)
	for _, p := range programs {
		must(r, os.Symlink(filepath.Join(sbin, p.Name()), "/usr/sbin/"+p.Name()))
	}
	must(r, os.Symlink("/usr/local/bin/firn", "/usr/sbin/mount.fuse.firn"))
	must(r, syscall.Mount(filepath.Join(r.dir, "bin"), "/usr/local/bin", "", syscall.MS_BIND, ""))
	must(r, syscall.Mount("tmpfs", "/usr/share/doc", "tmpfs", 0, "mode=755"))
	must(r, os.Mkdir("/usr/share/doc/firn", 0o755))
	must(r, os.Symlink(filepath.Join(r.dir, "examples"), "/usr/share/doc/firn/examples"))
}

// coverEtc puts a copy of /etc in its place, with the names of the hosts, and an
// authority of the rig's own among those that are trusted.
func (r *rig) coverEtc() {
	r.Helper()
	etc := filepath.Join(r.dir, "etc")
	if out, err := exec.Command("cp", "-a", "/etc", etc).CombinedOutput(); err != nil {
		r.Fatalf("copy /etc: %v\n%s", err, out)
	}
	must(r, syscall.Mount(etc, "/etc", "", syscall.MS_BIND, ""))
	names := "127.0.0.1 localhost s3.example.org backup.s3.example.org chipster.s3.example.org db.example.org storage.example.org new.example.org\n127.0.0.2 archive.example.org\n"
	must(r, os.WriteFile("/etc/hosts", []byte(names), 0o644))
	must(r, os.WriteFile("/etc/nsswitch.conf", []byte("passwd: files\ngroup: files\nhosts: files\n"), 0o644))
	ca := newAuthority(r, r.dir, "s3.example.org", "*.s3.example.org", "archive.example.org")
	must(r, os.MkdirAll(filepath.Dir(trusted), 0o755))
	others, _ := os.ReadFile(trusted) // there may be none
	_ = os.Remove(trusted)            // which may be a link
	must(r, os.WriteFile(trusted, append(others, ca...), 0o644))
}

// trusted has the certificates that programs trust.
const trusted = "/etc/ssl/certs/ca-certificates.crt"

// start starts a server, which ends with this process.
func (r *rig) start(owner *syscall.Credential, env []string, program string, args ...string) {
	r.Helper()
	log, err := os.Create(filepath.Join(r.dir, filepath.Base(program)+".log"))
	must(r, err)
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = "/", append(os.Environ(), env...), log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: owner, Pdeathsig: syscall.SIGKILL}
	must(r, cmd.Start())
	go func() { _ = cmd.Wait() }()
	r.Cleanup(func() {
		if r.Failed() {
			text, _ := os.ReadFile(log.Name())
			r.Logf("%s: %s", program, text[max(0, len(text)-2000):])
		}
	})
}

// inNamespaces runs the test again, in namespaces of its own, and tells what it
// said where that failed.
func inNamespaces(t *testing.T, variable string) {
	t.Helper()
	program, err := os.Executable()
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	pattern := "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
	cmd := exec.CommandContext(ctx, program, "-test.run="+pattern, "-test.v")
	cmd.Env = append(slices.Clone(os.Environ()), variable+"=inside", "FIRN="+firn)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Fatalf("%v (it has to be run as root)\n%s", err, out)
	} else if testing.Verbose() {
		t.Logf("%s", out)
	}
}
