package e2e

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chipster/firn/internal/shard"
)

// atOnce runs the program several times side by side, with --json, and returns
// what each printed. All of them have to succeed with one of the exit codes.
func (w *world) atOnce(codes []int, commands ...[]string) (answers []map[string]any) {
	w.Helper()
	answers = make([]map[string]any, len(commands))
	failed := make([]error, len(commands))
	var all sync.WaitGroup
	for i, args := range commands {
		all.Go(func() {
			cmd := exec.CommandContext(w.Context(), firn, append([]string{"--quiet"}, append(args, "--json")...)...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			cmd.Dir, cmd.Env = w.dir, w.env
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if cmd.ProcessState == nil || !slices.Contains(codes, cmd.ProcessState.ExitCode()) {
				failed[i] = fmt.Errorf("firn %q: %v\n%s", args, err, stderr.String())
				return
			}
			if err := json.Unmarshal(out, &answers[i]); err != nil {
				failed[i] = fmt.Errorf("firn %q: %v\n%s", args, err, out)
			}
		})
	}
	all.Wait()
	for _, err := range failed {
		if err != nil {
			w.Fatal(err)
		}
	}
	return answers
}

// inShards are the commands that do together what one does.
func inShards(count int, args ...string) (commands [][]string) {
	for i := range count {
		commands = append(commands, append(slices.Clone(args), fmt.Sprintf("--shard=%d/%d", i+1, count)))
	}
	return commands
}

// Four machines side by side make the backup that one would make, restore what
// one would restore, and find what one would find; and one that was killed does
// its share when it is started again.
func TestShards(t *testing.T) {
	t.Parallel()
	w := newWorld(t).withBucket()
	withNewKey(w)
	site := newSite(t, w.storage)
	site.fill(300, 3)
	upload := slices.Concat([]string{"upload", "files", w.storage, "--name", "file-storage"}, w.seal)

	want := tree(t, w.storage)
	w.atOnce([]int{0}, inShards(4, upload...)...)
	first := w.onlyList()
	w.checkBackup(first, len(want))
	if left := w.objects(first+"/", ""); slices.ContainsFunc(left, func(key string) bool {
		return !strings.HasSuffix(key, ".tar") && !strings.HasSuffix(key, "backup-info")
	}) {
		t.Errorf("left in the bucket: %q", left)
	}
	if got := w.pull(); !slices.Equal(got, []string{first}) {
		t.Fatalf("archived %q", got)
	}
	to := w.path("restored")
	restore := slices.Concat([]string{"restore", w.archive, first, "--to", to, w.catalog()}, w.open)
	w.atOnce([]int{0}, inShards(4, restore...)...)
	sameTree(t, "in shards", tree(t, to), want, 0o777)
	if hidden, _ := filepath.Glob(to + "/.firn*"); len(hidden) > 0 {
		t.Errorf("left in the target: %q", hidden)
	}

	// The next night, one after the other, as where only one can run; the third
	// is killed while it sends a large file, before it is started again.
	site.day()
	large := ""
	for i := 0; !(shard.Shard{Index: 3, Count: 4}).Has(large); i++ {
		large = fmt.Sprintf("large-%d", i)
	}
	noise := make([]byte, 64<<20)
	_, _ = rand.Read(noise)
	site.write(large, noise)
	want = tree(t, w.storage)
	commands := inShards(4, upload...)
	w.atOnce([]int{0}, commands[0])
	w.atOnce([]int{0}, commands[3])
	w.killAtWork(commands[2], "3of4-")
	w.atOnce([]int{0}, commands[2])
	if lists := w.objects("", "/backup-info"); len(lists) != 1 {
		t.Errorf("there is a backup before all shards were there: %q", lists)
	}
	w.atOnce([]int{0}, commands[1])
	second := w.pull()
	if len(second) != 1 {
		t.Fatalf("archived %q", second)
	}
	sameTree(t, "the second night", tree(t, w.restore(second[0])), want, 0o777)

	// A single run makes nothing of all this anew.
	var next struct{ New, Files int }
	w.firnJSON(&next, upload...)
	if next.New != 0 || next.Files != len(want) {
		t.Errorf("a single run after that: %+v, %d files", next, len(want))
	}
	w.checkShardsVerify(first, second[0])
}

// onlyList is the name of the only backup.
func (w *world) onlyList() string {
	w.Helper()
	lists := w.objects("", "/backup-info")
	if len(lists) != 1 {
		w.Fatalf("backups: %q", lists)
	}
	return strings.TrimSuffix(lists[0], "/backup-info")
}

// killAtWork starts a shard's upload, and kills it when it has begun to upload.
func (w *world) killAtWork(args []string, tag string) {
	w.Helper()
	cmd := exec.Command(firn, append([]string{"--quiet"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Dir, cmd.Env = w.dir, w.env
	must(w, cmd.Start())
	for began := time.Now(); !slices.ContainsFunc(w.objects("", ""), func(key string) bool { return strings.Contains(key, "/lease-"+tag) }); {
		if time.Since(began) > time.Minute {
			w.Error("it uploads nothing")
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	must(w, cmd.Process.Kill())
	if err := cmd.Wait(); err == nil {
		w.Error("it came to its end before it was killed")
	}
}

// checkShardsVerify damages an archive and holds what shards find against what
// one run does.
func (w *world) checkShardsVerify(versions ...string) {
	w.Helper()
	damaged := 0
	for _, version := range versions {
		sealed, err := filepath.Glob(filepath.Join(w.archive, version, "??", "*.lz4.gpg"))
		must(w, err)
		for i, name := range sealed {
			switch i % 20 {
			case 3:
				must(w, os.Remove(name))
				damaged++
			case 7:
				must(w, os.WriteFile(name, []byte("something else"), 0o600))
				damaged++
			case 11:
				must(w, os.WriteFile(name+".extra", nil, 0o600))
				damaged++
			}
		}
	}
	must(w, os.Mkdir(filepath.Join(w.archive, "file-storage_2001-01-01T00:00:00.000Z"), 0o755))
	verify := []string{"verify", w.archive, w.catalog()}
	const found = 3 // the exit code
	one := problems(w.atOnce([]int{found}, verify))
	four := problems(w.atOnce([]int{0, found}, inShards(4, verify...)...))
	if len(one) < damaged || !slices.Equal(one, four) {
		w.Errorf("%d damaged files; one run found %d problems, four shards found %d:\n%s\n%s", damaged, len(one), len(four), strings.Join(one, "\n"), strings.Join(four, "\n"))
	}
}

// problems are what reports of verifications say, in order.
func problems(reports []map[string]any) (all []string) {
	for _, report := range reports {
		list, _ := report["problems"].([]any)
		for _, p := range list {
			p := p.(map[string]any)
			all = append(all, fmt.Sprint(p["kind"], " ", p["folder"], " ", p["path"], " ", p["sealedPath"]))
		}
		unfinished, _ := report["unfinished"].([]any)
		for _, folder := range unfinished {
			all = append(all, fmt.Sprint("unfinished ", folder))
		}
	}
	slices.Sort(all)
	return all
}

// Several storages with the same file names share a bucket and an archive, and
// are backed up at the same time.
func TestStoragesSideBySide(t *testing.T) {
	t.Parallel()
	w := newWorld(t).withBucket()
	withNewKey(w)
	storages := []string{"file-storage-0", "file-storage-1", "file-storage"}
	sites := map[string]*site{}
	for i, name := range storages {
		dir := w.path(name)
		must(t, os.Mkdir(dir, 0o755))
		sites[name] = newSite(t, dir)
		sites[name].fill(40, 1)
		sites[name].write("same", fmt.Appendf(nil, "of %d", i))
	}
	type version struct {
		name  string
		files map[string]file
	}
	var versions []version
	for night := range 3 {
		var uploads [][]string
		for _, name := range storages {
			if night > 0 {
				sites[name].day()
			}
			uploads = append(uploads, slices.Concat([]string{"upload", "files", sites[name].dir, "--name", name}, w.seal))
		}
		for i, report := range w.atOnce([]int{0}, uploads...) {
			versions = append(versions, version{report["backup"].(string), tree(t, sites[storages[i]].dir)})
		}
		if night != 1 { // once, two nights wait
			w.pull()
		}
	}
	for _, v := range versions {
		sameTree(t, v.name, tree(t, w.restore(v.name)), v.files, 0o777)
	}
	mounted := w.mount()
	names, err := os.ReadDir(mounted)
	must(t, err)
	var shown []string
	for _, n := range names {
		shown = append(shown, n.Name())
	}
	for name := range maps.Keys(sites) {
		if !slices.Contains(shown, name) {
			t.Errorf("the mount shows %q, not %s", shown, name)
		}
		sameTree(t, "latest of "+name, tree(t, filepath.Join(mounted, name, "latest")+"/"), tree(t, sites[name].dir), 0o444)
	}
}

// Two installations that back up into one bucket under one name are told so, in
// place of taking each other's files for their own.
func TestTwoInstallations(t *testing.T) {
	t.Parallel()
	w := newWorld(t).withBucket()
	withNewKey(w)
	newSite(t, w.storage).fill(10, 0)
	first := w.upload()
	other := w.path("other")
	must(t, os.Mkdir(other, 0o755))
	newSite(t, other).fill(5, 0)
	upload := slices.Concat([]string{"--quiet", "upload", "files", other, "--name", "file-storage"}, w.seal)
	for _, archived := range []bool{false, true} {
		if archived {
			w.pull()
		}
		_, stderr, code := w.run(nil, firn, upload...)
		if code == 0 || !strings.Contains(stderr, "installation") {
			t.Errorf("archived %v: exit code %d: %s", archived, code, stderr)
		}
		if got := w.onlyList(); got != first {
			t.Errorf("there is %s", got)
		}
	}
	// The list says whose it is; whoever moved says so.
	line, _, _ := strings.Cut(string(w.object(first+"/backup-info")), "\n")
	_, id, ok := strings.Cut(line, "installation=")
	if !ok {
		t.Fatalf("the first line is %q", line)
	}
	id, _, _ = strings.Cut(id, "\t")
	w.firn(append(upload[1:], "--installation", id)...)
	if lists := w.objects("", "/backup-info"); len(lists) != 2 {
		t.Errorf("backups: %q", lists)
	}
}
