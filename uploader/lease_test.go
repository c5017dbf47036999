package uploader

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/heartbeat"
	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/shard"
)

const (
	elsewhere = "process 7 on elsewhere since 2026-01-01T01:00:00Z\n"
	otherBoot = "00000000-0000-0000-0000-000000000000 pid:[4026531836] 7 12345\n"
)

// impatient has a run find out at once whether it is the only one.
func impatient(o *Options) { o.patience = time.Millisecond }

// putLease writes a lease as another process would, some time ago.
func (w *world) putLease(content string, age time.Duration) (key string) {
	w.t.Helper()
	key = "file-storage_2026-01-01T01:00:00.000Z/" + leasePrefix + "SOMEBODYELSE"
	w.put(key, []byte(content))
	at := time.Now().Add(-age)
	if err := os.Chtimes(filepath.Join(w.bucket, key), at, at); err != nil {
		w.t.Fatal(err)
	}
	return key
}

// deadProcess was one of this system and is none any more.
func deadProcess(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	id := processID(cmd.Process.Pid)
	if err := cmd.Process.Kill(); err != nil || id == "" {
		t.Fatalf("%q, %v", id, err)
	}
	_ = cmd.Wait() // killed
	return id
}

func TestLeasesOfOthers(t *testing.T) {
	own := processID(os.Getpid())
	fields := strings.Fields(own)
	if len(fields) != 4 {
		t.Fatalf("this process is %q", own)
	}
	for what, test := range map[string]struct {
		content string
		age     time.Duration
		says    string // "": nobody holds it
	}{
		"other host":              {elsewhere + otherBoot, 0, "process 7 on elsewhere since 2026-01-01T01:00:00Z"},
		"other host, quiet":       {elsewhere + otherBoot, 4*time.Minute + 30*time.Second, "process 7 on elsewhere"},
		"other host, dead":        {elsewhere + otherBoot, 6 * time.Minute, ""},
		"other host, from future": {elsewhere + otherBoot, -time.Hour, "process 7 on elsewhere"},
		"released":                {"", 0, ""},
		"says no process":         {elsewhere, 0, "process 7 on elsewhere"},
		"garbage":                 {"\xff\x00?\x1b[31m\nwho knows\n", 0, "?"},
		"garbage, old":            {"\xff\x00?\nwho knows\n", 6 * time.Minute, ""},
		"garbage of our form":     {elsewhere + strings.Join(fields[:2], " ") + " x y\n", 0, "process 7 on elsewhere"},
		"alive on this host":      {elsewhere + own, 0, "process 7 on elsewhere"},
		"alive here, but quiet":   {elsewhere + own, 6 * time.Minute, ""},
		"process is gone":         {elsewhere + deadProcess(t), 0, ""},
		"number is another's now": {elsewhere + strings.Join(append(fields[:3:3], "1"), " "), 0, ""},
		"other name space":        {elsewhere + strings.Join([]string{fields[0], "pid:[1]", "999999999", "1"}, " "), 0, "process 7 on elsewhere"},
		"other start of the host": {elsewhere + strings.Join([]string{"0", fields[1], "999999999", "1"}, " "), 0, "process 7 on elsewhere"},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.write("a", random(100))
			key := w.putLease(test.content, test.age)
			r, err := w.backup(impatient)
			if test.says == "" {
				if err != nil {
					t.Fatal(err)
				}
				w.checkBucket(r.Backup)
				return
			}
			if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "file-storage: ") || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v", err)
			}
			if keys := w.keys(); !slices.Equal(keys, []string{key}) {
				t.Errorf("left %q", keys)
			}
		})
	}
}

// Another storage's upload is no reason to wait.
func TestLeasesOfOtherStorages(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"file-storage-2", "file", "auth-db-backup"} {
		w.put(name+"_2026-01-01T01:00:00.000Z/"+leasePrefix+"X", []byte(elsewhere+otherBoot))
	}
	w.mustBackup(impatient)
	if n := len(w.keys()); n != 4 {
		t.Errorf("%q", w.keys())
	}
}

// While a run is under way, another one is told who is at it, and changes nothing.
func TestSecondRunIsTold(t *testing.T) {
	w := newWorld(t)
	w.write("a", random(100))
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	r := w.mustBackup(func(o *Options) {
		o.Planned = func(int, int64) {
			before := w.keys()
			_, err := w.backup(impatient)
			want := fmt.Sprintf("file-storage: process %d on %s since 2026-01-01T02:10:00Z", os.Getpid(), host)
			if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
			if after := w.keys(); !slices.Equal(before, after) || len(before) != 1 {
				t.Errorf("%q became %q", before, after)
			}
		}
	})
	w.checkBucket(r.Backup)
}

// A backup that came though it could not have, is not written over, nor followed
// by an older one.
func TestBackupCameMeanwhile(t *testing.T) {
	for _, other := range []string{"file-storage_2026-01-01T09:00:00.000Z", "file-storage_2026-01-01T02:10:00.000Z"} { // newer; of the same name
		w := newWorld(t)
		w.write("a", random(100))
		_, err := w.backup(func(o *Options) {
			o.Planned = func(int, int64) { w.put(other+"/backup-info", nil) }
		})
		if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), other) || !slices.Equal(w.committed(), []string{other}) || len(w.get(other+"/backup-info")) != 0 {
			t.Errorf("%v; %q", err, w.keys())
		}
	}
}

