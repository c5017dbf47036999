package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"debug/elf"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// distVersion sorts before 1.2.3 for Debian and Red Hat.
const distVersion = "1.2.3~test"

// dist makes what is published of the source in a folder, into a new one.
func dist(t *testing.T, source string, architectures ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "dist")
	tool(t, "nfpm") // for the message
	cmd := exec.Command(filepath.Join(source, "scripts", "dist.sh"), append([]string{dir}, architectures...)...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("FIRN_TOOLS")+":"+os.Getenv("PATH"), "VERSION="+distVersion, "SOURCE_DATE_EPOCH=1767323045")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("dist.sh: %v\n%s", err, out)
	}
	return dir
}

// sources are two copies of the source in folders of different names, the files
// of one newer than those of the other.
func sources(t *testing.T) (one, other string) {
	t.Helper()
	one, other = filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "other one")
	script := `mkdir "$2" "$3" && cd "$1" && git ls-files -z --cached --others --exclude-standard |
		tar -c --null --ignore-failed-read -T - | tar -x -C "$2" && cp -r "$2/." "$3"`
	if out, err := exec.Command("sh", "-c", script, "sh", project, one, other).CombinedOutput(); err != nil {
		t.Fatalf("copy the source: %v\n%s", err, out)
	}
	return one, other
}

// tool is the path of a program that `make tools` installs.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(filepath.Join(os.Getenv("FIRN_TOOLS"), name))
	if err != nil {
		path, err = exec.LookPath(name)
	}
	if err != nil {
		t.Fatalf("%v: run make tools", err)
	}
	return path
}

func outputOf(t *testing.T, program string, args ...string) string {
	t.Helper()
	var out, errout bytes.Buffer
	cmd := exec.Command(tool(t, program), args...)
	cmd.Stdout, cmd.Stderr = &out, &errout
	if err := cmd.Run(); err != nil {
		t.Errorf("%s %q: %v\n%s%s", program, args, err, out.String(), errout.String())
	}
	return out.String()
}

// TestPackages is about what is published: that it is complete, static and made
// for the right processor, that it is the same bytes when it is made again, and
// that it can be lived with.
func TestPackages(t *testing.T) {
	t.Parallel()
	one, other := sources(t)
	dir := dist(t, one, "amd64", "arm64")
	t.Run("Files", func(t *testing.T) {
		t.Parallel()
		checkPublished(t, dir)
	})
	t.Run("Again", func(t *testing.T) {
		t.Parallel()
		first := hashes(t, dir)
		for name, hash := range hashes(t, dist(t, other, runtime.GOARCH)) {
			if name != "SHA256SUMS" && first[name] != hash {
				t.Errorf("%s differs when it is made again", name)
			}
		}
	})
	t.Run("Installed", func(t *testing.T) {
		t.Parallel()
		liveWith(t, dir)
	})
}

func checkPublished(t *testing.T, dir string) {
	t.Helper()
	names := []string{
		"SHA256SUMS", "firn-1.2.3~test-1.aarch64.rpm", "firn-1.2.3~test-1.x86_64.rpm",
		"firn_1.2.3~test_amd64.deb", "firn_1.2.3~test_arm64.deb",
		"firn_1.2.3~test_linux_amd64.tar.gz", "firn_1.2.3~test_linux_arm64.tar.gz",
	}
	if got := slices.Sorted(maps.Keys(hashes(t, dir))); !slices.Equal(got, names) {
		t.Fatalf("dist made %q", got)
	}
	cmd := exec.Command("sha256sum", "--check", "--strict", "SHA256SUMS")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil || strings.Count(string(out), ": OK\n") != len(names)-1 {
		t.Errorf("SHA256SUMS: %v\n%s", err, out)
	}
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		checkTarball(t, filepath.Join(dir, "firn_"+distVersion+"_linux_"+arch+".tar.gz"), machine)
		checkDeb(t, filepath.Join(dir, "firn_"+distVersion+"_"+arch+".deb"), arch)
	}
	for _, arch := range []string{"x86_64", "aarch64"} {
		checkRPM(t, filepath.Join(dir, "firn-"+distVersion+"-1."+arch+".rpm"), arch)
	}
}

