package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/faultfs"
	"github.com/chipster/firn/internal/keys/keystest"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/signature"
)

// only is the one problem of a report.
func only(t *testing.T, report *Report, err, want error) Problem {
	t.Helper()
	if !errors.Is(err, want) || report.Count != 1 || len(report.Problems) != 1 {
		t.Fatalf("%v: %+v", err, report)
	}
	return report.Problems[0]
}

// With a sample, all files are looked at, and about as many are read.
func TestSample(t *testing.T) {
	t.Parallel()
	a := newArchive(t, "")
	a.night("s", files{}.random(rand.New(rand.NewPCG(42, 1)), "f", 1000, 0))
	all := a.sealed()
	o := a.options()
	o.Sample = 10
	var planned, done, bytes atomic.Int64
	o.Planned = func(files int, bytes int64) { planned.Store(bytes); done.Store(-int64(files)) }
	o.Progress = func(files int, n int64) { done.Add(int64(files)); bytes.Add(n) }
	report := mustBeFine(t, o)
	if report.Files != int64(len(all)) || report.Read.Files < 43 || report.Read.Files > 157 { // six standard deviations
		t.Errorf("%d of %d files were read", report.Read.Files, report.Files)
	}
	if done.Load() != 0 || bytes.Load() != report.Read.Bytes || planned.Load() != report.Bytes/10 {
		t.Errorf("progress: %d files too many, %d bytes of %d; planned %d", done.Load(), bytes.Load(), report.Read.Bytes, planned.Load())
	}
	for i := range 10 {
		e := all[i*60]
		must(t, os.Truncate(a.file(e.Backup, e.SealedPath), e.SealedSize-1))
	}
	report, err := Run(t.Context(), o)
	if !errors.Is(err, ErrDamaged) || report.Kinds[Truncated] != 10 || report.Count != 10 {
		t.Errorf("%v: %v", err, report.Kinds)
	}
}

