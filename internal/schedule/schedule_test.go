package schedule

import (
	"fmt"
	"testing"
	"time"
	_ "time/tzdata" // the tests do not depend on what the host has
)

func load(t testing.TB, name string) *time.Location {
	t.Helper()
	location, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return location
}

// The instants due in a week with a change of the clock, as a person counts them.
func TestNext(t *testing.T) {
	for _, test := range []struct {
		name, zone   string
		hour, minute int
		hours        int
		from         string
		want         []string
	}{
		{"every day", "Europe/Helsinki", 1, 10, 24, "2026-11-20T01:10:00+02:00",
			[]string{"2026-11-21T01:10:00+02:00", "2026-11-22T01:10:00+02:00"}},
		{"four times a day", "UTC", 1, 10, 6, "2026-11-20T00:00:00Z",
			[]string{"2026-11-20T01:10:00Z", "2026-11-20T07:10:00Z", "2026-11-20T13:10:00Z", "2026-11-20T19:10:00Z", "2026-11-21T01:10:00Z"}},
		{"twice in autumn: only the first", "Europe/Helsinki", 3, 30, 24, "2026-10-24T12:00:00+03:00",
			[]string{"2026-10-25T03:30:00+03:00", "2026-10-26T03:30:00+02:00"}},
		{"each hour in autumn: 25 hours, 24 times", "Europe/Helsinki", 0, 30, 1, "2026-10-25T02:00:00+03:00",
			[]string{"2026-10-25T02:30:00+03:00", "2026-10-25T03:30:00+03:00", "2026-10-25T04:30:00+02:00"}},
		{"skipped in spring: when the clock has gone forward", "Europe/Helsinki", 3, 30, 24, "2026-03-28T12:00:00+02:00",
			[]string{"2026-03-29T04:00:00+03:00", "2026-03-30T03:30:00+03:00"}},
		{"each hour in spring: 03:00 and 04:00 are one", "Europe/Helsinki", 0, 0, 1, "2026-03-29T02:30:00+02:00",
			[]string{"2026-03-29T04:00:00+03:00", "2026-03-29T05:00:00+03:00"}},
		{"half an hour in spring", "Australia/Lord_Howe", 2, 15, 24, "2026-10-03T12:00:00+10:30",
			[]string{"2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"}},
		{"a day that never was", "Pacific/Apia", 1, 10, 24, "2011-12-29T00:00:00-10:00",
			[]string{"2011-12-29T01:10:00-10:00", "2011-12-31T00:00:00+14:00", "2011-12-31T01:10:00+14:00"}},
		{"each week is each Monday", "Europe/Helsinki", 1, 10, 168, "2026-10-19T01:09:59+03:00",
			[]string{"2026-10-19T01:10:00+03:00", "2026-10-26T01:10:00+02:00"}},
		{"36 hours go on across days", "UTC", 1, 10, 36, "1970-01-05T01:10:00Z",
			[]string{"1970-01-06T13:10:00Z", "1970-01-08T01:10:00Z"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := Schedule{test.hour, test.minute, time.Duration(test.hours) * time.Hour, load(t, test.zone)}
			at, err := time.Parse(time.RFC3339, test.from)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range test.want {
				at = s.Next(at)
				if got := at.Format(time.RFC3339); got != want {
					t.Fatalf("due at %s, want %s", got, want)
				}
			}
		})
	}
}

// Over years of many zones: what is due is what somebody sees who looks at the
// wall all the time, and Next and Last are of one mind.
func TestNextAndLastAgree(t *testing.T) {
	for _, zone := range []string{"UTC", "Europe/Helsinki", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia"} {
		for _, hours := range []int{1, 5, 6, 12, 24, 36, 48, 168} {
			t.Run(fmt.Sprint(zone, " ", hours), func(t *testing.T) {
				t.Parallel()
				s := Schedule{2, 15, time.Duration(hours) * time.Hour, load(t, zone)}
				for _, year := range []int{2011, 2026} {
					checkYear(t, s, year)
				}
			})
		}
	}
}

func checkYear(t *testing.T, s Schedule, year int) {
	at := s.Last(time.Date(year, 1, 1, 0, 0, 0, 0, s.Location))
	for _, want := range watch(s, year) {
		next := s.Next(at)
		if !next.Equal(want) {
			t.Fatalf("after %s comes %s, want %s", at, next, want)
		}
		middle := at.Add(next.Sub(at) / 2)
		if s.Last(next) != next || s.Last(next.Add(-1)) != at || s.Last(middle) != at || s.Next(next.Add(-1)) != next || s.Next(middle) != next {
			t.Fatalf("of two minds between %s and %s", at, next)
		}
		at = next
	}
}

// watch looks at the wall every quarter of an hour, and a minute later, when
// Newfoundland used to change its clocks, and notes when it sees a time of the
// schedule, or one behind it, for the first time.
func watch(s Schedule, year int) (due []time.Time) {
	wall := func(t time.Time) time.Time {
		t = t.In(s.Location)
		return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), 0, 0, time.UTC)
	}
	now := time.Date(year, 1, 1, 0, 0, 0, 0, s.Location)
	slot := time.Date(1970, 1, 5, s.Hour, s.Minute, 0, 0, time.UTC)
	for !slot.After(wall(now)) {
		slot = slot.Add(s.Interval)
	}
	for step := 14 * time.Minute; now.Year() == year; now = now.Add(step) {
		step = 15*time.Minute - step
		seen := false
		for ; !slot.After(wall(now)); slot = slot.Add(s.Interval) {
			seen = true
		}
		if seen {
			due = append(due, now)
		}
	}
	return due
}

// A schedule that nobody checked does not go round for ever.
func TestNoInterval(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	if next := (Schedule{Location: time.UTC}).Next(now); !next.Equal(now.Add(time.Hour)) {
		t.Errorf("next is %s", next)
	}
	if last := (Schedule{Hour: 1, Interval: 24 * time.Hour}).Last(now); last.After(now) || last.Location() != time.Local {
		t.Errorf("last is %s", last)
	}
}