func hashes(t *testing.T, dir string) map[string][32]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	sums := map[string][32]byte{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		sums[e.Name()] = sha256.Sum256(data)
	}
	return sums
}

func checkTarball(t *testing.T, file string, machine elf.Machine) {
	t.Helper()
	to := t.TempDir()
	outputOf(t, "tar", "-x", "-C", to, "-f", file)
	root := filepath.Join(to, strings.TrimSuffix(filepath.Base(file), ".tar.gz"))
	for _, name := range []string{
		"README.md", "LICENSE", "docs/operating.md", "scripts/restore.sh", "man/firn.1", "man/firn-upload-files.1", "man/mount.fuse.firn.8",
		"completion/firn.bash", "completion/firn.zsh", "completion/firn.fish", "deploy/systemd/firn.service", "deploy/kubernetes",
	} {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Error(err)
		}
	}
	f, err := elf.Open(filepath.Join(root, "firn"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Machine != machine {
		t.Errorf("%s is for %s", file, f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("%s is not static: it has %s", file, p.Type)
		}
	}
	if strings.HasSuffix(file, "_"+runtime.GOARCH+".tar.gz") {
		if got, err := exec.Command(filepath.Join(root, "firn"), "--version").Output(); string(got) != "firn version "+distVersion+"\n" {
			t.Errorf("--version says %q, %v", got, err)
		}
	}
}

// lintianKnows is what lintian finds, and why it is so.
var lintianKnows = []string{
	"statically-linked-binary",             // it runs everywhere
	"maintainer-script-calls-systemctl",    // debhelper's programs are not on Red Hat
	"unknown-field License",                // nfpm's
	"non-standard-dir-perm 0750",           // settings may hold secrets
	"non-standard-file-perm 0640 != 0644 ", // the same
}

func checkDeb(t *testing.T, file, arch string) {
	t.Helper()
	if got := outputOf(t, "dpkg-deb", "--field", file, "Package", "Version", "Architecture"); got != "Package: firn\nVersion: "+distVersion+"\nArchitecture: "+arch+"\n" {
		t.Errorf("%s says %q", file, got)
	}
	if got, want := outputOf(t, "dpkg-deb", "--info", file, "conffiles"), "/etc/default/firn\n/etc/firn/firn.yaml\n"; got != want {
		t.Errorf("the settings of %s are %q", file, got)
	}
	found, err := exec.Command(tool(t, "lintian"), "--allow-root", "--fail-on=none", file).Output()
	if err != nil {
		t.Errorf("lintian: %v", err)
	}
	for line := range strings.Lines(string(found)) {
		if !slices.ContainsFunc(lintianKnows, func(known string) bool { return strings.Contains(line, known) }) {
			t.Errorf("lintian: %s", line)
		}
	}
}

func checkRPM(t *testing.T, file, arch string) {
	t.Helper()
	if got := outputOf(t, "rpm", "-qp", "--queryformat", "%{NAME} %{VERSION} %{ARCH} %{BUILDHOST}", file); got != "firn "+distVersion+" "+arch+" firn" {
		t.Errorf("%s says %q", file, got)
	}
	list := outputOf(t, "rpm", "-qp", "--queryformat", "[%{FILENAMES} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILEMODES:perms} %{FILEFLAGS:fflags}\n]", file)
	for _, want := range []string{
		"/usr/bin/firn root:root -rwxr-xr-x ", "/usr/sbin/mount.fuse.firn root:root l", "/etc/firn root:firn drwxr-x--- ",
		"/etc/firn/firn.yaml root:firn -rw-r----- cn", "/etc/default/firn root:root -rw-r--r-- cn",
		"/usr/lib/systemd/system/firn-archive@.timer root:root -rw-r--r-- ", "/usr/share/man/man1/firn.1.gz ", "/usr/share/zsh/site-functions/_firn ",
	} {
		if !strings.Contains("\n"+list, "\n"+want) {
			t.Errorf("%s does not have %q:\n%s", file, want, list)
		}
	}
	scripts := outputOf(t, "rpm", "-qp", "--scripts", file)
	for _, want := range []string{"preinstall scriptlet", "useradd --system", "postinstall scriptlet", "try-restart", "preuninstall scriptlet", "systemctl stop", "postuninstall scriptlet"} {
		if !strings.Contains(scripts, want) {
			t.Errorf("%s has no %q:\n%s", file, want, scripts)
		}
	}
}

// liveWith installs the Debian package on a machine with systemd, a container of
// systemd-nspawn, and does there what testdata/machine/story.sh says: nights by
// the units, with all that they are forbidden, the mount by mount(8) and fstab,
// the services, the upgrade and the removal.
func liveWith(t *testing.T, packages string) {
	t.Helper()
	image := filepath.Join(os.Getenv("FIRN_TOOLS"), "..", "debian.tar")
	if _, err := os.Stat(image); err != nil {
		t.Fatalf("%v: run make tools", err)
	}
	arch := strings.TrimSpace(outputOf(t, "dpkg", "--print-architecture"))
	root := filepath.Join(t.TempDir(), "machine")
	must(t, os.Mkdir(root, 0o755))
	outputOf(t, "tar", "-x", "-C", root, "--numeric-owner", "-f", image)
	must(t, os.Link(filepath.Join(packages, "firn_"+distVersion+"_"+arch+".deb"), filepath.Join(root, "firn.deb")))
	must(t, os.WriteFile(filepath.Join(root, "story.env"), []byte("VERSION="+distVersion+"\n"), 0o600))
	units := filepath.Join(root, "etc", "systemd", "system")
	for from, to := range map[string]string{"story.sh": root, "story.service": units} {
		data, err := os.ReadFile(filepath.Join("testdata", "machine", from))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(to, from), data, 0o644))
	}
	must(t, os.MkdirAll(filepath.Join(units, "multi-user.target.wants"), 0o755))
	must(t, os.Symlink("../story.service", filepath.Join(units, "multi-user.target.wants", "story.service")))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool(t, "systemd-nspawn"), "--quiet", "--directory="+root, "--machine=firn-"+strings.ToLower(rand.Text()[:8]),
		"--register=no", "--keep-unit", "--private-network", "--resolv-conf=off", "--bind=/dev/fuse", "--bind-ro="+tool(t, "versitygw")+":/versitygw", "--boot")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if console, err := cmd.CombinedOutput(); err != nil {
		story, readErr := os.ReadFile(filepath.Join(root, "story.log"))
		t.Errorf("%v, %v\n%s\n%s", err, readErr, lastLines(console, 20), lastLines(story, 80))
	}
}

