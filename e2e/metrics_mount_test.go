package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// mountNumbers mounts an archive until the end of the test, and returns the
// folder and the program.
func (w *world) mountNumbers(archive, file string) (string, *daemon) {
	w.Helper()
	dir, err := os.MkdirTemp(w.dir, "mounted")
	must(w, err)
	d := w.daemon(firn, slices.Concat([]string{"mount", archive, dir, w.catalog(), "--metrics-file", file}, w.open)...)
	d.awaitPrinted("mounted .* on")
	return dir, d
}

// TestMountNumbers: the file is there from the start, goes on, and says when the
// mount was taken down. One that cannot be written is told once, and no matter.
func TestMountNumbers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := w.path("firn-mount.prom")
	numbers := func(name string) string {
		b, err := os.ReadFile(file)
		must(t, err)
		m := regexp.MustCompile(`(?m)^firn_mount_` + name + `{mountpoint="` + regexp.QuoteMeta(w.dir) + `/.*"} (.*)$`).FindStringSubmatch(string(b))
		if m == nil {
			t.Fatalf("no %s in %s", name, b)
		}
		return m[1]
	}
	archive := filepath.Join(original, "plain", "archive")
	t.Run("while mounted", func(t *testing.T) {
		here := *w
		here.TB = t
		dir, _ := here.mountNumbers(archive, file)
		began := numbers("written_timestamp_seconds")
		if numbers("active") != "1" || numbers("opens_total") != "0" {
			t.Errorf("active %s, opened %s", numbers("active"), numbers("opens_total"))
		}
		unwritable, other := here.mountNumbers(archive, filepath.Join(file, "under", "a.prom"))
		here.must("sh", "-c", `find "$1" "$2" -type f -exec cat {} + | wc -c`, "sh", dir, unwritable)
		for deadline := time.Now().Add(45 * time.Second); numbers("written_timestamp_seconds") == began; time.Sleep(time.Second) {
			if time.Now().After(deadline) {
				t.Fatal("the numbers are not written again")
			}
		}
		if numbers("opens_total") == "0" {
			t.Error("nothing was counted")
		}
		time.Sleep(2 * time.Second) // the other mount has tried again too
		if n := strings.Count(other.printed(), "cannot tell the numbers"); n != 1 {
			t.Errorf("%d warnings:\n%s", n, other.printed())
		}
	})
	if numbers("active") != "0" {
		t.Error("still active")
	}
}
