package service_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	_ "time/tzdata" // the test does not depend on what the host has

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/chipster/firn/archiver"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/keys"
	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/internal/schedule"
	"github.com/chipster/firn/service"
	"github.com/chipster/firn/uploader"
)

const (
	storageName = "file-storage"
	firstNight  = 18 // of October 2026
	lastNight   = 31
	rebootDay   = 20
	darkDay     = 22 // no network, until the next morning
	changeDay   = 25 // summer time ends at 04:00, and 03:30 comes twice
	fullDay     = 27 // the bucket is, for some hours
)

// fortnight is a storage with its service, a bucket, and an archive with its
// service, for two weeks. The work is the real one, the time is virtual.
type fortnight struct {
	*testing.T
	zone          *time.Location
	storage, root string
	bucket        *faultStore
	key           *openpgp.Entity
	hosts         map[string]*host // by the name of their job

	mu    sync.Mutex
	stood map[string]map[string]string // backup -> what the storage held
}

// TestFortnight is two weeks in October with what happens in them: a reboot in
// the middle of a run, a day without network, the change of the clock, and a
// full bucket. Each day at noon, state, monitoring, numbers and page have to
// tell what is; in the end, each version has to be what the storage held.
func TestFortnight(t *testing.T) {
	f := newFortnight(t)
	synctest.Test(t, func(t *testing.T) {
		f.T = t
		f.sleepTo(17, 12, 0)
		f.begin()
		for day := firstNight; day <= lastNight; day++ {
			f.night(day)
			f.sleepTo(day, 10, 0)
			f.work(day)
			f.sleepTo(day, 12, 0)
			f.checkDay(day)
		}
		for _, h := range f.hosts {
			h.stop()
		}
	})
	f.T = t
	f.checkArchive()
}

func newFortnight(t *testing.T) *fortnight {
	zone, err := time.LoadLocation("Europe/Helsinki")
	must(t, err)
	dir, err := objstore.OpenDir(t.TempDir())
	must(t, err)
	return &fortnight{
		T: t, zone: zone, storage: t.TempDir(), root: t.TempDir(),
		bucket: &faultStore{Store: dir, modified: map[string]time.Time{}},
		hosts:  map[string]*host{}, stood: map[string]map[string]string{},
	}
}

// begin makes a key and the first files, and starts both services.
func (f *fortnight) begin() {
	var err error
	f.key, err = keys.Generate(keys.Options{Name: "fortnight", Curve25519: true})
	must(f, err)
	for i := range 20 {
		f.write(fmt.Sprintf("sessions/%02d/file", i), 1000*i, 17)
	}
	zone := f.zone
	f.start(service.Job{Name: storageName, Kind: service.Files, Title: "files of file-storage", Scheduled: true, Run: f.upload, Seen: f.seen},
		schedule.Schedule{Hour: 3, Minute: 30, Interval: 24 * time.Hour, Location: zone})
	f.start(service.Job{Name: "archive", Kind: service.Archive, Title: "the archive", Scheduled: true, Run: f.archive},
		schedule.Schedule{Hour: 5, Minute: 10, Interval: 24 * time.Hour, Location: zone})
	synctest.Wait()
}

// night is what happens until the morning.
func (f *fortnight) night(day int) {
	switch day {
	case rebootDay: // when all but the list has arrived
		f.bucket.set(func(b *faultStore) { b.hold = "/backup-info" })
		f.sleepTo(day, 3, 40)
		if run := f.hosts[storageName].state().Running; run == nil {
			f.Errorf("day %d: nothing to interrupt", day)
		}
		f.hosts[storageName].stop()
		f.bucket.set(func(b *faultStore) { b.hold = "" })
		f.sleepTo(day, 3, 50)
		f.hosts[storageName].boot()
	case darkDay:
		f.bucket.set(func(b *faultStore) { b.down = true })
	case darkDay + 1:
		f.sleepTo(day, 5, 0)
		f.hosts[storageName].check(day, "bad", "no backup for 2 days 1 hour: the newest is of 2026-10-21 03:30; the last run failed: ", "nobody can tell what is archived: ")
		f.sleepTo(day, 6, 0)
		f.bucket.set(func(b *faultStore) { b.down = false })
	case fullDay:
		f.sleepTo(day, 3, 0)
		f.bucket.set(func(b *faultStore) { b.full = true })
		f.sleepTo(day, 7, 30)
		f.bucket.set(func(b *faultStore) { b.full = false })
	}
}

// work is that of the users of the storage: new files, and one less.
func (f *fortnight) work(day int) {
	for i := range 3 {
		f.write(fmt.Sprintf("sessions/%02d/of-day-%d", i, day), 5000*i+day, day)
	}
	must(f, os.Remove(filepath.Join(f.storage, fmt.Sprintf("sessions/%02d/file", day-firstNight))))
}

func (f *fortnight) write(name string, size, day int) {
	file := filepath.Join(f.storage, name)
	must(f, os.MkdirAll(filepath.Dir(file), 0o755))
	must(f, os.WriteFile(file, bytes.Repeat([]byte{byte(day), byte(size)}, size/2), 0o640))
	must(f, os.Chtimes(file, time.Time{}, time.Now()))
}

