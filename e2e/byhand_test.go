package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// byHand is what one has who has no firn: nothing else is in PATH.
var byHand = strings.Fields("sh awk sort tail find mkdir mktemp mv rm chmod touch sha512sum tar lz4 gpg")

// restoreByHand runs scripts/restore.sh.
func (w *world) restoreByHand(args ...string) (stdout, stderr string, code int) {
	w.Helper()
	bin := w.path("tools")
	must(w, os.MkdirAll(bin, 0o755))
	for _, tool := range byHand {
		path, err := exec.LookPath(tool)
		must(w, err)
		_ = os.Symlink(path, filepath.Join(bin, tool))
	}
	command := append([]string{"-i", "PATH=" + bin, "GNUPGHOME=" + w.gpgHome, "sh", filepath.Join(project, "scripts", "restore.sh")}, args...)
	return w.run(nil, "env", command...)
}

// mustRestoreByHand restores into a new folder and describes it.
func (w *world) mustRestoreByHand(to string, args ...string) map[string]file {
	w.Helper()
	stdout, stderr, code := w.restoreByHand(append(args, to)...)
	if code != 0 || stderr != "" {
		w.Fatalf("restore.sh %q: exit code %d\n%s%s", args, code, stdout, stderr)
	}
	return tree(w, w.path(to))
}

// withFolder gives the world a folder for a bucket.
func (w *world) withFolder() *world {
	w.Helper()
	must(w, os.Mkdir(w.path("bucket"), 0o755))
	w.env = append(w.env, "backup_store=file://"+w.path("bucket"))
	return w
}

// Nothing that firn writes needs firn to be read.
func TestRestoreByHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t).withFolder()
	withNewKey(w)
	n := newSite(t, w.storage)
	n.fill(10, 1)
	first := w.upload()
	before := tree(t, w.storage)
	sameTree(t, "from the bucket", w.mustRestoreByHand("from-bucket", "--bucket", "bucket", first), before, 0o777)
	w.pull()
	n.day()
	second := w.upload()
	w.pull()
	sameTree(t, "the first version", w.mustRestoreByHand("first", "archive", first), before, 0o777)
	sameTree(t, "the second version", w.mustRestoreByHand("second", "archive", second), tree(t, w.storage), 0o777)

	// A run that is repeated finds everything in its place.
	must(t, os.Remove(w.path("first/%0A")))
	sameTree(t, "the first version again", w.mustRestoreByHand("first", "archive", first), before, 0o777)
}

// What cannot be restored is named, and all else is restored.
func TestRestoreByHandDamaged(t *testing.T) {
	t.Parallel()
	w := newWorld(t).withFolder()
	withNewKey(w)
	newSite(t, w.storage).fill(1, 0)
	version := w.upload()
	w.pull()
	sealed := func(name string) string { return filepath.Join(w.archive, version, name+".lz4.gpg") }
	must(t, os.Remove(sealed("-rf")))
	must(t, os.Truncate(sealed("ä/日本\u2028"), 100))
	must(t, os.Mkdir(w.path("target"), 0o755))
	must(t, os.WriteFile(w.path("target/~"), []byte("precious"), 0o644))

	stdout, stderr, code := w.restoreByHand("archive", version, "target")
	for _, message := range []string{"-rf: missing", "ä/日本\u2028: damaged", "~: something else is there"} {
		if !strings.Contains(stderr, "restore.sh: "+message) {
			t.Errorf("nothing says %q", message)
		}
	}
	if code != 1 || strings.Count(stderr, "\n") != 3 {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	want := tree(t, w.storage)
	delete(want, "-rf")
	delete(want, "ä/日本\u2028")
	got := tree(t, w.path("target"))
	want["~"] = got["~"]
	sameTree(t, "the rest", got, want, 0o777)
	if data, err := os.ReadFile(w.path("target/~")); err != nil || string(data) != "precious" {
		t.Errorf("what was there is %q, %v", data, err)
	}
}

func TestOriginalByHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	withRSA(w)
	for _, c := range []string{"rsa", "plain"} {
		for version, want := range expected(t, c, "expected.json") {
			archive := filepath.Join(original, c, "archive")
			checkHashes(t, c+" "+version, w.mustRestoreByHand(c+version, archive, version), want)
		}
	}
}

// expected is what a case of the original's archives must show: for each
// version the SHA-512 of each file.
func expected(t testing.TB, c, name string) (versions map[string]map[string]string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(original, c, name))
	must(t, err)
	must(t, json.Unmarshal(data, &versions))
	if len(versions) == 0 {
		t.Fatalf("%s/%s names no versions", c, name)
	}
	return versions
}