func lastLines(text []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return fmt.Sprintln(strings.Join(lines[max(0, len(lines)-n):], "\n"))
}

// Versions come after each other in the order of the commits, for dpkg too.
func TestDistVersion(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script, err := os.ReadFile(filepath.Join(project, "scripts", "dist-version.sh"))
	must(t, err)
	must(t, os.Mkdir(filepath.Join(dir, "scripts"), 0o755))
	file := filepath.Join(dir, "scripts", "dist-version.sh")
	must(t, os.WriteFile(file, script, 0o755))
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=x", "-c", "user.email=x@localhost", "-c", "commit.gpgsign=false"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_COMMITTER_DATE=2026-01-02T01:10:00Z", "GIT_CONFIG_GLOBAL=/dev/null")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	git("init", "--quiet")
	git("add", ".")
	commit := []string{"commit", "--quiet", "--allow-empty", "--message=x"}
	last := "0"
	for _, step := range []struct {
		do   []string
		want string // with ? for any letter
	}{
		{commit, "0~git20260102011000.???????"},
		{[]string{"tag", "v1.0.0-rc1"}, "1.0.0~rc1"},
		{commit, "1.0.0~rc1+1.g???????"},
		{[]string{"tag", "v1.0.0"}, "1.0.0"},
		{commit, "1.0.0+1.g???????"},
		{[]string{"update-index", "--chmod=-x", "scripts/dist-version.sh"}, "1.0.0+1.g???????.dirty"},
	} {
		git(step.do...)
		cmd := exec.Command(file)
		cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "VERSION=") })
		out, err := cmd.Output()
		got := strings.TrimSpace(string(out))
		if match, _ := filepath.Match(step.want, got); err != nil || !match {
			t.Errorf("after %q it is %q, %v, not %q", step.do, got, err, step.want)
		}
		if last != "0" { // which is after 0~git
			outputOf(t, "dpkg", "--compare-versions", got, "gt", last)
		}
		last = got
	}
}
