package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/objstore/objstoretest"
)

// killer is a storage that is backed up and archived by programs that are
// killed, again and again, while somebody reads in a mount.
type killer struct {
	*nights
	bucket objstore.S3Options
	mount  string
	random *rand.Rand
	usual  map[string]time.Duration // how long a command takes when nobody kills it
	kills  map[string]int           // by phase
	told   map[string]bool          // what was found to be left, each once

	mu   sync.Mutex
	done []night // complete versions: what is read all the while
}

// TestKilledAtRandom kills uploads and archivings at random, some times each
// before one may come to its end. What was complete stays right, and with the
// first run that nobody kills, nothing is left of those that were.
func TestKilledAtRandom(t *testing.T) {
	t.Parallel()
	bucket := objstoretest.VersityGW(t)
	w := newWorld(t)
	w.env = append(w.env, bucketSettings(bucket)...)
	var err error
	w.store, err = objstore.OpenS3(t.Context(), bucket)
	must(t, err)
	withNewKey(w)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	k := &killer{
		nights: &nights{world: w, site: newSite(t, w.storage)}, bucket: bucket,
		random: rand.New(rand.NewPCG(seed, 0)), usual: map[string]time.Duration{}, kills: map[string]int{}, told: map[string]bool{},
	}
	k.site.random = rand.New(rand.NewPCG(seed, 1))
	k.site.fill(60, 2)
	k.night(0)
	k.mount = w.mount()
	ctx, stop := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	defer reading.Wait()
	defer stop()
	reading.Go(func() {
		if err := k.readOn(ctx); err != nil {
			t.Errorf("while programs were killed: %v", err)
			stop()
		}
	})
	nights := 1
	for end := time.Now().Add(soakTime(t, 15*time.Second)); (time.Now().Before(end) || nights < 3) && ctx.Err() == nil; nights++ {
		k.change()
		k.night(1 + k.random.IntN(4))
	}
	stop()
	reading.Wait()
	k.finish()
	t.Logf("%d nights, %d versions, killed: %v", nights, len(k.all), k.kills)
}

// soakTime is how long a test goes on that could go on for ever: $FIRN_SOAK is
// in minutes, for which go test needs -timeout as well.
func soakTime(t testing.TB, short time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv("FIRN_SOAK")
	if text == "" {
		return short
	}
	minutes, err := strconv.ParseFloat(text, 64)
	must(t, err)
	return time.Duration(minutes * float64(time.Minute))
}

// change is what users do. On most days that is more than a part of an upload.
func (k *killer) change() {
	k.site.day()
	for i := range k.random.IntN(5) {
		data := make([]byte, 6<<20+k.random.IntN(6<<20))
		for at := range data {
			data[at] = byte(k.random.Uint32())
		}
		k.site.write(fmt.Sprintf("large/%d", i), data)
	}
}

// night uploads and archives, each after some runs that were killed.
func (k *killer) night(kills int) {
	k.Helper()
	files := tree(k, k.storage)
	copied := k.keepCopy(fmt.Sprintf("night-%d", len(k.all)))
	var upload struct{ Backup string }
	k.killed(kills, "upload", func() { k.note(copied, files) }, &upload, slices.Concat([]string{"upload", "files", k.storage, "--name", "file-storage"}, k.seal)...)
	k.note(copied, files)
	if newest := k.all[len(k.all)-1].backup; newest != upload.Backup {
		k.Errorf("the bucket's newest backup is %s, the report says %q", newest, upload.Backup)
	}
	k.checkBucket("after the upload")

	var archive struct{ Backups []struct{ Name string } }
	k.killed(kills, "archive", nil, &archive, "archive", k.archive)
	if k.mount != "" { // which takes a second to show versions; of a night, there can be several
		for _, v := range k.all {
			k.await(inMount(k.mount, v.backup))
		}
	}
	k.mu.Lock()
	k.done = slices.Clone(k.all)
	k.mu.Unlock()
	k.checkBucket("after the archiving")
	k.checkLeftovers()
	k.checkNewest()
}

// note looks for backups that are complete and were not before, whoever
// completed them: a run that was killed may have, and could not say so.
func (k *killer) note(copied string, files map[string]file) {
	k.Helper()
	for _, key := range k.objects("", "/backup-info") {
		backup := strings.TrimSuffix(key, "/backup-info")
		if !slices.ContainsFunc(k.all, func(v night) bool { return v.backup == backup }) {
			k.all = append(k.all, night{backup, copied, files})
		}
	}
	slices.SortFunc(k.all, func(a, b night) int { return strings.Compare(a.backup, b.backup) })
}

// killed runs a command, kills it some times, and lets it come to its end.
func (k *killer) killed(times int, what string, after func(), report any, args ...string) {
	k.Helper()
	for range times {
		delay := time.Duration(k.random.Int64N(int64(k.usual[what])))
		before, began := k.look(), time.Now()
		out, stderr, err := k.start(delay, args)
		if after != nil {
			after()
		}
		switch {
		case err == nil:
			k.usual[what] = time.Since(began)
			k.kills[what+": ended before"]++
		case err.(*exec.ExitError).Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL:
			k.Fatalf("%q after kills: %v\n%s%s", args, err, out, stderr)
		default:
			k.kills[what+": "+k.phase(what, before)]++
		}
	}
	began := time.Now()
	out, stderr, err := k.start(patience, args)
	if err != nil {
		k.Fatalf("%q after %d kills: %v\n%s%s", args, times, err, out, stderr)
	}
	k.usual[what] = time.Since(began)
	must(k, json.Unmarshal([]byte(out), report))
}

