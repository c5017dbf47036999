package backupname

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var valid = []struct {
	text, storage, time string
	at                  time.Time
}{
	{"file-storage_2019-05-08T09:26:17.038Z", "file-storage", "2019-05-08T09:26:17.038Z", time.Date(2019, 5, 8, 9, 26, 17, 38e6, time.UTC)},
	{"file-storage-0_2021-03-04T01:10:00Z", "file-storage-0", "2021-03-04T01:10:00Z", time.Date(2021, 3, 4, 1, 10, 0, 0, time.UTC)},
	{"file-broker-backup_2024-08-06T01:10:00.123456Z", "file-broker-backup", "2024-08-06T01:10:00.123456Z", time.Date(2024, 8, 6, 1, 10, 0, 123456e3, time.UTC)},
	{"session-db-db-backup_2021-03-05T01:10:03.250000001Z", "session-db-db-backup", "2021-03-05T01:10:03.250000001Z", time.Date(2021, 3, 5, 1, 10, 3, 250000001, time.UTC)},
}

var invalid = []string{
	"", "_", "file-storage", "file-storage_", "_2019-05-08T09:26:17.038Z",
	"a/b_2019-05-08T09:26:17.038Z", ".a_2019-05-08T09:26:17.038Z", "a\n_2019-05-08T09:26:17.038Z",
	"a_2019-05-08T09:26:17.03Z", "a_2019-05-08T09:26:17,038Z", "a_2019-05-08T09:26:17.0380Z",
	"a_2019-13-08T09:26:17.038Z", "a_2019-05-08T25:26:17.038Z", "a_2019-05-08T09:26:17.038",
	"a_2019-05-08T09:26:17.038+00:00", "a_2019-05-08 09:26:17.038Z", "a_2019-05-08T09:26:17.038Z/",
	"a_b_2019-05-08T09:26:17.038Z", "a\xff_2019-05-08T09:26:17.038Z", "a_2019-02-29T00:00:00Z",
}

func TestParse(t *testing.T) {
	for _, v := range valid {
		n, err := Parse(v.text)
		if err != nil {
			t.Fatal(err)
		}
		if n.String() != v.text || n.Storage() != v.storage || n.TimeText() != v.time || !n.Time().Equal(v.at) {
			t.Errorf("%s: got %q, %q, %q, %v", v.text, n, n.Storage(), n.TimeText(), n.Time())
		}
	}
	for _, s := range invalid {
		if n, err := Parse(s); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %v, %v", s, n, err)
		}
	}
}

// As strings the first two would change places.
func TestOrderByInstant(t *testing.T) {
	want := []string{
		"a_2019-05-06T01:10:00Z",
		"a_2019-05-06T01:10:00.512Z",
		"a_2019-05-06T01:10:00.512001Z",
		"a_2019-05-06T01:10:01Z",
		"a-0_2018-01-01T00:00:00Z",
	}
	var names []Name
	for _, s := range want {
		n, err := Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, n)
	}
	for range 20 {
		rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		slices.SortFunc(names, Compare)
		for i, n := range names {
			if n.String() != want[i] {
				t.Fatalf("place %d: %s, want %s", i, n, want[i])
			}
		}
	}
}

func TestNewWritesMilliseconds(t *testing.T) {
	n, err := New("file-storage", time.Date(2026, 1, 2, 3, 4, 5, 6_999_999, time.FixedZone("", 7200)))
	if err != nil {
		t.Fatal(err)
	}
	if want := "file-storage_2026-01-02T01:04:05.006Z"; n.String() != want {
		t.Errorf("%s, want %s", n, want)
	}
	if _, err := New("a_b", time.Now()); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "'_'") {
		t.Errorf("a name that could not be read back was made: %v", err)
	}
}

func TestIsDatabase(t *testing.T) {
	for text, want := range map[string]bool{
		"session-db-db-backup_2021-03-05T01:10:03.250Z": true,
		"file-storage-backup_2021-03-05T01:10:03.250Z":  false,
	} {
		n, err := Parse(text)
		if err != nil || n.IsDatabase() != want {
			t.Errorf("%s: %v, %v", text, n.IsDatabase(), err)
		}
	}
}

func TestFuzzSeedsExist(t *testing.T) {
	if len(valid) < 4 || len(invalid) < 15 {
		t.Errorf("%d and %d seeds", len(valid), len(invalid))
	}
}

func FuzzParse(f *testing.F) {
	for _, v := range valid {
		f.Add(v.text)
	}
	for _, s := range invalid {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := Parse(s)
		if err != nil {
			return
		}
		if n.String() != s {
			t.Errorf("%q came back as %q", s, n)
		}
		again, err := New(n.Storage(), n.Time())
		if err != nil {
			t.Errorf("%q cannot be named anew: %v", s, err)
		}
		if d := n.Time().Sub(again.Time()); d < 0 || d >= time.Millisecond {
			t.Errorf("%q: %v away from %q", s, d, again)
		}
	})
}

func TestLogged(t *testing.T) {
	var out strings.Builder
	n, err := Parse("file-storage_2019-05-08T09:26:17.038Z")
	if err != nil {
		t.Fatal(err)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("done", "backup", n)
	if !strings.Contains(out.String(), `"backup":"file-storage_2019-05-08T09:26:17.038Z"`) {
		t.Error(out.String())
	}
}
