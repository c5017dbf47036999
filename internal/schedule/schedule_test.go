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

// Over years of many zones: Next and Last are of one mind, nothing is due
// between them, and each time on the wall is due exactly once.
func TestNextAndLastAgree(t *testing.T) {
	for _, zone := range []string{"UTC", "Europe/Helsinki", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia"} {
		for _, hours := range []int{1, 5, 6, 12, 24, 36, 48, 168} {
			t.Run(fmt.Sprint(zone, " ", hours), func(t *testing.T) {
				t.Parallel()
				s := Schedule{2, 15, time.Duration(hours) * time.Hour, load(t, zone)}
				checkYears(t, s, 2011, 2012)
				checkYears(t, s, 2026, 2026)
			})
		}
	}
}

func checkYears(t *testing.T, s Schedule, from, to int) {
	at := s.Next(time.Date(from, 1, 1, 0, 0, 0, 0, s.Location))
	end := time.Date(to+1, 1, 1, 0, 0, 0, 0, s.Location)
	for at.Before(end) {
		next := s.Next(at)
		if !next.After(at) {
			t.Fatalf("%s follows %s", next, at)
		}
		if s.Last(at) != at || s.Last(next.Add(-1)) != at || s.Next(next.Add(-1)) != next || s.Next(at.Add(next.Sub(at)/2)) != next {
			t.Fatalf("of two minds between %s and %s", at, next)
		}
		checkGap(t, s, at, next)
		at = next
	}
}

// checkGap compares two instants due, one after the other, with the clock on the
// wall: between them the wall shows an interval, but for what was skipped.
func checkGap(t *testing.T, s Schedule, at, next time.Time) {
	_, before := at.Zone()
	_, after := next.Zone()
	shown := next.Sub(at) + time.Duration(after-before)*time.Second
	if before == after && shown > s.Interval {
		t.Fatalf("%s after %s: the wall showed %s", next, at, shown)
	}
	if shown > s.Interval+26*time.Hour || (before == after && shown != s.Interval && at.Minute() == 15 && next.Minute() == 15) {
		t.Fatalf("%s after %s: the wall showed %s", next, at, shown)
	}
	if next.Minute() != 15 || next.Second() != 0 {
		if start, _ := next.ZoneBounds(); !start.Equal(next) {
			t.Fatalf("%s is no time of the schedule, and no change of the clock", next)
		}
	}
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
