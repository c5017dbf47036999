package e2e

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// box is a container of the manifests without its image: a root of its own that
// the program cannot write to, with the volumes as the kubelet makes them, and
// a user that nobody has heard of.
type box struct {
	testing.TB
	workload
	container corev1.Container
	root      string
	token     string
	group     int // of the volumes
}

// anyUser is one as OpenShift chooses them.
const anyUser = 1000680000

// newBox makes the folders, and the files of Secrets and ConfigMaps. files are
// what somebody put in their place, by key.
func newBox(t testing.TB, all []manifest, name string, files map[string]string) *box {
	t.Helper()
	i := slices.IndexFunc(workloadsOf(all), func(w workload) bool { return w.name == name && len(w.pod.Spec.Containers) == 1 })
	if i < 0 {
		t.Fatalf("no manifest makes a container of %s", name)
	}
	b := &box{TB: t, workload: workloadsOf(all)[i], root: t.TempDir(), token: rand.Text()}
	b.container = b.pod.Spec.Containers[0]
	if pod := b.pod.Spec.SecurityContext; pod != nil {
		b.group = int(*pod.FSGroup)
	}
	must(t, os.Chmod(b.root, 0o755))
	must(t, os.MkdirAll(b.path("/usr/local/bin"), 0o755))
	// By another process: a file that this one writes is busy where a child of it
	// was forked meanwhile.
	must(t, exec.Command("cp", firn, b.path("/usr/local/bin/firn")).Run())
	must(t, os.Chmod(b.path("/usr/local/bin/firn"), 0o755))
	volumes := map[string]corev1.VolumeSource{}
	for _, v := range b.pod.Spec.Volumes {
		volumes[v.Name] = v.VolumeSource
	}
	for _, m := range b.container.VolumeMounts {
		must(t, os.MkdirAll(b.path(m.MountPath), 0o755))
		if !m.ReadOnly {
			must(t, os.Chmod(b.path(m.MountPath), 0o777))
		}
		for key, mode := range filesOf(volumes[m.Name], all) {
			content, ok := files[key]
			if !ok {
				content = b.token // of whatever needs a secret
			}
			b.write(filepath.Join(m.MountPath, key), content, mode)
		}
	}
	return b
}

// filesOf are the names and modes of a volume's files.
func filesOf(v corev1.VolumeSource, all []manifest) map[string]fs.FileMode {
	files := map[string]fs.FileMode{}
	add := func(keys []string, items []corev1.KeyToPath, mode *int32) {
		for _, item := range items {
			keys = append(keys, item.Path)
		}
		for _, key := range keys {
			files[key] = 0o644
			if mode != nil {
				files[key] = fs.FileMode(*mode)
			}
		}
	}
	switch {
	case v.ConfigMap != nil:
		add([]string{"chipster.yaml"}, nil, nil)
		if _, ok := object[corev1.ConfigMap](all, v.ConfigMap.Name).Data["firn.public.asc"]; ok {
			add([]string{"firn.public.asc"}, nil, nil)
		}
	case v.Secret != nil:
		var keys []string
		if ours := object[corev1.Secret](all, v.Secret.SecretName); ours != nil {
			for key := range ours.StringData {
				keys = append(keys, key)
			}
		}
		add(keys, v.Secret.Items, v.Secret.DefaultMode)
	case v.Projected != nil:
		for _, source := range v.Projected.Sources {
			add(nil, source.Secret.Items, v.Projected.DefaultMode)
		}
	}
	return files
}

func (b *box) path(inside string) string { return filepath.Join(b.root, inside) }

func (b *box) write(inside, content string, mode fs.FileMode) {
	b.Helper()
	must(b, os.MkdirAll(filepath.Dir(b.path(inside)), 0o755))
	must(b, os.WriteFile(b.path(inside), []byte(content), mode))
	must(b, os.Chmod(b.path(inside), mode)) // whatever the umask
	must(b, os.Chown(b.path(inside), 0, b.group))
}

