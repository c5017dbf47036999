package drill

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/memorytest"
	"github.com/chipster/firn/internal/restore"
	"github.com/chipster/firn/internal/signature"
)

func entry(n int, size int64) manifest.Entry {
	return manifest.Entry{Path: fmt.Sprintf("file-%d", n), Size: size}
}

// Each file has the same chance, and the smallest and the largest are always
// chosen.
func TestSample(t *testing.T) {
	t.Parallel()
	const files, size, rounds = 50, 10, 4000
	var chosen [files]int
	for range rounds {
		s := sample{most: math.MaxInt64, size: size}
		for n := range files {
			s.add(entry(n, int64(1000+n)))
		}
		got, leftOut := s.fit()
		if len(leftOut) > 0 || len(got) < size || len(got) > size+2 {
			t.Fatalf("%d chosen, %d left out", len(got), len(leftOut))
		}
		for _, e := range got {
			chosen[e.Size-1000]++
		}
	}
	if chosen[0] != rounds || chosen[files-1] != rounds {
		t.Errorf("the smallest was chosen %d times, the largest %d", chosen[0], chosen[files-1])
	}
	for n, times := range chosen[1 : files-1] {
		// 800 are to be expected, with a standard deviation of 25.
		if times < 600 || times > 1000 {
			t.Errorf("file %d was chosen %d times of %d", n+1, times, rounds)
		}
	}
}

// What there is no room for is left out, and the largest leaves room to others.
func TestSampleFits(t *testing.T) {
	t.Parallel()
	const most = 1 << 20
	s := sample{most: most, size: 20}
	sizes := []int64{most * 3 / 4, most * 2 / 3, most / 3, 10, 2000, 0, 9000, most * 10, most + 1, 5}
	for n, size := range sizes {
		e := entry(n, size)
		e.Blocks = "many"
		s.add(e)
	}
	chosen, leftOut := s.fit()
	has := func(list []manifest.Entry, size int64) bool {
		return slices.ContainsFunc(list, func(e manifest.Entry) bool { return e.Size == size })
	}
	if len(chosen)+len(leftOut) != len(sizes) || chosen[0].Size != 0 || chosen[1].Size != most/3 {
		t.Errorf("chosen are %v, left out %v", chosen, leftOut)
	}
	for _, size := range []int64{10, 2000, 9000, 5} {
		if !has(chosen, size) && !has(chosen, most*3/4) && !has(chosen, most*2/3) {
			t.Errorf("%d bytes are left out, with all that room", size)
		}
	}
	for _, e := range leftOut {
		if e.Size > most && e.Blocks != "" {
			t.Error("the blocks of a file that cannot be chosen are kept")
		}
	}
	if !has(leftOut, most+1) || !has(leftOut, most*10) {
		t.Errorf("left out are %v", leftOut)
	}
	// One file alone is chosen once, and may take all the room there is.
	s = sample{most: most, size: 1}
	s.add(entry(1, most-3*4096))
	if chosen, leftOut := s.fit(); len(chosen) != 1 || len(leftOut) != 0 {
		t.Errorf("chosen are %v, left out %v", chosen, leftOut)
	}
}

func TestChooseVersions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		versions string // oldest first: r can be read, d is damaged, u untrusted
		newest   string // what is always chosen
		older    string // of which one is
		database bool
	}{
		{"r", "0", "", false},
		{"rr", "1", "0", false},
		{"rrdrr", "4", "0123", false},
		{"urrur", "4", "12", false},
		{"ur", "1", "", false},
		{"rrrdu", "432", "01", false},
		{"d", "0", "", false},
		{"udu", "210", "", false},
		{"rrr", "2", "", true},
		{"rrd", "21", "", true},
	} {
		storage := map[bool]string{false: "file-storage", true: "auth-db-backup"}[test.database]
		var all []catalog.Version
		for n, kind := range test.versions {
			name, err := backupname.Parse(fmt.Sprintf("%s_2026-01-0%dT00:00:00Z", storage, n+1))
			must(t, err)
			v := catalog.Version{Name: name, Untrusted: kind == 'u'}
			if kind != 'r' {
				v.Damaged = "why"
			}
			all = append(all, v)
		}
		drawn := map[rune]bool{}
		for range 200 {
			got := ""
			for _, v := range chooseVersions(all) {
				got += fmt.Sprint(v.Name.Time().Day() - 1)
			}
			if len(got) < len(test.newest) || got[:len(test.newest)] != test.newest || len(got) > len(test.newest)+1 {
				t.Fatalf("of %s are chosen %s, not %s and one of %q", test.versions, got, test.newest, test.older)
			}
			for _, n := range got[len(test.newest):] {
				drawn[n] = true
			}
		}
		for _, n := range test.older {
			if !drawn[n] {
				t.Errorf("of %s, %c was never chosen", test.versions, n)
			}
			delete(drawn, n)
		}
		if len(drawn) > 0 {
			t.Errorf("of %s are chosen too: %v", test.versions, drawn)
		}
	}
}

