package extsort

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/faultfs"
	"github.com/chipster/firn/internal/memorytest"
)

func sorted(t testing.TB, s *Sorter) (all []string) {
	t.Helper()
	for record, err := range s.All() {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(record))
	}
	return all
}

// Whatever the records, their order and the memory: they come back sorted.
func TestSort(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, memory := range []int{1, 100, 2000, 0} {
		for _, n := range []int{0, 1, 2, 100, 3000} {
			for _, order := range []string{"random", "sorted", "reversed", "nearly"} {
				var want []string
				for i := range n {
					// Prefixes of one another, empty ones, equal ones, and one
					// that is longer than the memory.
					want = append(want, strings.Repeat("\x00a\xff"[i%3:i%3+1], random.IntN(9))+fmt.Sprint(random.IntN(n))[random.IntN(2):])
				}
				if n > 2 {
					want[1] = strings.Repeat("long", 2000)
				}
				in := slices.Clone(want)
				slices.Sort(want)
				switch order {
				case "sorted":
					in = slices.Clone(want)
				case "reversed":
					in = slices.Clone(want)
					slices.Reverse(in)
				case "nearly":
					in = slices.Clone(want)
					for i := 0; i+3 < n; i += 3 {
						in[i], in[i+2] = in[i+2], in[i]
					}
				}
				s := New(memory)
				for i, r := range in {
					cut := len(r) / 2
					part := []byte(r[:cut])
					if err := s.Add(part, []byte(r[cut:])); err != nil {
						t.Fatal(err)
					}
					for i := range part {
						part[i] = 'x' // it keeps none of them
					}
					if s.Len() != int64(i+1) {
						t.Fatalf("%d records, not %d", s.Len(), i+1)
					}
				}
				for range 2 {
					if got := sorted(t, s); !slices.Equal(got, want) {
						at := 0
						for at < min(len(got), len(want)) && got[at] == want[at] {
							at++
						}
						t.Fatalf("memory %d, %s: %d of %d records, wrong from %d on", memory, order, len(got), n, at)
					}
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// Two iterations at once, one of which ends early, do not disturb each other.
func TestIterationsAtOnce(t *testing.T) {
	s := New(1000)
	defer s.Close()
	for i := range 5000 {
		if err := s.Add(fmt.Appendf(nil, "%05d", i*7919%5000)); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for a, err := range s.All() {
		if err != nil || string(a) != fmt.Sprintf("%05d", n) {
			t.Fatalf("%d: %s, %v", n, a, err)
		}
		if n++; n%1000 == 0 {
			for b := range s.All() {
				if string(b) > "00010" {
					break
				}
			}
		}
	}
	if n != 5000 {
		t.Errorf("%d records", n)
	}
}

// What comes in order is one run, which costs no merging; and what is not stays
// bounded in runs.
func TestRuns(t *testing.T) {
	inOrder, reversed := New(1000), New(1000)
	defer inOrder.Close()
	defer reversed.Close()
	for i := range 100_000 {
		if err := inOrder.Add(fmt.Appendf(nil, "%08d", i)); err != nil {
			t.Fatal(err)
		}
		if err := reversed.Add(fmt.Appendf(nil, "%08d", 100_000-i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(sorted(t, inOrder)) != 100_000 || len(inOrder.runs) != 1 {
		t.Errorf("%d runs of what is in order", len(inOrder.runs))
	}
	if len(sorted(t, reversed)) != 100_000 || len(reversed.runs) > maxRuns {
		t.Errorf("%d runs to merge at once", len(reversed.runs))
	}
}

func TestMemory(t *testing.T) {
	const memory = 4 << 20
	record := bytes.Repeat([]byte("x"), 400)
	peak := memorytest.Peak(func() {
		s := New(memory)
		defer s.Close()
		for range 200_000 { // 80 MB
			for i := range 16 {
				record[i] = byte('a' + rand.IntN(26))
			}
			if err := s.Add(record); err != nil {
				t.Fatal(err)
			}
		}
		n := 0
		for _, err := range s.All() {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != 200_000 {
			t.Errorf("%d records", n)
		}
	})
	t.Logf("%d KiB", peak>>10)
	if peak > 3*memory {
		t.Errorf("took %d KiB", peak>>10)
	}
}

// Nothing has a name while it is sorted, and a folder that cannot be written is
// an error that says which.
func TestTemporaryFile(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	s := New(100)
	defer s.Close()
	for i := range 1000 {
		if err := s.Add(fmt.Appendf(nil, "%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("%v, %v", names, err)
	}
	t.Setenv("TMPDIR", filepath.Join(dir, "missing"))
	bad := New(10)
	err := bad.Add([]byte("first"))
	for i := 0; err == nil && i < 100; i++ {
		err = bad.Add([]byte("more"))
	}
	if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "missing")) {
		t.Errorf("got %v", err)
	}
}

// A temporary file's folder does not change: no name is made and removed, which a
// killed process would leave. Where the file system has to have one, it is gone
// when the file is there.
func TestTempFile(t *testing.T) {
	for _, c := range []struct {
		name   string
		make   func() (*os.File, error)
		silent bool
	}{
		{"without a name", TempFile, true},
		{"with one at first", briefTempFile, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			faultfs.Tmpfs(t, dir, "") // which can do without names
			t.Setenv("TMPDIR", dir)
			watch, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(watch)
			if _, err := unix.InotifyAddWatch(watch, dir, unix.IN_CREATE|unix.IN_DELETE); err != nil {
				t.Fatal(err)
			}
			file, err := c.make()
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
				t.Errorf("%v, %v", names, err)
			}
			if _, err := unix.Read(watch, make([]byte, 4096)); (err == unix.EAGAIN) != c.silent {
				t.Errorf("a name was made and removed: %v", err == nil)
			}
			got := make([]byte, 4)
			if _, err := file.WriteAt([]byte("text"), 10); err != nil {
				t.Fatal(err)
			}
			if _, err := file.ReadAt(got, 10); err != nil || string(got) != "text" {
				t.Errorf("%q, %v", got, err)
			}
			if info, err := file.Stat(); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%v, %v", info.Mode(), err)
			}
		})
	}
}

// A file that was cut short is an error, not a shorter list.
func TestDamagedFile(t *testing.T) {
	s := New(100)
	defer s.Close()
	for i := range 1000 {
		if err := s.Add(fmt.Appendf(nil, "%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for range s.All() {
		n++
	}
	if err := s.file.Truncate(s.end() - 1); err != nil {
		t.Fatal(err)
	}
	got := 0
	var last error
	for _, last = range s.All() {
		got++
	}
	if last == nil || n != 1000 {
		t.Errorf("%d of %d records, %v", got, n, last)
	}
}

func BenchmarkSort(b *testing.B) {
	line := bytes.Repeat([]byte("x"), 400)
	for b.Loop() {
		s := New(0)
		for range 100_000 {
			for i := range 16 {
				line[i] = byte('a' + rand.IntN(26))
			}
			if err := s.Add(line); err != nil {
				b.Fatal(err)
			}
		}
		for range s.All() {
		}
		s.Close()
	}
}

// What did not reach the disk at the end is an error each time it is asked for.
func TestLastWriteFails(t *testing.T) {
	s := New(100)
	defer s.Close()
	for i := range 1000 {
		if err := s.Add(fmt.Appendf(nil, "%d", 2000-i)); err != nil {
			t.Fatal(err)
		}
	}
	readOnly, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", s.file.Fd())) // writing fails from now on
	if err != nil {
		t.Fatal(err)
	}
	s.file.Close()
	s.file = readOnly
	for range 2 {
		var last error
		for _, last = range s.All() {
		}
		if last == nil {
			t.Error("a shorter result, and no error")
		}
	}
}

// Long records are merged a few at a time.
func TestLongRecords(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 4<<20)
	peak := memorytest.Peak(func() {
		s := New(1 << 20)
		defer s.Close()
		for i := range 60 {
			if err := s.Add(fmt.Appendf(nil, "%03d", 100-i), long); err != nil {
				t.Fatal(err)
			}
		}
		n := 0
		for record, err := range s.All() {
			if err != nil || len(record) != 3+len(long) {
				t.Fatal(len(record), err)
			}
			n++
		}
		if n != 60 {
			t.Errorf("%d records", n)
		}
	})
	t.Logf("%d MiB", peak>>20)
	if peak > mergeMemory*3/2 {
		t.Errorf("took %d MiB", peak>>20)
	}
}
