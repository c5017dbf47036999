package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
)

const (
	storage = "file-storage"
	// cycle is how many nights it takes until each file was replaced once: 1 % a
	// night.
	cycle = 100
	// digits tell files apart, and sort them: the first 8 of a name.
	digits = 8
	// pattern has the length of every path: folder/UUID.
	pattern = "00/00000000-0000-4000-8000-000000000000"
)

// lists are those of an archive's versions, of a file a line, sorted by path.
// All lines have one length, so that any part of a list can be made without what
// is before. It is made of numbers alone, and the same each time.
type lists struct {
	files, versions int

	templates [][]byte // a line of each version
	tail      int      // where a template's name of the package begins
}

func newLists(files, versions int) (*lists, error) {
	if files < 1 || files > 1<<24 || versions < 1 || versions > 10_000 {
		return nil, fmt.Errorf("there can be from 1 to %d files, and from 1 to 10000 versions", 1<<24)
	}
	l := &lists{files: files, versions: versions}
	for v := range versions {
		name, err := backupname.New(storage, l.time(v))
		if err != nil {
			return nil, err
		}
		template, err := manifest.AppendLine(nil, &manifest.Entry{
			Path: pattern, Size: 24, SealedPath: pattern + ".lz4.gpg", SealedSize: 624, Backup: name,
			Details: manifest.Details{
				Modified: l.time(0).Add(-time.Hour), Mode: fs.FileMode(0o644), HasMode: true,
				Package: "0000_small_files.tar", Offset: 1 << 20, Key: "6F9E8313AEB2C0DE",
			},
		})
		if err != nil {
			return nil, err
		}
		l.templates = append(l.templates, template)
	}
	l.tail = bytes.Index(l.templates[0], []byte("0000_small_files.tar"))
	return l, nil
}

// time is when the version was made: one a night.
func (l *lists) time(version int) time.Time {
	return time.Date(2026, 1, 1+version, 1, 10, 0, 0, time.UTC)
}

func (l *lists) name(version int) string {
	return storage + "_" + l.time(version).Format("2006-01-02T15:04:05.000Z")
}

// length is that of every line.
func (l *lists) length() int64 { return int64(len(l.templates[0])) }

// size is that of every list, in bytes.
func (l *lists) size() int64 { return int64(l.files) * l.length() }

// appendRange appends what a version's list holds from one offset to another, and
// writes no further, for b may have just that room.
func (l *lists) appendRange(b []byte, version int, from, to int64) []byte {
	var line []byte
	for from < to {
		line = l.appendLine(line[:0], version, uint64(from/l.length()))
		part := line[from%l.length():]
		part = part[:min(int64(len(part)), to-from)]
		b = append(b, part...)
		from += int64(len(part))
	}
	return b
}

// appendLine writes what differs from line to line into the version's template.
func (l *lists) appendLine(b []byte, version int, i uint64) []byte {
	start := len(b)
	b = append(b, l.templates[version]...)
	line := b[start:]
	random := splitmix(i<<16 | uint64(lastReplaced(i, version)))

	// Evenly spread, so that there are as many in each folder.
	name := hex(i << (4 * digits) / uint64(l.files) << (64 - 4*digits))
	unique := [2][16]byte{hex(random.next()), hex(random.next())}
	for _, at := range []int{0, 43 + 128 + 1} { // the path, and the sealed path
		path := line[at:]
		copy(path, name[:2])
		copy(path[3:], name[:digits])
		copy(path[12:], unique[0][:4])
		copy(path[18:], unique[0][4:7]) // behind the digit for UUIDs that are random
		copy(path[23:], unique[0][7:10])
		copy(path[27:], unique[1][:12])
	}
	for _, at := range []int{43, 172 + len(pattern) + len(".lz4.gpg\t624\t")} { // both SHA-512
		for k := range 8 {
			word := hex(random.next())
			copy(line[at+16*k:], word[:])
		}
	}
	copy(line[l.tail:], name[:4])
	return b
}

// lastReplaced is the night, up to a version's, in which a file came; 0 is the
// first one. A file that goes and one that comes in its place have other names.
func lastReplaced(i uint64, version int) int {
	random := splitmix(i)
	turn := int(random.next()%cycle) + 1 // in nights turn, turn + cycle, …
	if version < turn {
		return 0
	}
	return version - (version-turn)%cycle
}

// splitmix is Steele's generator, since SHA-512 would take longer than all else.
type splitmix uint64

func (s *splitmix) next() uint64 {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func hex(n uint64) (text [16]byte) {
	for i := range text {
		text[i] = "0123456789abcdef"[n>>(60-4*i)&15]
	}
	return text
}
