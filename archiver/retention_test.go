package archiver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/objstore"
)

func named(t testing.TB, storage string, at ...time.Time) (names []backupname.Name) {
	t.Helper()
	for _, a := range at {
		n, err := backupname.New(storage, a)
		must(t, err)
		names = append(names, n)
	}
	return names
}

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	must(t, err)
	return loc
}

func TestPlan(t *testing.T) {
	helsinki := zone(t, "Europe/Helsinki")
	at := func(s string) time.Time {
		at, err := time.ParseInLocation("2006-01-02 15:04", s, helsinki)
		must(t, err)
		return at
	}
	for what, c := range map[string]struct {
		storage, now string
		r            Retention
		keep, remove string
	}{
		"files by count":                 {"fs", "2024-06-10 12:00", Retention{KeepLast: 2, KeepDays: 1}, "2024-06-01 01:00,2024-06-02 01:00", "2024-05-01 01:00,2024-05-30 01:00"},
		"files by age":                   {"fs", "2024-06-10 12:00", Retention{KeepLast: 1, KeepDays: 10}, "2024-05-31 12:01,2024-06-02 01:00", "2024-05-31 12:00"},
		"one":                            {"fs", "2034-06-10 12:00", Retention{KeepLast: 1, KeepDays: 1}, "2024-05-31 12:01", ""},
		"first of a day":                 {"a-db-backup", "2024-06-30 12:00", Retention{}, "2024-06-01 01:10,2024-06-02 00:00,2024-06-30 01:00", "2024-06-01 14:00,2024-06-01 23:59"},
		"all of a week":                  {"a-db-backup", "2024-06-30 12:00", Retention{}, "2024-06-23 01:10,2024-06-23 12:01,2024-06-29 01:00,2024-06-29 02:00", "2024-06-23 12:00"},
		"last day of the daily ones":     {"a-db-backup", "2024-06-30 23:59", Retention{Daily: 10}, "2024-06-01 10:00,2024-06-20 00:00", "2024-06-19 23:00"},
		"first of a month":               {"a-db-backup", "2024-12-31 12:00", Retention{}, "2024-01-31 23:59,2024-02-01 00:00,2024-03-15 12:00,2024-12-31 00:00", "2024-02-02 01:00,2024-03-15 13:00,2024-03-31 23:59"},
		"last month of the monthly ones": {"a-db-backup", "2024-03-31 12:00", Retention{Monthly: 1}, "2024-02-01 00:00,2024-03-30 00:00", "2023-11-05 01:00,2023-11-30 00:00"},
		"months of 31 and 28 days":       {"a-db-backup", "2023-03-31 12:00", Retention{Daily: 3, Monthly: 1}, "2023-02-01 00:00,2023-03-01 00:00,2023-03-31 00:00", "2023-01-31 23:00,2023-02-28 00:00,2023-03-02 00:00"},
		// Clocks go from 3 to 4 on March 31, and from 4 to 3 on October 27.
		"a day of 23 hours": {"a-db-backup", "2024-04-15 00:30", Retention{Daily: 15}, "2024-03-15 01:00,2024-03-31 00:10,2024-04-01 00:30,2024-04-14 00:00", "2024-03-30 23:50,2024-03-31 23:50"},
		"a day of 25 hours": {"a-db-backup", "2024-11-10 00:30", Retention{Daily: 14}, "2024-10-01 01:00,2024-10-27 00:10,2024-11-09 00:10", "2024-10-26 23:50,2024-10-27 23:50"},
	} {
		t.Run(what, func(t *testing.T) {
			must(t, c.r.applyDefaults())
			var times []time.Time
			for s := range strings.SplitSeq(c.keep+","+c.remove, ",") {
				if s != "" {
					times = append(times, at(s))
				}
			}
			slices.SortFunc(times, time.Time.Compare)
			var got []string
			for _, n := range plan(named(t, c.storage, times...), at(c.now), helsinki, c.r) {
				got = append(got, n.Time().In(helsinki).Format("2006-01-02 15:04"))
			}
			if g := strings.Join(got, ","); g != c.remove {
				t.Errorf("removes %s\nnot     %s", g, c.remove)
			}
		})
	}
}

