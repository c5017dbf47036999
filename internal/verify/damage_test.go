package verify

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/keys/keystest"
	"github.com/chipster/firn/internal/manifest"
)

// plant is damage that a test did to one place.
type plant struct {
	kind  Kind
	bytes []int64 // of the sealed file that are wrong, missing or too many
}

// planter damages an archive, and mends it again.
type planter struct {
	*rand.Rand
	t      testing.TB
	a      *archive
	plants map[string]plant // by the path below the archive's root
	mend   []func()
}

func (p *planter) path(e *manifest.Entry) string { return p.a.file(e.Backup, e.SealedPath) }

func (p *planter) note(e *manifest.Entry, kind Kind, bytes ...int64) {
	p.plants[e.Backup.String()+"/"+e.SealedPath] = plant{kind, bytes}
}

// replace puts other bytes into the place of a file.
func (p *planter) replace(e *manifest.Entry, content []byte) {
	p.t.Helper()
	was, err := os.ReadFile(p.path(e))
	must(p.t, err)
	must(p.t, os.WriteFile(p.path(e), content, 0o644))
	p.mend = append(p.mend, func() { must(p.t, os.WriteFile(p.path(e), was, 0o644)) })
}

// away takes a file away, and returns where it is.
func (p *planter) away(e *manifest.Entry) string {
	p.t.Helper()
	to := filepath.Join(p.t.TempDir(), "away")
	must(p.t, os.Rename(p.path(e), to))
	p.mend = append(p.mend, func() {
		must(p.t, os.RemoveAll(p.path(e)))
		must(p.t, os.Rename(to, p.path(e)))
	})
	return to
}

func (p *planter) flip(e *manifest.Entry) {
	p.t.Helper()
	b, err := os.ReadFile(p.path(e))
	must(p.t, err)
	var at []int64
	for range 1 + p.IntN(3) {
		i := p.IntN(len(b))
		if !slices.Contains(at, int64(i)) {
			b[i] ^= 1 << p.IntN(8)
			at = append(at, int64(i))
		}
	}
	p.replace(e, b)
	p.note(e, Changed, at...)
}

func (p *planter) cut(e *manifest.Entry) {
	p.t.Helper()
	b, err := os.ReadFile(p.path(e))
	must(p.t, err)
	size := p.IntN(len(b))
	p.replace(e, b[:size])
	p.note(e, Truncated, int64(size), int64(len(b))-1)
}

func (p *planter) lengthen(e *manifest.Entry) {
	p.t.Helper()
	b, err := os.ReadFile(p.path(e))
	must(p.t, err)
	more := randomBytes(p.Rand, 1+p.IntN(100))
	p.replace(e, slices.Concat(b, more))
	p.note(e, Longer, int64(len(b)), int64(len(b)+len(more))-1)
}

func (p *planter) lose(e *manifest.Entry) {
	p.t.Helper()
	p.away(e)
	switch p.IntN(5) {
	case 0:
		must(p.t, os.Mkdir(p.path(e), 0o755))
	case 1:
		must(p.t, os.Symlink("/etc/passwd", p.path(e)))
	case 2:
		must(p.t, unix.Mkfifo(p.path(e), 0o644)) // whoever opens it waits
	}
	p.note(e, Missing)
}

func (p *planter) swap(e, o *manifest.Entry) {
	p.t.Helper()
	b, err := os.ReadFile(p.path(e))
	c, cerr := os.ReadFile(p.path(o))
	must(p.t, errors.Join(err, cerr))
	p.replace(e, c)
	p.replace(o, b)
	p.note(e, Swapped, 0, max(e.SealedSize, o.SealedSize)-1)
	p.note(o, Swapped, 0, max(e.SealedSize, o.SealedSize)-1)
}

func (p *planter) add(e *manifest.Entry) {
	p.t.Helper()
	name := filepath.Join(filepath.Dir(p.path(e)), fmt.Sprintf("extra-%d", p.Uint32()))
	must(p.t, os.WriteFile(name, []byte("extra"), 0o644))
	p.mend = append(p.mend, func() { must(p.t, os.Remove(name)) })
	rel, err := filepath.Rel(p.a.root, name)
	must(p.t, err)
	p.plants[rel] = plant{kind: Extra}
}

// Whatever is planted, however much of it at once, is found and located; and
// nothing else is reported.
func TestDamage(t *testing.T) {
	t.Parallel()
	planted, found, located := map[Kind]int{}, map[Kind]int{}, 0
	wrong, rounds := 0, 12
	for i, key := range []string{"curve", ""} {
		random := rand.New(rand.NewPCG(41, uint64(i)))
		a := threeNights(t, random, key)
		all := a.sealed()
		o := a.options()
		if report := mustBeFine(t, o); report.Files != int64(len(all)) || report.Misplaced != 0 || report.Healed != 0 || report.Read.Files != report.Files ||
			report.Read.Bytes != report.Bytes || report.Storages != 2 || report.Versions != 6 {
			t.Fatalf("%+v, with %d files", report, len(all))
		}
		for round := range rounds {
			o.Opener = nil
			if round%2 == 1 {
				o.Opener = opener(t)
			}
			p := &planter{random, t, a, map[string]plant{}, nil}
			chosen := random.Perm(len(all))[:1+random.IntN(8)]
			for len(chosen) > 0 {
				e := &all[chosen[0]]
				chosen = chosen[1:]
				switch random.IntN(7) {
				case 0, 1:
					p.flip(e)
				case 2:
					p.cut(e)
				case 3:
					p.lengthen(e)
				case 4:
					p.lose(e)
				case 5:
					p.add(e)
				case 6:
					if len(chosen) == 0 {
						p.flip(e)
						continue
					}
					p.swap(e, &all[chosen[0]])
					chosen = chosen[1:]
				}
			}
			report, err := Run(t.Context(), o)
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("round %d: %v", round, err)
			}
			for _, plant := range p.plants {
				planted[plant.kind]++
				wrong += len(plant.bytes)
			}
			located += checkProblems(t, report, p.plants, found)
			for _, mend := range slices.Backward(p.mend) {
				mend()
			}
			mustBeFine(t, Options{Catalog: o.Catalog, Root: a.root, Logger: quiet, Sample: 0.001})
		}
	}
	if !maps.Equal(planted, found) || wrong != located || len(planted) != 6 {
		t.Errorf("planted %v, found %v; wrong bytes planted %d, located %d", planted, found, wrong, located)
	}
	t.Logf("planted %v, found %v; wrong bytes planted %d, located %d", planted, found, wrong, located)
}

