package catalog

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/memorytest"
)

// place puts bytes where a version's list belongs.
func (a *archive) place(day int, list []byte) Version {
	a.t.Helper()
	n := night(a.t, "s", day)
	must(a.t, os.MkdirAll(a.file(n, ""), 0o755))
	must(a.t, os.WriteFile(a.file(n, manifest.ArchiveInfo), list, 0o644))
	return Version{Name: n}
}

// quiet is a catalog that does not log, for lists that it says much about.
func (a *archive) quiet(t testing.TB) *Catalog {
	t.Helper()
	c, err := Open(t.Context(), a.root, Options{Path: filepath.Join(t.TempDir(), "catalog"), Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

// lines makes a list of some entries that a change is made to.
func (a *archive) lines(day, count int, change func(i int, e *manifest.Entry)) []byte {
	a.t.Helper()
	var b strings.Builder
	w := manifest.NewWriter(&b)
	for i := range count {
		e := seal(fmt.Sprintf("f%06d", i), "x").Entry
		e.Backup = night(a.t, "s", day)
		change(i, &e)
		must(a.t, w.Write(&e))
	}
	must(a.t, w.Flush())
	return []byte(b.String())
}

// A list that is hostile makes its version damaged and no other, with a message
// that can be shown, and within little memory and time.
func TestHostileLists(t *testing.T) {
	a := newArchive(t)
	files := listing{"a/b": seal("a/b", "1"), "c": seal("c", "1")}
	a.archive(night(t, "s", 0), files)
	good := string(a.list(night(t, "s", 0), files))
	same := func(int, *manifest.Entry) {}
	bad := []string{
		1: string(a.lines(1, 1, same)[10:]),
		2: good + strings.Repeat("x", 70<<20) + "\n",
		3: good + strings.Repeat("a\t", 1<<20) + "\n",
		4: strings.Replace(good, "c\t", "../c\t", 1),
		5: strings.Replace(good, "c\t", strings.Repeat("c/", 3000)+"c\t", 1),
		6: strings.Replace(good, "\n", "\tname="+strings.Repeat("%", 1<<20)+"\n", 1),
		7: strings.Replace(good, "\n", "\tmtime=-9223372036854775808.000000001\n", 1),
		8: strings.Replace(good, "_2", "_"+strings.Repeat("\x01", 1<<20), 1),
		9: string(a.lines(9, 1, func(_ int, e *manifest.Entry) { e.Path = "a" })) + string(a.lines(9, 1, func(_ int, e *manifest.Entry) { e.Path = strings.Repeat("a/", 500) + "b" })),
	}
	for day, list := range bad[1:] {
		a.place(day+1, []byte(list))
	}
	a.archive(night(t, "s", 20), files)
	var c *Catalog
	began := time.Now()
	memory := memorytest.Peak(func() { c = a.quiet(t) })
	if took := time.Since(began); memory > 400<<20 || took > 60*time.Second {
		t.Errorf("%d MiB and %s", memory>>20, took)
	}
	why := damaged(t, c)
	if len(why) != len(bad)-1 {
		t.Errorf("%d damaged versions of %d", len(why), len(bad)-1)
	}
	for day, text := range why {
		if len(text) > 3000 {
			t.Errorf("%s: a message of %d bytes", day, len(text))
		}
	}
	for _, day := range []int{0, 20} {
		v, err := c.Find(t.Context(), night(t, "s", day).String())
		must(t, err)
		a.checkVersion(c, v)
	}
}

// listSeeds are lists of all kinds.
func listSeeds(t testing.TB) [][]byte {
	a := newArchive(t)
	n := night(t, "s", 0)
	files := listing{"a/b": seal("a/b", "1"), "c": seal("c", "1"), "a/d/e": seal("a/d/e", "")}
	whole := a.list(n, files)
	return [][]byte{
		nil, whole, whole[:len(whole)-1], append(whole[:len(whole):len(whole)], whole...), []byte("x\n"),
		append(whole[:len(whole):len(whole)], a.list(n, listing{"a": seal("a", "1")})...),
		a.lines(0, 2, func(i int, e *manifest.Entry) { e.Path = fmt.Sprintf("n\n%d%%41", i) }),
		a.lines(0, 1, func(i int, e *manifest.Entry) { e.Rows = manifest.Rows{"a": {"b": 1}}; e.Other = []string{"x", "y=z"} }),
	}
}

func TestListSeedsExist(t *testing.T) {
	if n := len(listSeeds(t)); n < 8 {
		t.Errorf("%d seeds", n)
	}
}

// Whatever a list: the version has exactly its entries, or is damaged, and the
// one before it is as it was.
func FuzzList(f *testing.F) {
	for _, seed := range listSeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, list []byte) {
		a := newArchive(t)
		a.archive(night(t, "s", 0), listing{"a/b": seal("a/b", "1"), "z": seal("z", "1")})
		v := a.place(1, list)
		c := a.quiet(t)
		old, err := c.Find(t.Context(), night(t, "s", 0).String())
		must(t, err)
		a.checkVersion(c, old)
		want := map[string]string{}
		lines := 0
		var listErr error
		for e, err := range manifest.Read(strings.NewReader(string(list))) {
			if listErr = err; err == nil {
				lines++
				want[e.Path] = e.SealedPath + e.SHA512.String() + e.ExtraColumns()
			}
		}
		got := 0
		for e, err := range c.Files(t.Context(), v, "") {
			if errors.Is(err, ErrDamaged) {
				return
			}
			must(t, err)
			if got++; want[e.Path] != e.SealedPath+e.SHA512.String()+e.ExtraColumns() {
				t.Errorf("%q is %+v", e.Path, e)
			}
		}
		if listErr != nil || got != lines || len(want) != lines {
			t.Errorf("%d files of %d lines, %v", got, lines, listErr)
		}
	})
}
