package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestPercentile(t *testing.T) {
	var sorted []time.Duration
	for i := range 1000 {
		sorted = append(sorted, time.Duration(i+1))
	}
	for _, test := range []struct {
		n, p int
		want time.Duration
	}{{1, 50, 1}, {1, 99, 1}, {2, 50, 1}, {2, 99, 2}, {3, 50, 2}, {100, 99, 99}, {1000, 50, 500}, {1000, 99, 990}} {
		if got := percentile(sorted[:test.n], test.p); got != test.want {
			t.Errorf("p%d of %d values is %d, not %d", test.p, test.n, got, test.want)
		}
	}
}

// Figures of two runs compare only where the files are the same.
func TestFilesAreTheSameEachTime(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	if err := command([]string{"files", a, "3", "10000"}); err != nil {
		t.Fatal(err)
	}
	if err := command([]string{"files", b, "3", "10000"}); err != nil {
		t.Fatal(err)
	}
	contents := map[string]bool{}
	err := filepath.WalkDir(a, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		relative, _ := filepath.Rel(a, path)
		if folder, name := filepath.Split(relative); !strings.HasPrefix(name, strings.TrimSuffix(folder, "/")) || len(name) != 36 {
			t.Errorf("%s is not named like a file of a storage", relative)
		}
		x, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		y, err := os.ReadFile(filepath.Join(b, relative))
		if len(x) != 10000 || string(x) != string(y) {
			t.Errorf("%s differs: %d and %d bytes", relative, len(x), len(y))
		}
		contents[string(x)] = true
		return err
	})
	if err != nil || len(contents) != 3 {
		t.Errorf("%d different files, %v", len(contents), err)
	}
}

// However slow the file, there is something to print.
func TestReadRandomEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	took, err := readRandom(ctx, strings.NewReader("0123456789"), 1000, 10, 10)
	if err != nil || len(took) != 1 {
		t.Errorf("%d reads, %v", len(took), err)
	}
	if took, err = readRandom(t.Context(), strings.NewReader("0123456789"), 1000, 3, 10); err != nil || len(took) != 1000 {
		t.Errorf("%d reads, %v", len(took), err)
	}
}

func TestBadArguments(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"", "run", "nothing a 1 1", "random " + file + " x 1", "random " + file + " 0 1", "random " + file + " 1 1001", "readers " + file + "x 1 1", "run false"} {
		if command(strings.Fields(line)) == nil {
			t.Errorf("%q gave no error", line)
		}
	}
	for _, line := range []string{"random " + file + " 10 1000", "readers " + file + " 8 1000", "run true"} {
		if err := command(strings.Fields(line)); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	}
}
