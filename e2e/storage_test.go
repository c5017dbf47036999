package e2e

import (
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// oddNames are paths that have broken backup programs before.
var oddNames = []string{
	" ", " before and after ", "-rf", "--help", "~", "*", "a\tb", "a\nb", "\n", "a\\nb", "\\0101", "back\\", "'\"$(id)`x`", "#c", "a:b",
	"%", "100%", "%s%d", "%0A", "a%0Ab", "a%0ab", "\r", "\x01\x7f", "\xff\xfe", "caf\xe9/\xc3\x28", "ä/日本\u2028", "a\u0308",
	strings.Repeat("x", 255), strings.Repeat("\n", 255), strings.Repeat("ä", 127), strings.Repeat("deep/", 400) + "file",
	strings.Repeat(strings.Repeat("y", 200)+"/", 9) + "z", "long-names/ab/cd", "archive-info", "backup-info", "latest", "download/x",
	".hidden", "..x", "a.lz4", "a.lz4.gpg", "x.sql.lz4.gpg", "taken", "taken.lz4/f", "taken.lz4.gpg/f", "backup-info-/f", "archive_info/f", "backup_info/f", "deep/archive-info/f", "file-storage_2019-05-08T09:26:17.038Z/f",
}

// site is a file storage in use: what nights do to it is decided by random
// numbers of a fixed seed.
type site struct {
	testing.TB
	dir     string
	random  *rand.Rand
	clock   time.Time // of the files: moves on with each
	numbers int
	deleted map[string][]byte
}

func newSite(t testing.TB, dir string) *site {
	return &site{
		TB: t, dir: dir, random: rand.New(rand.NewPCG(1, 2)), deleted: map[string][]byte{},
		clock: time.Date(2019, 5, 8, 9, 26, 17, 38_000_000, time.UTC),
	}
}

// fill makes as many ordinary files as told, and all the odd ones.
func (s *site) fill(small, medium int) {
	for range small {
		s.add(s.content(s.random.IntN(40_000)))
	}
	for range medium {
		s.add(s.content(1<<20 + s.random.IntN(4<<20)))
	}
	for size := range 3 {
		s.add(s.content(size))
	}
	s.add(s.content(1<<20 - 1))
	s.add(s.content(1 << 20))
	for i, name := range oddNames {
		s.write(name, []byte(fmt.Sprintf("%d %s", i, name)))
	}
}

// content is of random bytes, of zeros, or of both by turns of 64 KiB.
func (s *site) content(size int) []byte {
	data := make([]byte, size)
	kind := s.random.IntN(3)
	for i := range data {
		if kind == 0 || kind == 1 && i>>16&1 == 0 {
			data[i] = byte(s.random.Uint32())
		}
	}
	return data
}

// add makes a file with a name such as the server gives: two characters of a
// folder, and a UUID.
func (s *site) add(data []byte) string {
	s.numbers++
	id := fmt.Sprintf("%08x-%04x-4000-8000-%012x", s.random.Uint32(), s.numbers, s.random.Uint64()>>16)
	path := id[:2] + "/" + id
	s.write(path, data)
	return path
}

// write puts a new file in the place of what was there.
func (s *site) write(path string, data []byte) {
	s.Helper()
	s.clock = s.clock.Add(time.Hour + 123_456_789)
	name := s.name(path)
	must(s, os.MkdirAll(filepath.Dir(name), 0o755))
	temp := s.dir + ".new"
	modes := []fs.FileMode{0o644, 0o640, 0o600, 0o755, 0o444, 0o400}
	must(s, os.WriteFile(temp, data, 0o600))
	must(s, os.Chmod(temp, modes[s.random.IntN(len(modes))]))
	must(s, os.Chtimes(temp, s.clock, s.clock))
	must(s, os.Rename(temp, name))
}

// name joins by hand, as filepath.Join would clean the name.
func (s *site) name(path string) string { return s.dir + "/" + path }

func (s *site) read(path string) []byte {
	s.Helper()
	data, err := os.ReadFile(s.name(path))
	must(s, err)
	return data
}

// remove deletes a file and the folders that it leaves empty, which are not
// backed up.
func (s *site) remove(path string) {
	s.Helper()
	must(s, os.Remove(s.name(path)))
	for dir := filepath.Dir(path); dir != "." && os.Remove(s.name(dir)) == nil; {
		dir = filepath.Dir(dir)
	}
}

// day is what users do between two nights.
func (s *site) day() {
	paths := slices.Sorted(maps.Keys(tree(s, s.dir)))
	s.random.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
	take := func(n int) (taken []string) {
		taken, paths = paths[:n], paths[n:]
		return taken
	}
	for _, path := range slices.Sorted(maps.Keys(s.deleted)) {
		s.write(path, s.deleted[path]) // somebody brings it back
	}
	clear(s.deleted)
	for _, path := range take(8) {
		s.deleted[path] = s.read(path)
		s.remove(path)
	}
	for _, path := range take(8) {
		s.write(path, s.content(s.random.IntN(20_000)))
	}
	for _, path := range take(8) { // of the same size
		data := s.read(path)
		for i := range data {
			data[i] ^= 0x55
		}
		s.write(path, data)
	}
	now := s.clock
	for i, path := range take(6) {
		info, err := os.Stat(s.name(path))
		must(s, err)
		s.clock = info.ModTime().Add(-time.Hour - 123_456_789) // which write adds
		data := s.read(path)
		switch i % 3 {
		case 0: // renamed
			s.remove(path)
			s.write(fmt.Sprintf("renamed/%d/%d", s.numbers, i), data)
		case 1: // another mode, nothing else
			s.write(path, data)
			must(s, os.Chmod(s.name(path), 0o700))
		case 2: // another time, nothing else
			s.clock = s.clock.Add(time.Minute)
			s.write(path, data)
		}
	}
	s.clock = now
	for range 12 {
		s.add(s.content(s.random.IntN(30_000)))
	}
	s.add(s.content(1<<20 + s.random.IntN(2<<20)))
}