// What is to be read always is read, whatever chance chooses.
func TestSampleAlways(t *testing.T) {
	t.Parallel()
	a := newArchive(t, "")
	a.night("s", files{}.random(rand.New(rand.NewPCG(42, 3)), "f", 50, 0))
	e := a.sealed()[7]
	file := a.file(e.Backup, e.SealedPath)
	data, err := os.ReadFile(file)
	must(t, err)
	data[len(data)/2] ^= 1
	must(t, os.WriteFile(file, data, 0o600))
	o := a.options()
	o.Sample = 1e-9
	mustBeFine(t, o)
	o.Always = map[string]bool{e.SealedPath: true}
	report, err := Run(t.Context(), o)
	if p := only(t, report, err, ErrDamaged); p.Kind != Changed || p.SealedPath != e.SealedPath || report.Read.Files != 1 {
		t.Errorf("%+v, %d files read", p, report.Read.Files)
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	a := newArchive(t, "")
	a.night("s", files{}.random(rand.New(rand.NewPCG(42, 2)), "f", 300, 1))
	o := a.options()
	const rate = 1 << 20
	o.BytesPerSecond = rate
	begin := time.Now()
	report := mustBeFine(t, o)
	took := time.Since(begin).Seconds()
	want := float64(report.Read.Bytes) / rate
	t.Logf("%d bytes in %.2f s, at %d a second", report.Read.Bytes, took, rate)
	if took < 0.85*want || took > 3*want+5 { // at first, an eighth of a second's bytes are free
		t.Errorf("%d bytes took %.2f s, not %.2f", report.Read.Bytes, took, want)
	}
}

// What the sealed hash does not tell, a key does.
func TestKey(t *testing.T) {
	t.Parallel()
	a := newArchive(t, "curve")
	n := a.night("s", files{}.random(rand.New(rand.NewPCG(42, 3)), "f", 5, 1))
	list := a.lists[n]
	list[2].SHA512[0]++
	a.publish(n, list)
	o := a.options()
	mustBeFine(t, o)
	o.Opener = opener(t)
	report, err := Run(t.Context(), o)
	p := only(t, report, err, ErrDamaged)
	if p.Kind != NotOpenable || p.Path != list[2].Path || !p.Newest || p.Ranges != nil || !strings.Contains(p.Detail, "SHA-512") {
		t.Errorf("%+v", p)
	}
}

// That no key fits is no damage, and hides none.
func TestWrongKey(t *testing.T) {
	t.Parallel()
	a := newArchive(t, "curve")
	n := a.night("s", files{}.random(rand.New(rand.NewPCG(42, 4)), "f", 9, 1))
	o := a.options()
	o.Opener = envelope.NewOpener(keystest.Private(t, "chipster"))
	report, err := Run(t.Context(), o)
	if !errors.Is(err, envelope.ErrKey) || errors.Is(err, ErrDamaged) || report.Kinds[NotOpenable] != 10 || report.Count != 10 {
		t.Errorf("%v: %+v", err, report)
	}
	e := a.lists[n][3]
	b, err := os.ReadFile(a.file(n, e.SealedPath))
	must(t, err)
	b[len(b)-1]++
	must(t, os.WriteFile(a.file(n, e.SealedPath), b, 0o644))
	report, err = Run(t.Context(), o)
	if !errors.Is(err, ErrDamaged) || errors.Is(err, envelope.ErrKey) || report.Kinds[NotOpenable] != 9 || report.Kinds[Changed] != 1 {
		t.Errorf("%v: %+v", err, report)
	}
}

// A problem tells which versions it is of, and whether the newest one is.
func TestVersionsOfProblems(t *testing.T) {
	t.Parallel()
	a := newArchive(t, "")
	x, y := []byte("x"), []byte("y")
	first := a.night("s", files{"all": x, "old": x, "ab/replaced": x})
	second := a.night("s", files{"all": x, "old": x, "ab/replaced": y})
	third := a.night("s", files{"all": x, "ab/replaced": y})
	for _, place := range []string{a.file(third, "all.lz4"), a.file(second, "old.lz4"), a.file(first, "ab/replaced.lz4")} {
		b, err := os.ReadFile(place)
		must(t, err)
		b[9]++
		must(t, os.WriteFile(place, b, 0o644))
	}
	report, err := Run(t.Context(), a.options())
	if !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
	var got []string
	for _, p := range report.Problems {
		got = append(got, fmt.Sprintln(p.Path, p.Folder, p.First, p.Last, p.Newest, p.Entry.SealedPath == p.SealedPath))
	}
	want := []string{
		fmt.Sprintln("ab/replaced", first, first, first, false, true),
		fmt.Sprintln("all", third, first, third, true, true),
		fmt.Sprintln("old", second, first, second, false, true),
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
}

// A missing file of an old version, of which another one has the plain file, is
// none; of the newest version it is.
func TestHealed(t *testing.T) {
	t.Parallel()
	a := newArchive(t, "curve")
	plain := files{"a": []byte("a"), "b": []byte("b")}
	first := a.night("s", plain)
	delete(a.plain, "s") // so that it is sealed anew
	second := a.night("s", plain)
	o := a.options()
	mustBeFine(t, o)
	must(t, os.Remove(a.file(first, "a.lz4.gpg")))
	if report := mustBeFine(t, o); report.Healed != 1 || report.Files != 4 {
		t.Errorf("%+v", report)
	}
	must(t, os.Remove(a.file(second, "b.lz4.gpg")))
	report, err := Run(t.Context(), o)
	if p := only(t, report, err, ErrDamaged); p.Kind != Missing || p.Folder != second.String() || !p.Newest || !strings.Contains(p.Detail, first.String()) {
		t.Errorf("%+v", p)
	}
	must(t, os.Remove(a.file(first, "b.lz4.gpg")))
	if report, err := Run(t.Context(), o); !errors.Is(err, ErrDamaged) || report.Kinds[Missing] != 2 || report.Healed != 1 {
		t.Errorf("%v: %+v", err, report)
	}
	// One that is there and wrong is no missing one.
	must(t, os.WriteFile(a.file(first, "a.lz4.gpg"), []byte("short"), 0o644))
	if report, err := Run(t.Context(), o); !errors.Is(err, ErrDamaged) || report.Kinds[Truncated] != 1 || report.Healed != 0 {
		t.Errorf("%v: %+v", err, report)
	}
}

// What lies in another folder is found by all who read, and is read here too.
func TestMisplaced(t *testing.T) {
	t.Parallel()
	a := newArchive(t, "")
	first := a.night("s", files{"a": []byte("a"), "b": []byte("b")})
	second := a.night("s", files{"b": []byte("b")})
	must(t, os.Rename(a.file(first, "a.lz4"), a.file(second, "a.lz4")))
	must(t, os.Rename(a.file(second, "b.lz4"), a.file(first, "b.lz4")))
	o := a.options()
	if report := mustBeFine(t, o); report.Misplaced != 2 || report.Read.Files != 2 {
		t.Errorf("%+v", report)
	}
	b, err := os.ReadFile(a.file(first, "b.lz4"))
	must(t, err)
	b[8]++ // which the catalog's search remembers as right
	must(t, os.WriteFile(a.file(first, "b.lz4"), b, 0o644))
	report, err := Run(t.Context(), o)
	if !errors.Is(err, ErrDamaged) || report.Count == 0 {
		t.Errorf("%v: %+v", err, report)
	}
}

// Folders without a list, and the archiver's own, are no damage; a file in the
// first that was on its way is found.
func TestUnfinished(t *testing.T) {
	t.Parallel()
	a := newArchive(t, "")
	first := a.night("s", files{"a": []byte("a"), "b": []byte("b")})
	next := strings.Replace(first.String(), "2026-01-01", "2026-01-02", 1)
	must(t, os.MkdirAll(filepath.Join(a.root, next), 0o755))
	must(t, os.Rename(a.file(first, "b.lz4"), filepath.Join(a.root, next, "b.lz4")))
	must(t, os.WriteFile(filepath.Join(a.root, next, "new.lz4"), []byte("new"), 0o644))
	for _, name := range []string{".firn/download/x", ".firn/damaged/y/z", "lost+found/1", first.String() + "/backup-info", first.String() + "/backup-info.sig"} {
		must(t, os.MkdirAll(filepath.Join(a.root, filepath.Dir(name)), 0o755))
		must(t, os.WriteFile(filepath.Join(a.root, name), []byte("x"), 0o644))
	}
	if report := mustBeFine(t, a.options()); !slices.Equal(report.Unfinished, []string{next}) || report.Misplaced != 1 || report.Files != 2 {
		t.Errorf("%+v", report)
	}
}

// A list that cannot be read is said, and is no reason to call its files extra.
func TestLists(t *testing.T) {
	t.Parallel()
	a := threeNights(t, rand.New(rand.NewPCG(42, 5)), "")
	n := a.versions["file-storage"][1]
	must(t, os.Truncate(a.file(n, manifest.ArchiveInfo), 1000))
	report, err := Run(t.Context(), a.options())
	if !errors.Is(err, ErrDamaged) || report.Count != 0 || report.Versions != 6 || len(report.Lists) != 1 || report.Lists[0].Version != n.String() || report.Lists[0].Reason == "" {
		t.Errorf("%v: %+v", err, report)
	}
}

// Versions that nobody trusted signed are said, and are no damage by themselves.
func TestUntrusted(t *testing.T) {
	t.Parallel()
	a := newArchive(t, "")
	first := a.night("s", files{"a": []byte("a"), "b": []byte("b")})
	trusted, err := signature.NewTrusted(keystest.Private(t, "curve"))
	must(t, err)
	o := a.options()
	if o.Catalog, err = catalog.Open(t.Context(), a.root, catalog.Options{Path: filepath.Join(t.TempDir(), "c"), Trust: &trusted, Logger: quiet}); err != nil {
		t.Fatal(err)
	}
	defer o.Catalog.Close()
	must(t, os.WriteFile(a.file(first, "extra"), nil, 0o644)) // as may be all others there
	report, err := Run(t.Context(), o)
	if !errors.Is(err, signature.ErrUntrusted) || errors.Is(err, ErrDamaged) || report.Count != 0 || len(report.Lists) != 1 || !report.Lists[0].Untrusted {
		t.Errorf("%v: %+v", err, report)
	}
}

func TestStorages(t *testing.T) {
	t.Parallel()
	a := newArchive(t, "")
	for _, storage := range []string{"a", "b"} {
		n := a.night(storage, files{"file": []byte(storage)})
		must(t, os.WriteFile(a.file(n, "extra"), nil, 0o644))
		must(t, os.MkdirAll(filepath.Join(a.root, storage+"_2030-01-01T00:00:00Z"), 0o755))
	}
	o := a.options()
	o.Storages = []string{"b"}
	report, err := Run(t.Context(), o)
	if p := only(t, report, err, ErrDamaged); p.Kind != Extra || p.Storage != "b" || report.Files != 1 || report.Storages != 1 || len(report.Unfinished) != 1 {
		t.Errorf("%+v", report)
	}
	for _, storages := range [][]string{{"c"}, {"a", "c"}} {
		o.Storages = storages
		if _, err := Run(t.Context(), o); !errors.Is(err, catalog.ErrNoVersion) || errors.Is(err, ErrDamaged) {
			t.Error(err)
		}
	}
	// An archive without versions is one whose disk is not there.
	empty := newArchive(t, "")
	if _, err := Run(t.Context(), empty.options()); !errors.Is(err, catalog.ErrNoVersion) {
		t.Error(err)
	}
}

// Names that no terminal and no JSON can hold come out as in the lists.
func TestOddNames(t *testing.T) {
	t.Parallel()
	a := newArchive(t, "")
	n := a.night("s", files{"a\n\xff/b": []byte("x"), "c": []byte("y")})
	e := a.lists[n][0]
	must(t, os.Truncate(a.file(n, e.SealedPath), 3))
	must(t, os.WriteFile(a.file(n, "extra\n\xff"), nil, 0o644))
	report, err := Run(t.Context(), a.options())
	if !errors.Is(err, ErrDamaged) || len(report.Problems) != 2 {
		t.Fatalf("%v: %+v", err, report)
	}
	if report.Problems[0].SealedPath != "extra%0A%FF" || report.Problems[1].Path != "a%0A%FF/b" || report.Problems[1].Entry.Path != "a\n\xff/b" {
		t.Errorf("%+v", report.Problems)
	}
	text, err := json.Marshal(report)
	if err != nil || !strings.Contains(string(text), `"ranges":[{"offset":0,"length":`) || !strings.Contains(string(text), `"kinds":{"extra":1,"truncated":1}`) {
		t.Errorf("%v: %s", err, text)
	}
}

// With more problems than a report holds, none is forgotten.
func TestManyProblems(t *testing.T) {
	t.Parallel()
	a := newArchive(t, "")
	n := a.night("s", files{"a": nil})
	must(t, os.Mkdir(a.file(n, "x"), 0o755))
	for i := range maxProblems + 5 {
		must(t, os.WriteFile(a.file(n, fmt.Sprint("x/", i)), nil, 0o644))
	}
	report, err := Run(t.Context(), a.options())
	if !errors.Is(err, ErrDamaged) || report.Count != maxProblems+5 || len(report.Problems) != maxProblems || report.Extra != report.Count {
		t.Errorf("%v: %d problems, %d kept", err, report.Count, len(report.Problems))
	}
}

// A run ends at once with its context, and tells what it did.
func TestCancel(t *testing.T) {
	t.Parallel()
	a := newArchive(t, "curve")
	a.night("s", files{}.random(rand.New(rand.NewPCG(42, 6)), "f", 50, 3))
	o := a.options()
	o.BytesPerSecond = 60_000 // of which large files take their share, too
	o.Opener = opener(t)
	for name, end := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"cancelled": context.WithCancel,
		"deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		},
	} {
		ctx, cancel := end(t.Context())
		want := context.DeadlineExceeded
		if name == "cancelled" {
			want = context.Canceled
			o.Progress = func(files int, _ int64) {
				if files > 0 {
					time.AfterFunc(100*time.Millisecond, cancel)
				}
			}
		}
		begin := time.Now()
		report, err := Run(ctx, o)
		cancel()
		if took := time.Since(begin); !errors.Is(err, want) || took > 10*time.Second || report.Count != 0 || report.Read.Files == 0 || report.Read.Files > 40 {
			t.Errorf("%s: %v after %s: %+v", name, err, took, report)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if report, err := Run(ctx, o); !errors.Is(err, context.Canceled) || report == nil {
		t.Error(report, err)
	}
}

// Whatever operation of the disk fails once, the files that it is about are
// unreadable at worst, never missing or changed, and all others are read.
func TestDiskFails(t *testing.T) {
	a := newArchive(t, "curve")
	a.night("s", files{}.random(rand.New(rand.NewPCG(42, 7)), "f", 4, 1))
	a.night("s", files{}.random(rand.New(rand.NewPCG(42, 8)), "g", 4, 0))
	at := t.TempDir()
	disk := faultfs.NewFaulty(t, a.root, at)
	o := Options{Catalog: openCatalog(t, at), Root: at, Logger: quiet, Workers: 2}
	disk.Fail(0, nil)
	mustBeFine(t, o)
	n, _ := disk.Operations()
	unread, failed := 0, 0
	for i := 1; i <= n; i += faultfs.Stride(7) {
		for _, errno := range []unix.Errno{unix.EIO, unix.ESTALE} {
			if errno == unix.EIO {
				o.Opener = opener(t)
			} else {
				o.Opener = nil
			}
			disk.Fail(errno, func(n int, _ string) bool { return n == i })
			report, err := Run(t.Context(), o)
			disk.Fail(0, nil)
			switch {
			case err != nil && !errors.Is(err, ErrDamaged):
				failed++ // the archive's folder, say
			case report.Count != report.Kinds[Unreadable] || report.Count > 1 || report.Files != 9:
				t.Fatalf("operation %d, %v: %v, %+v", i, errno, err, report)
			case report.Count == 1:
				unread++
			}
		}
		if _, err := o.Catalog.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d operations; %d runs with a file that cannot be read, %d that ended early", n, unread, failed)
	if unread < 5 {
		t.Errorf("only %d runs with a file that cannot be read", unread)
	}
}
