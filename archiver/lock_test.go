package archiver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/heartbeat"
)

// A lock of another host, on a file system that does not show its locks here.
func (w *world) lockOf(t *testing.T, boot string, age time.Duration) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(w.root, workDir), 0o755))
	file := filepath.Join(w.root, lockFile)
	must(t, os.WriteFile(file, fmt.Appendf(nil, "process 7 on elsewhere since 2024-03-01T01:00:00Z\n%s\n", boot), 0o644))
	then := time.Now().Add(-age)
	must(t, os.Chtimes(file, then, then))
}

func TestLockOfAnotherHost(t *testing.T) {
	for _, test := range []struct {
		name   string
		boot   string
		age    time.Duration
		locked bool
	}{
		{"alive", "another system", 10 * time.Second, true},
		{"almost dead", "another system", lockDead - 10*time.Second, true},
		{"dead", "another system", lockDead + 10*time.Second, false},
		{"of this system, which keeps locks itself", heartbeat.BootID(), 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.lockOf(t, test.boot, test.age)
			_, err := Run(t.Context(), w.options())
			if !test.locked {
				must(t, err)
				return
			}
			if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "process 7 on elsewhere since 2024-03-01T01:00:00Z") {
				t.Errorf("%v", err)
			}
			before, err := os.Stat(filepath.Join(w.root, lockFile))
			must(t, err)
			if age := time.Since(before.ModTime()); age < test.age {
				t.Errorf("to ask made the lock younger: %s", age)
			}
		})
	}
}

// What ended in order leaves nothing for other hosts to wait for.
func TestLockIsReleased(t *testing.T) {
	w := newWorld(t)
	w.run(t)
	content, err := os.ReadFile(filepath.Join(w.root, lockFile))
	must(t, err)
	if len(content) != 0 {
		t.Errorf("%q", content)
	}
}

// A run that slept for minutes, or whose disk did not answer, may have lost its
// place to another host, and must not go on.
func TestLockIsLost(t *testing.T) {
	w := newWorld(t)
	d, err := openDisk(w.root, func(string) {})
	must(t, err)
	defer d.close()
	ctx, err := d.lock(t.Context(), w.now)
	must(t, err)
	must(t, d.held.Check())
	d.held.Seen(time.Now().Add(-2 * lockLost))
	if err := d.held.Check(); !errors.Is(err, heartbeat.ErrLost) {
		t.Errorf("asleep: %v", err)
	}
	d.held.Seen(time.Now().Add(time.Hour))
	if err := d.held.Check(); !errors.Is(err, heartbeat.ErrLost) {
		t.Errorf("the clock went backwards: %v", err)
	}
	if ctx.Err() != nil {
		t.Errorf("%v", context.Cause(ctx))
	}
}

func TestNothingIsPublishedWithoutTheLock(t *testing.T) {
	w := newWorld(t)
	u := &nightly{w, "fs", map[string]string{"a/1": "one"}}
	n := u.backup(t)
	o := w.options()
	must(t, o.applyDefaults())
	d, err := openDisk(w.root, func(string) {})
	must(t, err)
	defer d.close()
	r := &run{Options: o, disk: d, report: newReport(false)}
	held, err := r.open(t.Context())
	must(t, err)
	d.held.Seen(time.Now().Add(-2 * lockLost))
	if err := r.storages(held); !errors.Is(err, heartbeat.ErrLost) {
		t.Errorf("%v", err)
	}
	if exists(filepath.Join(w.bucket, n.String(), "archive-info")) {
		t.Error("published")
	}
	if err := r.prune(held, []backupname.Name{n}); !errors.Is(err, heartbeat.ErrLost) || !exists(w.folder(n)) {
		t.Errorf("pruned: %v", err)
	}
}