// command is the program as the manifest starts it, at another address.
func (b *box) command(listen string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	if args == nil {
		for _, arg := range b.container.Args {
			args = append(args, strings.Replace(arg, "--listen=:8370", "--listen="+listen, 1))
		}
	}
	cmd := exec.CommandContext(b.Context(), "/usr/local/bin/firn", args...)
	cmd.Env = []string{"backup_store=file:///bucket"}
	for _, e := range b.container.Env {
		cmd.Env = append(cmd.Env, e.Name+"="+e.Value)
	}
	user := uint32(anyUser)
	if own := b.container.SecurityContext.RunAsUser; own != nil {
		user = uint32(*own)
	}
	var output bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/tmp", &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Chroot: b.root, Pdeathsig: syscall.SIGKILL,
		Credential: &syscall.Credential{Uid: user, Gid: 0, Groups: []uint32{uint32(b.group)}},
	}
	return cmd, &output
}

// run runs the program to its end, which has to be a good one.
func (b *box) run() {
	b.Helper()
	cmd, output := b.command("")
	if err := cmd.Run(); err != nil {
		b.Fatalf("%s %q: %v\n%s", b, cmd.Args, err, output)
	}
	if strings.Contains(output.String(), `"level":"WARN"`) {
		b.Errorf("%s %q warns:\n%s", b, cmd.Args, output)
	}
}

// serve starts the program, calls use once its probe is answered, and has it end.
func (b *box) serve(use func(url string)) {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	address := listener.Addr().String()
	must(b, listener.Close())
	cmd, output := b.command(address)
	must(b, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	probe := "http://" + address + b.container.LivenessProbe.HTTPGet.Path
	for alive := false; !alive; time.Sleep(50 * time.Millisecond) {
		select {
		case err := <-ended:
			b.Fatalf("%s %q ended: %v\n%s", b, cmd.Args, err, output)
		default:
		}
		if response, err := http.Get(probe); err == nil {
			alive = response.StatusCode == http.StatusOK
			response.Body.Close()
		}
	}
	use("http://" + address)
	must(b, cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err = <-ended:
	case <-time.After(time.Duration(*b.pod.Spec.TerminationGracePeriodSeconds) * time.Second):
		must(b, cmd.Process.Kill())
		err = <-ended
	}
	if err != nil || strings.Contains(output.String(), "readable by everyone") {
		b.Errorf("%s %q: %v\n%s", b, cmd.Args, err, output)
	}
}

// backUp has the service make a backup of its files, and waits for it.
func (b *box) backUp(url string) {
	b.Helper()
	request, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url+"/admin/backup", nil)
	must(b, err)
	request.Header.Set("Authorization", "Bearer "+b.token)
	response, err := http.DefaultClient.Do(request)
	must(b, err)
	response.Body.Close()
	if code := response.StatusCode; code != http.StatusAccepted && code != http.StatusConflict { // it may have begun by itself
		b.Fatalf("POST /admin/backup: %s", response.Status)
	}
	for end := time.Now().Add(patience); len(b.glob("/bucket/*/backup-info")) == 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("%s made no backup", b)
		}
	}
}

func (b *box) glob(pattern string) []string {
	b.Helper()
	found, err := filepath.Glob(b.path(pattern))
	must(b, err)
	return found
}

// move gives another box a folder of this one, with all that is in it.
func (b *box) move(folder string, to *box) {
	b.Helper()
	must(b, os.RemoveAll(to.path(folder)))
	must(b, os.Rename(b.path(folder), to.path(folder)))
}

// mine makes a folder that everybody may write to.
func (b *box) mine(folder string) {
	b.Helper()
	must(b, os.MkdirAll(b.path(folder), 0o777))
	must(b, os.Chmod(b.path(folder), 0o777))
}

// A night in Kubernetes, as far as one gets without it: the containers' own
// command lines, with the manifests' configuration, as a user without a name, on
// a root that is not theirs to write to.
func TestKubernetesNight(t *testing.T) {
	t.Parallel()
	all, key := readManifests(t), publicKey(t)
	config := func(name string) map[string]string {
		return map[string]string{"chipster.yaml": object[corev1.ConfigMap](all, name).Data["chipster.yaml"], "firn.public.asc": key}
	}
	files := newBox(t, all, "firn-files", config("firn-files"))
	files.mine("/bucket")
	files.write("/storage/ab/abcdef", "hello", 0o644)
	files.serve(files.backUp)

	archive := newBox(t, all, "firn-archive", config("firn-archiver"))
	files.move("/bucket", archive)
	archive.run()
	sealed := archive.glob("/archive/file-storage_*/ab/abcdef.lz4.gpg")
	if len(sealed) != 1 {
		t.Fatalf("archived: %q", sealed)
	}

	verify := newBox(t, all, "firn-verify", nil)
	archive.move("/archive", verify)
	archive.move("/var/lib/firn", verify)
	for _, dir := range append(verify.glob("/archive/*/*"), verify.glob("/archive")...) {
		must(t, os.Chmod(dir, 0o555))
	}
	verify.run()
	if runs := verify.glob("/var/lib/firn/runs/*"); len(runs) < 2 {
		t.Errorf("recorded: %q", runs)
	}
}

