package archiver

import (
	"fmt"
	"time"

	"github.com/chipster/firn/internal/backupname"
)

// Retention says how long versions stay in the archive. Zero fields have their
// defaults.
type Retention struct {
	// Versions of files build on one another, so only the oldest can go. One
	// goes when it is neither among the last KeepLast (60) nor younger than
	// KeepDays (60).
	KeepLast, KeepDays int

	// Dumps of databases stand alone. The first of each local day stays for
	// Daily (90, at least 3) days, the first of each month for Monthly (24)
	// months, and everything for a week, so that a dump that someone made by
	// hand is not gone the next night.
	Daily, Monthly int
}

const minDaily = 3

func (r *Retention) applyDefaults() error {
	for _, f := range []struct {
		name     string
		n        *int
		def, min int
	}{
		{"last versions of files to keep", &r.KeepLast, 60, 1},
		{"days to keep files for", &r.KeepDays, 60, 1},
		{"days to keep a dump a day for", &r.Daily, 90, minDaily},
		{"months to keep a dump a month for", &r.Monthly, 24, 1},
	} {
		if *f.n == 0 {
			*f.n = f.def
		}
		if *f.n < f.min || *f.n > 1e5 {
			return fmt.Errorf("%d is no number of %s: at least %d", *f.n, f.name, f.min)
		}
	}
	return nil
}

const (
	day  = 24 * time.Hour
	week = 7 * day
)

// plan says which versions of one storage, given oldest first, may go. The
// newest never does.
func plan(versions []backupname.Name, now time.Time, loc *time.Location, r Retention) []backupname.Name {
	if len(versions) == 0 {
		return nil
	}
	if versions[0].IsDatabase() {
		return planDatabase(versions, now.In(loc), r)
	}
	n := 0
	for n < len(versions)-r.KeepLast && now.Sub(versions[n].Time()) >= time.Duration(r.KeepDays)*day {
		n++
	}
	return versions[:n]
}

// planDatabase counts days and months on the calendar of now's location: a day
// there may have 23 or 25 hours.
func planDatabase(versions []backupname.Name, now time.Time, r Retention) (remove []backupname.Name) {
	year, month, date := now.Date()
	dailyFrom := time.Date(year, month, date-r.Daily, 0, 0, 0, 0, now.Location())
	monthlyFrom := time.Date(year, month-time.Month(r.Monthly), 1, 0, 0, 0, 0, now.Location())
	var last time.Time
	for i, v := range versions {
		at := v.Time().In(now.Location())
		firstOfMonth := i == 0 || at.Format("2006-01") != last.Format("2006-01")
		firstOfDay := i == 0 || at.Format(time.DateOnly) != last.Format(time.DateOnly)
		last = at
		switch {
		case i == len(versions)-1:
		case now.Sub(at) < week:
		case firstOfDay && !at.Before(dailyFrom):
		case firstOfMonth && !at.Before(monthlyFrom):
		default:
			remove = append(remove, v)
		}
	}
	return remove
}

// clockDoubt says why nothing may be deleted, given the newest version; "" is
// no doubt. A wrong clock makes everything look old.
func clockDoubt(newest backupname.Name, now time.Time) string {
	switch age := now.Sub(newest.Time()); {
	case age < 0:
		return fmt.Sprintf("nothing deleted: the newest version, %s, is in the future: check the clocks", newest)
	case age > week:
		return fmt.Sprintf("nothing deleted: the newest version, %s, is more than 7 days old", newest)
	}
	return ""
}