// The verdict tells apart what can be done about it.
func TestVerdict(t *testing.T) {
	t.Parallel()
	damaged, locked, untrusted := fmt.Errorf("a: %w", envelope.ErrDamaged), fmt.Errorf("b: %w", envelope.ErrKey), fmt.Errorf("c: %w", signature.ErrUntrusted)
	for _, test := range []struct {
		problems [][]error // of each version
		verdict  Verdict
		is       []error
		not      []error
	}{
		{[][]error{{}, {}}, Good, nil, nil},
		{[][]error{{}, {damaged}}, Bad, []error{restore.ErrIncomplete}, []error{envelope.ErrKey, signature.ErrUntrusted}},
		{[][]error{{locked, locked}, {locked}}, Locked, []error{envelope.ErrKey}, []error{restore.ErrIncomplete}},
		{[][]error{{locked}, {}}, Locked, []error{envelope.ErrKey}, []error{restore.ErrIncomplete}},
		{[][]error{{locked, damaged}}, Bad, []error{restore.ErrIncomplete}, []error{envelope.ErrKey}},
		{[][]error{{damaged}, {untrusted}}, Bad, []error{restore.ErrIncomplete, signature.ErrUntrusted}, nil},
	} {
		r := &Report{}
		for _, problems := range test.problems {
			trial := &Trial{}
			for _, why := range problems {
				trial.problem("file", why)
			}
			r.add(trial)
		}
		err := r.conclude()
		if r.Verdict != test.verdict || (err == nil) != (test.is == nil) {
			t.Errorf("%v: %s, %v", test.problems, r.Verdict, err)
		}
		for _, want := range test.is {
			if !errors.Is(err, want) {
				t.Errorf("%v: %v", test.problems, err)
			}
		}
		for _, not := range test.not {
			if errors.Is(err, not) {
				t.Errorf("%v: %v", test.problems, err)
			}
		}
	}
}

// Memory does not grow with the number of files in a version.
func TestMemory(t *testing.T) {
	a := newArchive(t)
	const files = 12_000
	name, err := backupname.Parse(newest)
	must(t, err)
	list := a.create(newest, manifest.ArchiveInfo)
	buffered := bufio.NewWriter(list)
	w := manifest.NewWriter(buffered)
	for n := range files {
		e := entry(n, 1000)
		e.SealedPath, e.SealedSize, e.Backup = e.Path+".lz4.gpg", 1200, name
		must(t, w.Write(&e))
	}
	must(t, w.Flush())
	must(t, buffered.Flush())
	must(t, list.Close())
	o := a.options()
	versions, err := o.Catalog.Versions(t.Context(), "")
	must(t, err)
	trial := newTrial(&run{Options: o}, versions[0])
	memory := memorytest.Peak(func() { err = trial.choose(t.Context(), 1<<40) })
	must(t, err)
	if trial.Chosen.Files < 100 || trial.Chosen.Files > 102 {
		t.Errorf("chosen are %+v", trial.Chosen)
	}
	// All entries would take 6 MB.
	if memory > 3<<20 {
		t.Errorf("took %d KiB", memory>>10)
	}
	t.Logf("%d KiB", memory>>10)
}
