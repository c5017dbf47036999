package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// rigHost has a mount and a UTS namespace, and a process that keeps them.
type rigHost struct {
	root string // the folder of what it has of its own
	pid  int
}

// own are the folders that each host has of its own.
var own = []string{"etc", "root", "opt", "mnt", "srv", "var/lib", "var/cache"}

func (r *rig) startPostgres() {
	r.Helper()
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/initdb", "/usr/pgsql-*/bin/initdb"} {
		found, _ := filepath.Glob(pattern) // the pattern is right
		for _, program := range found {
			r.pgBin = filepath.Dir(program)
		}
	}
	u, err := user.Lookup("postgres")
	if r.pgBin == "" || err != nil {
		r.Fatalf("there is no PostgreSQL server here: run make tools (%v)", err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	owner := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	for _, folder := range []string{"/run/postgresql", filepath.Join(r.dir, "postgres")} {
		must(r, os.Mkdir(folder, 0o755))
		must(r, os.Chown(folder, uid, gid))
	}
	data := filepath.Join(r.dir, "postgres", "data")
	cmd := exec.Command(filepath.Join(r.pgBin, "initdb"), "--no-sync", "--pgdata="+data, "--auth-local=peer", "--auth-host=scram-sha-256",
		"--encoding=UTF8", "--locale=C")
	cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Credential: owner}
	if out, err := cmd.CombinedOutput(); err != nil {
		r.Fatalf("initdb: %v\n%s", err, out)
	}
	r.start(owner, nil, filepath.Join(r.pgBin, "postgres"), "-D", data, "-c", "listen_addresses=127.0.0.1",
		"-c", "unix_socket_directories=/run/postgresql", "-c", "fsync=off", "-c", "shared_buffers=32MB", "-c", "lc_messages=C")
	r.await("PostgreSQL", func() bool { return exec.Command(filepath.Join(r.pgBin, "pg_isready"), "--quiet").Run() == nil })
}

func (r *rig) await(what string, there func() bool) {
	r.Helper()
	for deadline := time.Now().Add(30 * time.Second); !there(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.Fatalf("%s does not start", what)
		}
	}
}

// startHost makes a host whose own folders are empty.
func (r *rig) startHost(name string) {
	r.Helper()
	h := &rigHost{root: filepath.Join(r.dir, "hosts", name)}
	must(r, os.MkdirAll(h.root, 0o755))
	if out, err := exec.Command("cp", "-a", "/etc", h.root).CombinedOutput(); err != nil {
		r.Fatalf("copy /etc: %v\n%s", err, out)
	}
	script := "hostname " + name + "\n"
	for _, folder := range own {
		must(r, os.MkdirAll(filepath.Join(h.root, folder), 0o755))
		script += fmt.Sprintf("mount --bind %s/%s /%s\n", h.root, folder, folder)
	}
	// The archive server's disk is shown to those who restore, as a network would.
	for _, disk := range []string{"/mnt/archive", "/mnt/chipster-archive"} {
		must(r, os.MkdirAll(h.root+disk, 0o755))
		if name == "desk" || name == "new" {
			there := r.dir + "/hosts/archive" + disk
			must(r, os.MkdirAll(there, 0o755))
			script += fmt.Sprintf("mount --bind %s %s\nmount -o remount,bind,ro %[2]s\n", there, disk)
		}
	}
	ready := filepath.Join(r.dir, name+".ready")
	cmd := exec.Command("sh", "-ec", script+"touch "+ready+"\nexec sleep infinity")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS, Pdeathsig: syscall.SIGKILL}
	must(r, cmd.Start())
	r.await("the host "+name, func() bool { _, err := os.Stat(ready); return err == nil })
	h.pid = cmd.Process.Pid
	r.hosts[name] = h
}

// path is the place of a host's file, for a look from outside.
func (r *rig) path(host, name string) string { return filepath.Join(r.hosts[host].root, name) }

// shell runs a script on a host, as root in /root, and returns what it printed. What it
// starts in the background goes on.
func (r *rig) shell(host, script string) (string, error) {
	r.Helper()
	out, err := os.CreateTemp(r.dir, "output")
	must(r, err)
	defer out.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", "--target="+strconv.Itoa(r.hosts[host].pid), "--mount", "--uts", "--wdns=/root", "bash", "-eu", "-o", "pipefail", "-c", script)
	cmd.Env, cmd.Stdout, cmd.Stderr = r.env, out, out
	err = cmd.Run()
	if ctx.Err() != nil {
		err = errors.Join(err, errors.New("it does not end"))
	}
	printed, readErr := os.ReadFile(out.Name())
	must(r, readErr)
	return string(printed), err
}

// must runs a script that has to succeed.
func (r *rig) must(host, script string) string {
	r.Helper()
	printed, err := r.shell(host, script)
	if err != nil {
		r.Fatalf("on %s: %v\n%s\n%s", host, err, script, printed)
	}
	return strings.TrimSpace(printed)
}