// With Chipster's chart: the sidecar and the databases, configured by
// deploy/helm/values.yaml.
func TestKubernetesWithChipster(t *testing.T) {
	t.Parallel()
	all, key, values := readManifests(t), publicKey(t), readValues(t)
	config := func(deployment string, b **box, name string) {
		conf := values.Deployments[deployment].Conf
		*b = newBox(t, all, name, map[string]string{"firn.public.asc": key})
		(*b).write("/etc/firn/config/chipster.yaml", strings.ReplaceAll(conf["firn.yaml"], "REPLACE-ME", (*b).token), 0o644)
		(*b).mine("/bucket")
	}
	var sidecar, databases *box
	config("fileStorage", &sidecar, "file-storage")
	sidecar.write("/opt/chipster/storage/ab/abcdef", "hello", 0o644)
	sidecar.serve(sidecar.backUp)

	config("backup", &databases, "firn-databases")
	for _, role := range []string{"auth", "session-db", "job-history"} {
		databases.write("/etc/firn/secrets/db-pass-"+role, databases.token, 0o440)
	}
	databases.serve(func(string) {}) // there is no database
	if values.Deployments["backup"].Replicas != "0" || len(values.Deployments["fileStorage"].Configs) > 0 {
		t.Error("Chipster would go on making its own backups")
	}
}

// Every configuration is taken without a warning, and every key in it is known.
func TestKubernetesConfiguration(t *testing.T) {
	t.Parallel()
	all, values := readManifests(t), readValues(t)
	texts := map[string]string{
		"firn-files":   object[corev1.ConfigMap](all, "firn-files").Data["chipster.yaml"],
		"file-storage": values.Deployments["fileStorage"].Conf["firn.yaml"],
		"firn-archive": object[corev1.ConfigMap](all, "firn-archiver").Data["chipster.yaml"],
	}
	ours := object[corev1.ConfigMap](all, "firn-databases").Data["chipster.yaml"]
	for name, text := range texts {
		checkConfiguration(t, newBox(t, all, name, nil), text)
	}
	databases := newBox(t, all, "firn-databases", nil)
	checkConfiguration(t, databases, ours)
	for _, role := range []string{"session-db", "job-history"} {
		databases.write("/etc/firn/secrets/db-pass-"+role, "secret", 0o440)
	}
	checkConfiguration(t, databases, values.Deployments["backup"].Conf["firn.yaml"])
}

func checkConfiguration(t *testing.T, b *box, text string) {
	t.Helper()
	b.write("/etc/firn/config/chipster.yaml", text, 0o644)
	var keys map[string]any
	must(t, yaml.UnmarshalStrict([]byte(text), &keys))
	cmd, _ := b.command("", "config", "--config=/etc/firn/config/chipster.yaml", "--json")
	var stdout bytes.Buffer
	cmd.Env, cmd.Stdout = nil, &stdout
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", b, err, text, cmd.Stderr)
	}
	var rows []struct {
		Key, Warning string
		Set          bool
	}
	must(t, json.Unmarshal(stdout.Bytes(), &rows))
	set := map[string]bool{}
	for _, row := range rows {
		if set[row.Key] = row.Set; row.Warning != "" {
			t.Errorf("%s: %s: %s", b, row.Key, row.Warning)
		}
	}
	for key := range keys {
		if !set[cmp.Or(strings.TrimSuffix(key, "-file"), key)] {
			t.Errorf("%s: firn does not know %s", b, key)
		}
	}
	if len(keys) < 6 {
		t.Errorf("%s: only %d keys", b, len(keys))
	}
}

// publicKey is what somebody put where the manifests say so.
func publicKey(t testing.TB) string {
	t.Helper()
	w := newWorld(t)
	w.firn("key", "generate", "--curve25519", "--public", w.path("public"), "--private", w.path("private"))
	text, err := os.ReadFile(w.path("public"))
	must(t, err)
	return string(text)
}