// Whatever there is: the newest stays, and so does all that is young; of files
// an unbroken row up to the newest stays; and what a plan leaves it leaves
// again.
func TestPlanHolds(t *testing.T) {
	zones := []*time.Location{time.UTC, zone(t, "Europe/Helsinki"), zone(t, "Australia/Lord_Howe"), zone(t, "America/St_Johns")}
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 2))
		loc := zones[r.IntN(len(zones))]
		storage := []string{"fs", "auth-db-backup"}[seed%2]
		policy := Retention{KeepLast: r.IntN(5), KeepDays: r.IntN(20), Daily: []int{0, 3, 20}[r.IntN(3)], Monthly: r.IntN(4)}
		must(t, policy.applyDefaults())
		var times []time.Time
		at := start
		for range r.IntN(200) {
			at = at.Add(time.Duration(1+r.IntN(60*24*3)) * time.Minute)
			times = append(times, at)
		}
		now := at.Add(time.Duration(r.IntN(60*24*8)) * time.Minute)
		versions := named(t, storage, times...)
		remove := plan(versions, now, loc, policy)
		keep := slices.DeleteFunc(slices.Clone(versions), func(n backupname.Name) bool { return slices.Contains(remove, n) })
		if len(versions) > 0 && (len(keep) == 0 || keep[len(keep)-1] != versions[len(versions)-1]) {
			t.Fatalf("seed %d: the newest goes", seed)
		}
		young := week
		if seed%2 == 0 {
			young = time.Duration(policy.KeepDays) * day
			if !slices.Equal(keep, versions[len(versions)-len(keep):]) || len(remove) > 0 && len(keep) < policy.KeepLast {
				t.Fatalf("seed %d: of %v remains %v", seed, versions, keep)
			}
		}
		for _, n := range remove {
			if now.Sub(n.Time()) < young {
				t.Fatalf("seed %d: %s goes, which is young", seed, n)
			}
		}
		if seed%2 == 1 {
			checkDatabasePlan(t, versions, keep, now.In(loc), policy)
		}
		if again := plan(keep, now, loc, policy); len(again) != 0 {
			t.Fatalf("seed %d: %v would go the next time", seed, again)
		}
	}
}

// checkDatabasePlan holds the rule in other words: for each day and month in
// the window that had a dump, its first one is kept.
func checkDatabasePlan(t *testing.T, versions, keep []backupname.Name, now time.Time, r Retention) {
	t.Helper()
	for _, rule := range []struct {
		format string
		years  func(i int) time.Time
		n      int
	}{
		{"2006-01-02", func(i int) time.Time {
			return time.Date(now.Year(), now.Month(), now.Day()-i, 12, 0, 0, 0, now.Location())
		}, r.Daily},
		{"2006-01", func(i int) time.Time {
			return time.Date(now.Year(), now.Month()-time.Month(i), 1, 12, 0, 0, 0, now.Location())
		}, r.Monthly},
	} {
		for i := range rule.n + 1 {
			period := rule.years(i).Format(rule.format)
			in := func(n backupname.Name) bool { return n.Time().In(now.Location()).Format(rule.format) == period }
			if first := slices.IndexFunc(versions, in); first >= 0 && !slices.Contains(keep, versions[first]) {
				t.Fatalf("the first of %s, %s, goes", period, versions[first])
			}
		}
	}
}

func TestBadRetention(t *testing.T) {
	w := newWorld(t)
	for _, r := range []Retention{{KeepLast: -1}, {KeepDays: -1}, {Daily: 2}, {Monthly: -1}, {KeepDays: 1 << 40}} {
		o := w.options()
		o.Retention = r
		if _, err := Run(t.Context(), o); err == nil {
			t.Errorf("%+v is taken", r)
		}
	}
}

// While the clock is in doubt nothing is deleted, here or in the bucket.
func TestClockGuard(t *testing.T) {
	for what, c := range map[string]struct {
		age     time.Duration
		deletes bool
	}{"future": {-time.Second, false}, "now": {0, true}, "a week": {week, true}, "old": {week + time.Second, false}} {
		w := newWorld(t)
		u := &nightly{w, "fs", map[string]string{"a": "one"}}
		for range 3 {
			w.now = w.now.Add(2 * day)
			u.backup(t)
		}
		o := w.options()
		o.Now = func() time.Time { return w.now.Add(c.age) }
		o.Retention = Retention{KeepLast: 1, KeepDays: 1}
		report, err := Run(t.Context(), o)
		must(t, err)
		if len(report.Backups) != 3 || len(report.Pruned)+len(report.Cleaned) > 0 != c.deletes || len(report.Skipped) > 0 == c.deletes {
			t.Errorf("%s: %+v", what, report)
		}
	}
}

