package uploader

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/objstore"
)

const killVariable = "FIRN_TEST_KILL_UPLOADER_"

// TestKilledChild is the process that TestKilled kills.
func TestKilledChild(t *testing.T) {
	at, err := strconv.ParseInt(os.Getenv(killVariable+"AT"), 10, 64)
	if err != nil {
		return // an ordinary run of the tests
	}
	now, err := time.Parse(time.RFC3339Nano, os.Getenv(killVariable+"NOW"))
	if err != nil {
		t.Fatal(err)
	}
	store, err := objstore.OpenDir(os.Getenv(killVariable + "BUCKET"))
	if err != nil {
		t.Fatal(err)
	}
	var steps atomic.Int64
	_, err = Run(context.Background(), Options{
		Storage: os.Getenv(killVariable + "STORAGE"), Name: "file-storage", Workers: 2, partSize: 256 << 10, patience: time.Millisecond,
		now: func() time.Time { return now },
		Store: &guardedStore{store, func(change, key string) error {
			if n := steps.Add(1); n >= at {
				if n == at {
					fmt.Println("killed before", change, key)
					syscall.Kill(os.Getpid(), syscall.SIGKILL)
				}
				select {}
			}
			return nil
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// killed runs the uploader, an hour later, in a process that is killed before its
// n-th change of the bucket, counted from 1. It returns which one that was, or ""
// where the run ended before.
func (w *world) killed(n int) (step string) {
	w.t.Helper()
	w.now = w.now.Add(time.Hour)
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledChild$")
	cmd.Env = append(os.Environ(),
		killVariable+"AT="+strconv.Itoa(n), killVariable+"NOW="+w.now.Format(time.RFC3339Nano),
		killVariable+"BUCKET="+w.bucket, killVariable+"STORAGE="+w.storage)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err == nil {
		return ""
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		w.t.Fatalf("step %d: %v: %s%s", n, err, &stdout, &stderr)
	}
	return strings.TrimSpace(stdout.String())
}

// committed are the backups that have a list, oldest first.
func (w *world) committed() (names []string) {
	w.t.Helper()
	for _, key := range w.keys() {
		if name, ok := strings.CutSuffix(key, "/backup-info"); ok {
			names = append(names, name)
		}
	}
	return names
}

// Killed before any of its changes of the bucket, an uploader leaves a bucket in
// which each backup with a list is whole; and the next run begins at once, goes
// on with what had arrived, and cleans up the rest.
func TestKilled(t *testing.T) {
	w := newWorld(t)
	total := writeSeveralPackages(w)
	goneOn, after := 0, 0
	for n := 1; ; n++ {
		w.takeBucket(t.TempDir())
		step := w.killed(n)
		if step == "" {
			t.Logf("%d steps, %d of them with something to go on with, %d after the list", n-1, goneOn, after)
			if n < 25 || goneOn < 10 || after < 3 {
				t.Error("the test misses parts")
			}
			w.checkBucket(w.committed()...)
			return
		}
		if w.rerun(total) {
			goneOn++
		}
		if len(w.committed()) > 1 {
			after++
		}
		w.checkBucket(w.committed()...)
		if t.Failed() {
			t.Fatalf("step %d: %s", n, step)
		}
	}
}

// rerun runs the uploader to its end after one that was killed, and tells whether
// there was something to go on with.
func (w *world) rerun(total int) (goesOn bool) {
	w.t.Helper()
	open := envelope.NewOpener(nil)
	before := w.committed()
	for _, name := range before {
		if len(w.check(name, open, false)) != total {
			w.t.Errorf("%s is not whole", name)
		}
	}
	arrived := w.arrived(open, false)
	// The lease of the dead process must not be waited for.
	r := w.mustBackup(func(o *Options) { o.patience, o.partSize = time.Millisecond, 256<<10 })
	w.checkGoesOn(r, arrived, total)
	if got := w.committed(); !slices.Equal(got, append(before, r.Backup)) {
		w.t.Errorf("%q became %q", before, got)
	}
	w.check(r.Backup, open, false)
	return len(arrived) > 0
}

// Killed, killed while it goes on, and so on: no work is lost, and nothing mixed.
func TestKilledAgainAndAgain(t *testing.T) {
	w := newWorld(t)
	total := writeSeveralPackages(w)
	open := envelope.NewOpener(nil)
	for range rounds(3) {
		w.takeBucket(t.TempDir())
		var steps []string
		arrived := 0
		for len(w.committed()) == 0 {
			step := w.killed(1 + rand.IntN(40))
			steps = append(steps, step)
			now := len(w.arrived(open, false))
			if len(w.committed()) == 0 && now < arrived {
				t.Errorf("%d files had arrived, %d are left", arrived, now)
			}
			arrived = now
		}
		w.rerun(total)
		w.rerun(total)
		w.checkBucket(w.committed()...)
		if t.Failed() {
			t.Fatalf("steps: %q", steps)
		}
	}
}
