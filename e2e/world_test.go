package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chipster/firn/internal/gpgtest"
	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/objstore/objstoretest"
)

// patience is longer than any command of these tests takes on a slow machine.
const patience = 2 * time.Minute

// world is a storage's host, a bucket and an archive server.
type world struct {
	testing.TB
	dir, storage, archive string
	store                 objstore.Store // the bucket, to look into it
	env                   []string       // of the program: where the bucket is
	seal, open            []string       // arguments that say for whom, and with which key
	gpgHome               string         // knows the key
}

func newWorld(t testing.TB) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{
		TB: t, dir: dir, storage: filepath.Join(dir, "storage"), archive: filepath.Join(dir, "archive"),
		gpgHome: gpgtest.Home(t),
	}
	for _, folder := range []string{w.storage, w.archive, w.path("home")} {
		must(t, os.Mkdir(folder, 0o755))
	}
	w.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + w.path("home"), "XDG_CACHE_HOME=" + w.path("home"), "TMPDIR=" + dir,
		"GNUPGHOME=" + w.gpgHome, "LC_ALL=C",
	}
	return w
}

// withBucket gives the world an empty bucket.
func (w *world) withBucket() *world {
	w.Helper()
	o := objstoretest.VersityGW(w)
	var err error
	w.store, err = objstore.OpenS3(w.Context(), o)
	must(w, err)
	w.env = append(w.env, bucketSettings(o)...)
	return w
}

// bucketSettings are the variables of the configuration that name a bucket.
func bucketSettings(o objstore.S3Options) []string {
	return []string{
		"backup_bucket=" + o.Bucket, "backup_s3_endpoint=" + o.Endpoint, "backup_s3_region=" + o.Region,
		"backup_s3_access_key=" + o.AccessKey, "backup_s3_secret_key=" + o.SecretKey,
		"backup_s3_path_style_access=true", "backup_s3_ca_file=" + o.CAFile,
	}
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// importKey gives gpg a private key in the form that firn writes.
func (w *world) importKey(file string) {
	w.Helper()
	w.shell(`base64 -d "$1" | gpg --batch --quiet --import`, file)
}

// run runs a program to its end and returns what it printed, and its exit code.
func (w *world) run(stdin []byte, program string, args ...string) (stdout, stderr string, code int) {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	cmd.Dir, cmd.Env, cmd.Stdin = w.dir, w.env, bytes.NewReader(stdin)
	var out, errout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errout
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		w.Fatalf("%s %q: %v\n%s", program, args, err, errout.String())
	}
	return out.String(), errout.String(), cmd.ProcessState.ExitCode()
}

// must runs a program that has to succeed.
func (w *world) must(program string, args ...string) string {
	w.Helper()
	stdout, stderr, code := w.run(nil, program, args...)
	if code != 0 {
		w.Fatalf("%s %q: exit code %d\n%s%s", filepath.Base(program), args, code, stdout, stderr)
	}
	return stdout
}

func (w *world) shell(script string, args ...string) string {
	w.Helper()
	return w.must("sh", append([]string{"-e", "-c", script, "sh"}, args...)...)
}

func (w *world) firn(args ...string) string {
	w.Helper()
	return w.must(firn, append([]string{"--quiet"}, args...)...)
}

// firnJSON runs a command with --json and reads the answer.
func (w *world) firnJSON(v any, args ...string) {
	w.Helper()
	out := w.firn(append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		w.Fatalf("%q: %v\n%s", args, err, out)
	}
}

// catalog keeps the catalog of the archive in the test's folder.
func (w *world) catalog() string { return "--catalog=" + w.path("catalog.sqlite") }

// upload makes a backup of the storage and returns its name.
func (w *world) upload() string {
	w.Helper()
	var report struct{ Backup string }
	w.firnJSON(&report, slices.Concat([]string{"upload", "files", w.storage, "--name", "file-storage"}, w.seal)...)
	return report.Backup
}

// pull archives what waits in the bucket and returns its names.
func (w *world) pull() (backups []string) {
	w.Helper()
	var report struct{ Backups []struct{ Name string } }
	w.firnJSON(&report, "archive", w.archive)
	for _, b := range report.Backups {
		backups = append(backups, b.Name)
	}
	return backups
}

// restore restores a version into a new folder.
func (w *world) restore(version string) string {
	w.Helper()
	to := filepath.Join(w.TB.(*testing.T).TempDir(), "restored")
	w.firn(slices.Concat([]string{"restore", w.archive, version, "--to", to, w.catalog()}, w.open)...)
	return to
}

// objects are the keys in the bucket, and how they end if that is given.
func (w *world) objects(prefix, suffix string) (keys []string) {
	w.Helper()
	for o, err := range w.store.List(w.Context(), prefix) {
		must(w, err)
		if strings.HasSuffix(o.Key, suffix) {
			keys = append(keys, o.Key)
		}
	}
	return keys
}

// must ends a test on an error of the test's own doing.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