// A dump that someone made by hand survives its first week.
func TestDatabases(t *testing.T) {
	w := newWorld(t)
	for range 40 {
		for range 2 {
			w.now = w.now.Add(12 * time.Hour)
			n := w.nameAt(t, "auth-db-backup")
			w.upload(t, n, []sealed{w.seal(n, n.String()+".sql", "dump")})
		}
	}
	report := w.run(t)
	if len(report.Backups) != 80 || len(report.Cleaned) != 79 {
		t.Fatalf("%d archived, %d cleaned", len(report.Backups), len(report.Cleaned))
	}
	left := w.versions(t)["auth-db-backup"]
	if len(left) != 80-len(report.Pruned) || len(left) < 40+6 || len(left) > 40+8 {
		t.Errorf("%d versions are left", len(left))
	}
	w.checkArchive(t)
}

// What failed uploads left goes when a later backup is complete and three days
// have passed.
func TestUnfinishedUploads(t *testing.T) {
	w := newWorld(t)
	name := func(age time.Duration) string { return named(t, "fs", start.Add(-age))[0].String() }
	old, recent, later := name(3*day+time.Hour), name(3*day-time.Hour), name(-time.Hour)
	for _, n := range []string{old, recent, later} {
		w.put(t, n+"/_small_files.tar", []byte("half"))
	}
	w.put(t, "something/else.tar", []byte("ours?"))
	w.put(t, "fs_no-instant/x.tar", []byte("ours?"))
	w.upload(t, w.nameAt(t, "fs"), nil)
	w.now = w.now.Add(time.Minute)
	o := w.options()
	aborting := &abortingStore{Store: w.store}
	o.Store = aborting
	report, err := Run(t.Context(), o)
	must(t, err)
	if len(report.Cleaned) != 1 || report.Cleaned[0] != (Removal{old, 4}) {
		t.Errorf("%+v", report.Cleaned)
	}
	if !slices.Equal(aborting.prefixes, []string{old + "/"}) {
		t.Errorf("parts that never became objects are dropped of %q, not of %s", aborting.prefixes, old)
	}
	for _, key := range []string{recent + "/_small_files.tar", later + "/_small_files.tar", "something/else.tar", "fs_no-instant/x.tar"} {
		if _, err := w.store.Head(t.Context(), key); err != nil {
			t.Error(err)
		}
	}
	if _, err := w.store.Head(t.Context(), old+"/_small_files.tar"); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// An upload that has taken long is not given up while no later one is complete.
func TestLongUpload(t *testing.T) {
	w := newWorld(t)
	w.upload(t, w.nameAt(t, "fs"), nil)
	w.now = w.now.Add(day)
	key := w.nameAt(t, "fs").String() + "/_small_files.tar"
	w.put(t, key, []byte("half"))
	w.now = w.now.Add(5 * day)
	w.run(t)
	if _, err := w.store.Head(t.Context(), key); err != nil {
		t.Error(err)
	}
}

// A bucket whose newest version lies in another archive is not cleaned.
func TestForeignArchive(t *testing.T) {
	w := newWorld(t)
	u := &nightly{w, "fs", map[string]string{"a": "one"}}
	u.backup(t)
	w.run(t)
	w.now = w.now.Add(time.Hour)
	n := u.backup(t)
	w.put(t, n.String()+"/archive_info", nil) // by another archiver
	before := sorted(tree(t, w.bucket))
	report := w.run(t)
	if len(report.Cleaned) != 0 || len(report.Skipped) != 1 || !slices.Equal(before, sorted(tree(t, w.bucket))) {
		t.Errorf("%+v", report)
	}
}

// An interrupted run may have left a list that the bucket does not have: it is
// uploaded as it is, and what it lacks is reported.
func TestLocalListIsTheTruth(t *testing.T) {
	w := newWorld(t)
	u := &nightly{w, "fs", map[string]string{"a": "one", "b": "two"}}
	n := u.backup(t)
	w.run(t)
	entries := readEntries(t, w.folder(n, "archive-info"))
	must(t, os.WriteFile(w.folder(n, "archive-info"), list(t, entries[0]), 0o644))
	must(t, os.Remove(filepath.Join(w.bucket, n.String(), "archive-info")))
	report, err := Run(t.Context(), w.options())
	if !errors.Is(err, ErrIncomplete) || fmt.Sprint(report.Backups[0].Missing.First) != "[b]" || report.Backups[0].Fetched != 0 {
		t.Errorf("%v, %+v", err, report.Backups)
	}
	if got := readEntries(t, filepath.Join(w.bucket, n.String(), "archive-info")); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}

// abortingStore tells which uploads were dropped.
type abortingStore struct {
	objstore.Store
	prefixes []string
}

func (s *abortingStore) AbortUploads(ctx context.Context, prefix string) (int, error) {
	s.prefixes = append(s.prefixes, prefix)
	return s.Store.AbortUploads(ctx, prefix)
}
