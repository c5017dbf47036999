// Package schedule tells at which instants something is due that runs at a time
// of the local day, every so many hours.
//
// It promises that each time that a clock on the wall shows is due once,
// whatever daylight saving does: one that is skipped in spring is due when the
// clock has gone forward, one that comes twice in autumn only the first time.
// Both are one rule: a time is due at the first instant at which the clock
// shows it, or a later one. Two times that fall onto one instant are due once.
// It is pure computation and keeps no time itself.
package schedule

import "time"

// Schedule is a time of day and an interval, counted on the wall clock: every
// 24 hours at 01:10 is each day at 01:10. An interval of 6 hours is due at
// 01:10, 07:10, 13:10 and 19:10; one that is no divisor or multiple of a day
// goes on across days. It counts from a Monday, so that 168 hours are each
// Monday.
type Schedule struct {
	Hour, Minute int
	Interval     time.Duration  // whole hours, at least one
	Location     *time.Location // nil: time.Local
}

// Next is the first instant due after t.
func (s Schedule) Next(t time.Time) time.Time {
	_, next := s.around(t)
	return next
}

// Last is the newest instant due that is not after t.
func (s Schedule) Last(t time.Time) time.Time {
	last, _ := s.around(t)
	return last
}

// monday is 1970-01-05, in seconds of a wall clock that began with 1970.
const monday = 4 * 24 * 3600

// widest is more than any clock on any wall differs from UTC, in seconds.
const widest = 48 * 3600

// around returns the instants due on both sides of t. It begins where the wall
// clock cannot have been at t any more, and walks: later times on the wall are
// never due earlier, so the first one behind t is the next.
func (s Schedule) around(t time.Time) (last, next time.Time) {
	step := int64(max(s.Interval, time.Hour) / time.Second)
	first := int64(monday + s.Hour*3600 + s.Minute*60)
	wall := first + floorDiv(t.Unix()-widest-first, step)*step
	next = s.due(wall)
	for !next.After(t) {
		last = next
		wall += step
		next = s.due(wall)
	}
	return last, next
}

// due is the first instant at which the wall clock shows that many seconds since
// 1970 began on it, or more.
func (s Schedule) due(wall int64) time.Time {
	location := s.Location
	if location == nil {
		location = time.Local
	}
	for t := time.Unix(wall-widest, 0).In(location); ; {
		start, end := t.ZoneBounds()
		_, offset := t.Zone()
		shown := time.Unix(wall-int64(offset), 0).In(location)
		if shown.Before(start) {
			shown = start // skipped: the clock has just gone forward
		}
		if end.IsZero() || shown.Before(end) {
			return shown
		}
		t = end
	}
}

// floorDiv divides, and rounds down also below zero.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