// read returns what a folder holds, by path.
func (f *fortnight) read(dir string) map[string]string {
	all := map[string]string{}
	must(f, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		all[name] = string(data)
		return err
	}))
	return all
}

// sleepTo sleeps until a time of day in October.
func (f *fortnight) sleepTo(day, hour, minute int) {
	at := time.Date(2026, 10, day, hour, minute, 0, 0, f.zone)
	if at.Before(time.Now()) {
		f.Fatalf("%s is past", at)
	}
	time.Sleep(time.Until(at))
	synctest.Wait()
}

func (f *fortnight) upload(ctx context.Context, run *runs.Active) error {
	report, err := uploader.Run(ctx, uploader.Options{
		Store: f.bucket, Storage: f.storage, Name: storageName, Workers: 2,
		Recipients: envelope.Recipients{Keys: openpgp.EntityList{f.key}}, Logger: run.Logger(slog.New(slog.DiscardHandler)),
		Planned:  func(files int, bytes int64) { run.Plan(int64(files), bytes) },
		Progress: func(files int, bytes int64) { run.Add(int64(files), bytes) },
	})
	if report != nil {
		run.Made(report.Backup)
		run.CountFiles("new", int64(report.New))
		run.CountFiles("resumed", int64(report.Resumed))
		f.mu.Lock()
		defer f.mu.Unlock()
		f.stood[report.Backup] = f.read(f.storage)
	}
	return err
}

func (f *fortnight) seen(ctx context.Context) (service.Seen, error) {
	in, err := uploader.Look(ctx, f.bucket, storageName)
	return service.Seen{Backup: in.Newest, Archived: in.Archived, Waiting: in.Waiting}, err
}

func (f *fortnight) archive(ctx context.Context, run *runs.Active) error {
	report, err := archiver.Run(ctx, archiver.Options{
		Store: f.bucket, Root: f.root, Location: f.zone, Logger: run.Logger(slog.New(slog.DiscardHandler)),
	})
	if report != nil {
		for _, b := range report.Backups {
			run.Made(b.Name)
			run.CountFiles("new", int64(b.New))
		}
	}
	return err
}

// checkDay looks at both services at noon, as an administrator would.
func (f *fortnight) checkDay(day int) {
	files, archive := f.hosts[storageName], f.hosts["archive"]
	night := map[string]int{"schedule succeeded": 1}
	level := "good"
	var problems []string
	switch day {
	case rebootDay:
		night = map[string]int{"schedule interrupted": 1, "missed succeeded": 1}
		if last := files.state().Last; last.Files["resumed"] == 0 || last.Files["new"] != 0 {
			f.Errorf("day %d: the run was not gone on with: %v", day, last.Files)
		}
	case darkDay:
		night, level = map[string]int{"schedule failed": 1, "retry failed": 11}, "warn"
		if state := files.state(); state.Retry.IsZero() || state.SeenError == "" || !strings.Contains(state.Last.Error, errNetwork.Error()) {
			f.Errorf("day %d: %+v", day, state)
		}
	case darkDay + 1:
		night = map[string]int{"schedule failed": 1, "retry failed": 20, "retry succeeded": 1}
		level, problems = "bad", []string{"no backup was archived for 2 days 8 hours: the newest archived one is of 2026-10-21 03:30, and 1 wait"}
	case fullDay:
		night = map[string]int{"schedule failed": 1, "retry failed": 6, "retry succeeded": 1}
	}
	if got := files.ran(); !maps.Equal(got, night) {
		f.Errorf("day %d: the storage's runs were %v, want %v", day, got, night)
	}
	files.check(day, level, problems...)
	switch night := archive.ran(); {
	case day == darkDay:
		archive.check(day, "warn")
	default:
		archive.check(day, "good")
		if n := night["schedule succeeded"] + night["retry succeeded"]; n != 1 {
			f.Errorf("day %d: the archive's runs were %v", day, night)
		}
	}
}

// checkArchive restores each version, and compares it with what the storage held
// when its backup was made.
func (f *fortnight) checkArchive() {
	if want := lastNight - firstNight + 1 - 1; len(f.stood) != want {
		f.Errorf("%d backups were made, want one of each night but one: %q", len(f.stood), slices.Sorted(maps.Keys(f.stood)))
	}
	versions := restoreAll(f.T, f.root, envelope.NewOpener(openpgp.EntityList{f.key}))
	if got, want := slices.Sorted(maps.Keys(versions)), slices.Sorted(maps.Keys(f.stood)); !slices.Equal(got, want) {
		f.Errorf("the archive holds %q, want %q", got, want)
	}
	for name, dir := range versions {
		got, want := f.read(dir), f.stood[name]
		if len(want) < 20 || !maps.Equal(got, want) {
			f.Errorf("%s has %d files, the storage had %d, or they differ", name, len(got), len(want))
		}
	}
}

func resultOf(err error) runs.Result {
	switch {
	case err == nil:
		return runs.Succeeded
	case errors.Is(err, uploader.ErrIncomplete), errors.Is(err, archiver.ErrIncomplete):
		return runs.Incomplete
	}
	return runs.Failed
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