// checkProblems compares a report with what was planted, and returns how many of
// the bytes are in a range.
func checkProblems(t *testing.T, report *Report, plants map[string]plant, found map[Kind]int) (located int) {
	t.Helper()
	if report.Count != int64(len(plants)) || len(report.Problems) != len(plants) {
		t.Errorf("%d problems, planted %d", report.Count, len(plants))
	}
	for _, p := range report.Problems {
		at := p.Folder + "/" + p.SealedPath
		plant, ok := plants[at]
		if !ok || p.Kind != plant.kind {
			t.Errorf("%s: %s (%s); planted %q", at, p.Kind, p.Detail, plant.kind)
			continue
		}
		found[p.Kind]++
		if isExtra := p.Kind == Extra; isExtra != (p.Entry == nil) || isExtra != (p.Path == "") || isExtra != (p.Last == "") || p.Detail == "" {
			t.Errorf("%+v", p)
		}
		for _, b := range plant.bytes {
			if slices.ContainsFunc(p.Ranges, func(r envelope.Range) bool { return b >= r.Offset && b < r.Offset+r.Length }) {
				located++
			} else {
				t.Errorf("%s: byte %d is in none of %v", at, b, p.Ranges)
			}
		}
	}
	return located
}

// A file with a table of blocks is not wrong as a whole.
func TestRangesAreOfBlocks(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(41, 7))
	a := newArchive(t, "curve")
	n := a.night("s", files{}.random(random, "large", 0, 1))
	e := a.lists[n][0]
	b, err := os.ReadFile(a.file(n, e.SealedPath))
	must(t, err)
	b[10]++ // in the packet with the session key
	must(t, os.WriteFile(a.file(n, e.SealedPath), b, 0o644))
	report, err := Run(t.Context(), a.options())
	if !errors.Is(err, ErrDamaged) || len(report.Problems) != 1 || len(report.Problems[0].Ranges) != 1 {
		t.Fatalf("%v: %+v", err, report)
	}
	if r := report.Problems[0].Ranges[0]; r.Length > 2<<10 {
		t.Errorf("%+v of %d bytes", r, len(b))
	}
}

// Of what the original system left, each byte counts too.
func TestDamageToOriginals(t *testing.T) {
	t.Parallel()
	planted, found, located := 0, 0, 0
	for i, kind := range []string{"rsa", "curve", "passphrase", "plain"} {
		random := rand.New(rand.NewPCG(41, uint64(10+i)))
		root := filepath.Join(t.TempDir(), "archive")
		must(t, os.CopyFS(root, os.DirFS(filepath.Join(original, kind, "archive"))))
		o := Options{Catalog: openCatalog(t, root), Root: root, Logger: quiet}
		report := mustBeFine(t, o)
		if report.Files < 8 || report.Misplaced != 0 || report.Versions != 4 || report.Read.Files != report.Files {
			t.Fatalf("%s: %+v", kind, report)
		}
		withKey := o
		withKey.Opener = envelope.NewOpener(slices.Concat(keystest.Private(t, "chipster"), keystest.Private(t, "curve")), passphrase(t))
		mustBeFine(t, withKey)
		var sealed []string
		must(t, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() && d.Name() != manifest.ArchiveInfo {
				sealed = append(sealed, path)
			}
			return err
		}))
		for range 25 {
			file := sealed[random.IntN(len(sealed))]
			b, err := os.ReadFile(file)
			must(t, err)
			bad := bytes.Clone(b)
			at := int64(random.IntN(len(bad)))
			bad[at] ^= 1 << random.IntN(8)
			must(t, os.WriteFile(file, bad, 0o644))
			planted++
			report, err := Run(t.Context(), o)
			if !errors.Is(err, ErrDamaged) || report.Count != 1 || !strings.HasSuffix(file, report.Problems[0].Folder+"/"+report.Problems[0].SealedPath) {
				t.Fatalf("%s: byte %d of %s: %v, %+v", kind, at, file, err, report)
			}
			found++
			for _, r := range report.Problems[0].Ranges {
				if at >= r.Offset && at < r.Offset+r.Length {
					located++
				}
			}
			must(t, os.WriteFile(file, b, 0o644))
		}
	}
	if planted != found || planted != located {
		t.Errorf("planted %d, found %d, located %d", planted, found, located)
	}
	t.Logf("planted %d, found %d, located %d", planted, found, located)
}

func passphrase(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(original, "keys", "passphrase.txt"))
	must(t, err)
	return bytes.TrimSpace(b)
}