// start runs firn, and kills it after a while.
func (k *killer) start(after time.Duration, args []string) (stdout, stderr string, err error) {
	k.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), after)
	defer cancel()
	cmd := exec.CommandContext(ctx, firn, slices.Concat([]string{"--quiet"}, args, []string{"--json"})...)
	var out, errout bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = k.dir, k.env, &out, &errout
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err = cmd.Start(); err != nil {
		k.Fatal(err)
	}
	if err = cmd.Wait(); err == context.DeadlineExceeded && cmd.ProcessState.Success() {
		err = nil // it ended in the instant of the kill
	}
	return out.String(), errout.String(), err
}

// bucketState is what the bucket holds: keys, and uploads under way.
type bucketState struct{ keys, uploads []string }

func (k *killer) look() bucketState {
	k.Helper()
	return bucketState{k.objects("", ""), objstoretest.Uploads(k, k.bucket)}
}

// phase tells, by what there is, how far a run came that was killed.
func (k *killer) phase(what string, before bucketState) string {
	k.Helper()
	if what == "upload" {
		now := k.look()
		phase := "before the packages"
		for _, key := range now.keys {
			switch {
			case slices.Contains(before.keys, key):
			case strings.HasSuffix(key, "/backup-info"):
				return "after the list"
			case strings.HasSuffix(key, ".tar"):
				phase = "between packages"
			}
		}
		if len(now.uploads) > len(before.uploads) {
			phase = "in a package of several parts"
		}
		return phase
	}
	newest := k.all[len(k.all)-1].backup
	arriving, _ := filepath.Glob(filepath.Join(k.archive, ".firn/download/*/*"))
	_, version := os.Stat(filepath.Join(k.archive, newest))
	_, list := os.Stat(filepath.Join(k.archive, newest, "archive-info"))
	switch {
	case len(k.objects(newest+"/", "/archive-info")) > 0:
		return "in the cleaning"
	case list == nil:
		return "before the list went to the bucket"
	case len(arriving) > 0:
		return "while files arrived"
	case version == nil:
		return "while files moved"
	}
	return "before files arrived"
}

// checkBucket demands that there is nothing but the newest archived backup and
// those that wait, and no upload under way.
func (k *killer) checkBucket(when string) {
	k.Helper()
	var want []string
	for _, v := range k.all[max(0, len(k.done)-1):] {
		want = append(want, v.backup)
	}
	for _, key := range k.objects("", "") {
		backup, object, _ := strings.Cut(key, "/")
		if !slices.Contains(want, backup) {
			k.tell("%s: %s is in the bucket", when, key)
		} else if object != "backup-info" && object != "archive-info" && !slices.Contains(k.packagesOf(backup), object) {
			k.tell("%s: %s is in the bucket, and no list names it", when, key)
		}
	}
	for _, key := range objstoretest.Uploads(k, k.bucket) {
		k.tell("%s: an upload of %s is left unfinished", when, key)
	}
}

// tell is Errorf for what may stay for many nights.
func (k *killer) tell(format, when, key string) {
	k.Helper()
	if !k.told[format+key] {
		k.told[format+key] = true
		k.Errorf(format, when, key)
	}
}

// packagesOf are the packages that a backup's list names.
func (k *killer) packagesOf(backup string) (names []string) {
	k.Helper()
	for _, l := range parseList(k, backup, string(k.object(backup+"/backup-info"))) {
		if l.backup == backup && !slices.Contains(names, l.extra["package"]) {
			names = append(names, l.extra["package"])
		}
	}
	return names
}

// checkLeftovers demands that the archive holds nothing but what lists name.
func (k *killer) checkLeftovers() {
	k.Helper()
	expected := map[string]bool{".firn": true, ".firn/lock": true, ".firn/download": true}
	for _, v := range k.all {
		data, err := os.ReadFile(filepath.Join(k.archive, v.backup, "archive-info"))
		must(k, err)
		expected[v.backup], expected[v.backup+"/archive-info"] = true, true
		for _, l := range parseList(k, v.backup, string(data)) {
			for path := v.backup + "/" + l.sealedPath; path != "."; path = filepath.Dir(path) {
				expected[path] = true
			}
		}
	}
	must(k, filepath.WalkDir(k.archive, func(name string, e fs.DirEntry, err error) error {
		if path := strings.TrimPrefix(name, k.archive+"/"); err == nil && name != k.archive && !expected[path] {
			k.Errorf("left in the archive: %q", path)
		} else if below, _ := os.ReadDir(name); e.IsDir() && len(below) == 0 && path != ".firn/download" {
			k.Errorf("an empty folder is left in the archive: %q", path)
		}
		return err
	}))
}

// checkNewest compares the newest version, and an older one, with the storage as
// it was.
func (k *killer) checkNewest() {
	k.Helper()
	newest := k.all[len(k.all)-1]
	sameTree(k, newest.backup+" restored", tree(k, k.restore(newest.backup)), newest.files, 0o777)
	if k.mount != "" {
		k.checkRsync(newest.copy, inMount(k.mount, newest.backup))
		older := k.all[k.random.IntN(len(k.all))]
		k.checkRsync(older.copy, inMount(k.mount, older.backup))
	}
}

// readOn reads all complete versions over and over. Nothing is pruned here, so
// there is no excuse for an error.
func (k *killer) readOn(ctx context.Context) error {
	once := make(chan struct{})
	close(once)
	for ctx.Err() == nil {
		k.mu.Lock()
		versions := slices.Clone(k.done)
		k.mu.Unlock()
		if err := readUntil(once, k.mount, versions); err != nil {
			return err
		}
	}
	return nil
}

// finish compares all versions once more, in every way.
func (k *killer) finish() {
	k.Helper()
	var versions []string
	for _, v := range k.all {
		versions = append(versions, v.backup)
		k.checkRsync(v.copy, inMount(k.mount, v.backup))
	}
	k.checkArchive(versions)
}
