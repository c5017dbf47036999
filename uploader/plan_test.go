package uploader

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/extsort"
	"github.com/chipster/firn/internal/manifest"
)

var testBase = must(backupname.Parse("file-storage_2026-01-01T01:10:00.000Z"))

func must(n backupname.Name, err error) backupname.Name {
	if err != nil {
		panic(err)
	}
	return n
}

// randomFile is one of few paths, sizes, times and modes, so that many meet.
func randomFile(r *rand.Rand) file {
	parts := []string{"a", "a-", "a.b", "ä", "A", "new\nline", "%41", "\xff", "a/b", "b"}
	path := parts[r.IntN(len(parts))]
	for range r.IntN(3) {
		path += "/" + parts[r.IntN(len(parts))]
	}
	return file{
		path: path, size: int64(r.IntN(3)), mode: manifest.ModeOf([]uint32{0o644, 0o4755}[r.IntN(2)]),
		modified: time.Unix(int64(r.IntN(2)-1), int64(r.IntN(2)*5)).UTC(),
	}
}

// randomLine is one of a base's: firn's or the original's, for these recipients or
// for others.
func randomLine(r *rand.Rand) manifest.Entry {
	f := randomFile(r)
	e := manifest.Entry{Path: f.path, Size: f.size, SealedPath: manifest.SealedPath(f.path, ".lz4"), SealedSize: 100, Backup: testBase}
	e.SHA512[0], e.SealedSHA512[0] = byte(r.Uint32()), byte(r.Uint32())
	switch r.IntN(8) {
	case 0:
		e.SealedPath = manifest.SealedPath(f.path, ".lz4.gpg")
	case 1:
		e.SealedPath = "elsewhere" + e.SealedPath
	case 2:
		e.Key = "0123456789ABCDEF"
	case 3, 4:
		e.Key = "none"
	}
	if r.IntN(4) > 0 {
		e.Modified, e.Mode, e.HasMode, e.Package, e.Other = f.modified, f.mode, true, "p.tar", []string{"theirs=1"}
	}
	if r.IntN(4) == 0 {
		e.Installation = "somebody"
	}
	return e
}

// naivePlan is what plan does, in a few lines and in memory.
func naivePlan(files map[string]file, lines []manifest.Entry, full bool) (carried []string, fresh []string) {
	base := map[string]manifest.Entry{}
	for _, e := range lines {
		base[e.Path] = e
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		f := files[path]
		e, ok := base[path]
		forUs := e.Key == "none" || e.Key == "" && !strings.HasSuffix(e.SealedPath, ".gpg")
		same := e.Size == f.size && (e.Modified.IsZero() || e.Modified.Equal(f.modified))
		if !ok || full || !forUs || !same || e.SealedPath != manifest.SealedPath(path, ".lz4") {
			fresh = append(fresh, fmt.Sprint(path, " ", f.size, " ", f.modified, " ", f.mode))
			continue
		}
		e.Modified, e.Mode, e.HasMode, e.Installation = f.modified, f.mode, true, ""
		carried = append(carried, fmt.Sprint(e))
	}
	return carried, fresh
}

// Whatever is found, and whatever the base lists in whatever order and however
// often: the plan is the one that fits into memory.
func TestPlanIsTheNaiveOne(t *testing.T) {
	w := newWorld(t)
	for seed := range uint64(rounds(300)) {
		r := rand.New(rand.NewPCG(seed, 0))
		files := map[string]file{}
		found := extsort.New(0)
		for range r.IntN(60) {
			f := randomFile(r)
			if _, twice := files[f.path]; !twice {
				files[f.path] = f
			}
			f = files[f.path]
			if err := found.Add(f.appendRecord(nil)); err != nil { // a folder that is changed may tell a name twice
				t.Fatal(err)
			}
		}
		var lines []manifest.Entry
		for range r.IntN(100) {
			lines = append(lines, randomLine(r))
		}
		w.put(testBase.String()+"/archive-info", w.lines(lines...))
		run := &run{
			Options: Options{Full: r.IntN(10) == 0, Planned: func(int, int64) {}},
			backup:  &backup{store: w.store, base: testBase, log: slog.New(slog.DiscardHandler), sealedFor: "none", recipients: envelope.Recipients{}},
			report:  &Report{}, list: newList(),
		}
		wantCarried, wantFresh := naivePlan(files, lines, run.Full)
		left, err := run.plan(t.Context(), nil, found)
		if err != nil {
			t.Fatal(err)
		}
		var size int64
		var fresh, carried []string
		for record, err := range left.All() {
			if err != nil {
				t.Fatal(err)
			}
			f := parseFile(cutRecord(record))
			size += f.size
			fresh = append(fresh, fmt.Sprint(f.path, " ", f.size, " ", f.modified, " ", f.mode))
		}
		for line, err := range linesOf(run.list.All()) {
			if err != nil {
				t.Fatal(err)
			}
			e, err := manifest.ParseLine(string(line))
			if err != nil {
				t.Fatal(err)
			}
			carried = append(carried, fmt.Sprint(e))
		}
		if !slices.Equal(fresh, wantFresh) || !slices.Equal(carried, wantCarried) || size != left.size {
			t.Fatalf("seed %d: to be sealed %q, want %q; listed %q, want %q; %d bytes, told %d", seed, fresh, wantFresh, carried, wantCarried, size, left.size)
		}
	}
}