// held is a backup that holds the lease, which was last renewed some time ago.
func (w *world) held(store objstore.Store, every, ago time.Duration) (*backup, context.Context) {
	w.t.Helper()
	name, err := backupname.New("file-storage", w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	b := &backup{store: w.store, name: name, lease: newLease(w.store, name, shard.Shard{}, w.now)}
	if err = b.lease.Beat(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	b.began = b.lease.written
	b.lease.Seen(time.Now().Add(-ago))
	b.lease.store = store
	return b, b.lease.Keep(w.t.Context(), every)
}

func TestLeaseIsRenewed(t *testing.T) {
	w := newWorld(t)
	b, held := w.held(w.store, time.Millisecond, 3*time.Minute)
	file := filepath.Join(w.bucket, b.lease.key)
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(file, old, old); err != nil {
		t.Fatal(err)
	}
	for renewed := false; !renewed; time.Sleep(time.Millisecond) {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		renewed = info.ModTime().After(old.Add(time.Minute))
	}
	if err := b.finish(held, held.Err()); err != nil || len(w.keys()) != 0 {
		t.Errorf("%v, %q", err, w.keys())
	}
}

// A run that could not show for minutes ends, for others may have begun: be it
// that the bucket was away, or that the host slept and all is well again.
func TestLeaseIsLost(t *testing.T) {
	w := newWorld(t)
	for what, store := range map[string]objstore.Store{
		"bucket away": &guardedStore{w.store, func(change, _ string) error {
			if change == "put" {
				return errBucket
			}
			return nil
		}},
		"slept": w.store,
	} {
		b, held := w.held(store, 300*time.Millisecond, leaseLost+time.Second)
		select {
		case <-held.Done():
		case <-time.After(10 * time.Second):
			t.Errorf("%s: the run goes on", what)
		}
		if err := b.finish(held, held.Err()); !errors.Is(err, heartbeat.ErrLost) || errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
		if len(w.keys()) != 0 {
			t.Errorf("%s: left %q", what, w.keys())
		}
	}
}

// Nor does it upload the list, when that is all that is left to do.
func TestNoListOfALostRun(t *testing.T) {
	w := newWorld(t)
	for _, ago := range []time.Duration{leaseLost + time.Second, -time.Minute} { // slept; the clock was set back
		b, held := w.held(w.store, time.Hour, ago)
		if err := b.publish(held, nil, nil); !errors.Is(err, heartbeat.ErrLost) || len(w.committed()) != 0 {
			t.Errorf("%v, %q", err, w.keys())
		}
		if err := b.finish(held, nil); err != nil {
			t.Error(err)
		}
	}
}

// deniedStore lets nobody delete.
func deniedStore(store objstore.Store) objstore.Store {
	return &guardedStore{store, func(change, key string) error {
		if change == "delete" || change == "abort uploads" {
			return fmt.Errorf("%s %s: %w", change, key, objstore.ErrDenied)
		}
		return nil
	}}
}

// A bucket that lets nothing be deleted takes backups all the same: finished and
// failed ones, and those that go on.
func TestBucketForbidsDeleting(t *testing.T) {
	w := newWorld(t)
	total := writeTwoPackages(w)
	store := w.store
	w.store = deniedStore(store)
	first := w.mustBackup(impatient)
	w.stopped(impatient)
	w.touch("a")
	second := w.mustBackup(impatient)
	third := w.mustBackup(impatient)
	if second.Resumed != 2 || second.New != 3 {
		t.Errorf("%+v", second)
	}
	for _, r := range []*Report{second, third} {
		if len(w.check(r.Backup, envelope.NewOpener(nil), false)) != total {
			t.Errorf("%s is not whole", r.Backup)
		}
	}
	if want := []string{first.Backup, second.Backup, third.Backup}; !slices.Equal(w.committed(), want) {
		t.Errorf("%q, want %q", w.committed(), want)
	}
	leases := 0
	for _, key := range w.keys() {
		if strings.Contains(key, "/"+leasePrefix) {
			leases++
			if content := w.get(key); len(content) > 0 {
				t.Errorf("%s: %q", key, content)
			}
		}
	}
	if leases != 4 {
		t.Errorf("%d leases", leases)
	}
	// Who may delete, tidies up.
	w.store = store
	w.mustBackup(impatient)
	for _, key := range w.keys() {
		if strings.Contains(key, "/"+leasePrefix) || strings.Contains(key, packageListSuffix) {
			t.Errorf("left %s", key)
		}
	}
}

// skewedStore has a clock of its own.
type skewedStore struct {
	objstore.Store
	ahead time.Duration
}

func (s *skewedStore) Head(ctx context.Context, key string) (objstore.Object, error) {
	o, err := s.Store.Head(ctx, key)
	o.Modified = o.Modified.Add(s.ahead)
	return o, err
}

func TestClockOfTheBucket(t *testing.T) {
	for ahead, wrong := range map[time.Duration]bool{2 * time.Hour: true, -2 * time.Hour: true, 50 * time.Minute: false, -50 * time.Minute: false} {
		w := newWorld(t)
		w.write("a", random(100))
		_, err := w.backup(func(o *Options) { o.Store = &skewedStore{w.store, ahead} })
		if errors.Is(err, ErrClock) != wrong || !wrong && err != nil {
			t.Errorf("%s: %v", ahead, err)
		}
		if wrong && (len(w.keys()) != 0 || !strings.Contains(err.Error(), "set the clock")) {
			t.Errorf("%s: %v; left %q", ahead, err, w.keys())
		}
	}
}
