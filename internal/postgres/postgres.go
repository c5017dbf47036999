// Package postgres reaches a PostgreSQL database: it connects, counts rows, and
// streams a dump out of pg_dump or into psql.
//
// It promises that a dump and the counts beside it are of one moment; that a
// dump is whole when Dump returns nil; that Restore commits all of a dump or
// nothing, and lets no dump run a command on this host; and that passwords are
// in no argument of a process, no log and no error.
//
// It knows nothing of backups, and keeps nothing on a disk.
package postgres

import (
	"errors"
	"fmt"
)

var (
	// ErrURL says that an address cannot be understood. Its text has no part of
	// the address that could be a secret.
	ErrURL = errors.New("no address of a PostgreSQL database")
	// ErrTool says that a program of PostgreSQL's is missing, or all there are
	// are older than the server.
	ErrTool = errors.New("no fitting PostgreSQL client")
	// ErrDenied says that the server does not let the user in, or to a table.
	ErrDenied = errors.New("access denied")
)

// Version is one of a server or a program, as the server numbers them: 150018
// is 15.18, 90624 is 9.6.24.
type Version int

// String is the version as PostgreSQL writes it.
func (v Version) String() string {
	if v.twoNumbers() {
		return fmt.Sprintf("%d.%d", v/10000, v%10000)
	}
	return fmt.Sprintf("%d.%d.%d", v/10000, v/100%100, v%100)
}

// major is what tells which versions go together: 15 of 15.18, 9.6 of 9.6.24.
func (v Version) major() string {
	if v.twoNumbers() {
		return fmt.Sprint(int(v / 10000))
	}
	return fmt.Sprintf("%d.%d", v/10000, v/100%100)
}

// first is the first of the same major version, by which they compare.
func (v Version) first() Version {
	if v.twoNumbers() {
		return v / 10000 * 10000
	}
	return v / 100 * 100
}

// twoNumbers tells the two ways to number apart: until 9.6 there were three.
func (v Version) twoNumbers() bool { return v >= 100000 }
