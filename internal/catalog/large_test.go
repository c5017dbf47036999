package catalog

import (
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chipster/firn/internal/manifest"
)

// large makes lists of many lines, in no order. Each night one in a hundred is
// gone, one is new, and one is another file.
type large struct {
	lines int
}

func (l large) entry(i, night int) manifest.Entry {
	sum := sha512.Sum512(fmt.Append(nil, i))
	id := hex.EncodeToString(sum[:16])
	path := id[:2] + "/" + id
	changed := max(0, night-i%100) / 100 // how often it changed
	sum[20] = byte(changed)
	sum[21] = byte(changed >> 8)
	return manifest.Entry{
		Path: path, Size: int64(i), SHA512: sum, SealedPath: path + ".lz4.gpg", SealedSize: int64(i) + 600, SealedSHA512: sum,
		Details: manifest.Details{Modified: time.Unix(1557307577, int64(i%1e9)), Mode: fs.FileMode(0o640), HasMode: true,
			Package: "0000_small_files.tar", Offset: int64(i) * 1024, Key: "3f2a9b1c4d5e6f70"},
	}
}

// write writes the list of a night.
func (l large) write(t testing.TB, a *archive, day int) {
	t.Helper()
	n := night(t, "s", day)
	must(t, os.MkdirAll(a.file(n, ""), 0o755))
	f, err := os.Create(a.file(n, manifest.ArchiveInfo))
	must(t, err)
	w := manifest.NewWriter(f)
	first := day * l.lines / 100
	for i := first; i < first+l.lines; i++ {
		e := l.entry(i, day+100)
		e.Backup = n
		must(t, w.Write(&e))
	}
	must(t, errors.Join(w.Flush(), f.Close()))
}

// Readers, of this process and of others, go on while a night is added, for as
// long as that takes.
func TestReadersGoOn(t *testing.T) {
	a, l := newArchive(t), large{40_000}
	if underRace {
		l.lines /= 10
	}
	l.write(t, a, 0)
	database := filepath.Join(t.TempDir(), "c.sqlite")
	reader := a.open(database)
	v, err := reader.Find(t.Context(), "s/latest")
	must(t, err)
	l.write(t, a, 1)

	read := func(c *Catalog) {
		for name := range map[string]bool{"": true, l.entry(l.lines/2, 100).Path: true} {
			if _, err := c.Lookup(t.Context(), v, name); err != nil {
				t.Error(err)
			}
		}
		nodes := 0
		for _, err := range c.ReadDir(t.Context(), v, "0a") {
			if nodes++; err != nil {
				t.Error(err)
			}
		}
		if versions, err := c.Versions(t.Context(), ""); err != nil || nodes == 0 || len(versions) == 0 {
			t.Errorf("%d versions, %d nodes, %v", len(versions), nodes, err)
		}
	}
	var writer *Catalog
	stop, longest := make(chan bool), make(chan time.Duration)
	go func() {
		var most time.Duration
		for reads := 0; ; reads++ {
			began := time.Now()
			read(reader)
			most = max(most, time.Since(began))
			select {
			case <-stop:
				longest <- most
				return
			default:
			}
		}
	}()
	inside := 0
	writer, err = Open(t.Context(), a.root, Options{Path: database, Logger: quiet, Progress: func(p Progress) {
		if inside < 3 { // the transaction is open, and waits for the readers
			inside++
			read(reader)
		}
	}})
	must(t, err)
	close(stop)
	if most := <-longest; inside == 0 || most > 5*time.Second {
		t.Errorf("%d times inside, and a reader waited for %s", inside, most)
	}
	must(t, writer.Close())
	if refresh(t, reader) == false {
		t.Error("the reader does not see the new version")
	}
}

// What is told goes forward, and ends where it was said to end.
func TestProgress(t *testing.T) {
	a, l := newArchive(t), large{2*progressLines + 1}
	const nights = 3
	var size int64
	for day := range nights {
		l.write(t, a, day)
		info, err := os.Stat(a.file(night(t, "s", day), manifest.ArchiveInfo))
		must(t, err)
		size += info.Size()
	}
	a.place(nights, []byte("no list"))
	size += int64(len("no list"))
	var all []Progress
	database := filepath.Join(t.TempDir(), "c.sqlite")
	c, err := Open(t.Context(), a.root, Options{Path: database, Logger: quiet, Progress: func(p Progress) { all = append(all, p) }})
	must(t, err)
	must(t, c.Close())
	if len(all) != nights*3+1 {
		t.Fatalf("told %d times", len(all))
	}
	for i, p := range all {
		if p.TotalBytes != size || p.Versions != nights+1 || i > 0 && (p.Bytes < all[i-1].Bytes || p.Done < all[i-1].Done) {
			t.Errorf("%+v", p)
		}
	}
	if p := all[1]; p.Lines != 2*progressLines || p.Version != night(t, "s", 0) || p.Bytes == 0 || p.Done != 0 {
		t.Errorf("%+v", p)
	}
	if p := all[len(all)-1]; p.Bytes != size || p.Done != nights+1 {
		t.Errorf("%+v", p)
	}
}

// What a first list costs, and each one that follows.
func BenchmarkNights(b *testing.B) {
	for _, lines := range []int{10_000, 100_000, 1_000_000} {
		a := &archive{t: b, root: b.TempDir()}
		l := large{lines}
		l.write(b, a, 0)
		database := filepath.Join(b.TempDir(), "c.sqlite")
		b.Run(fmt.Sprintf("%d/first", lines), func(b *testing.B) {
			for b.Loop() {
				must(b, os.RemoveAll(database))
				must(b, a.open(database).Close())
			}
		})
		c := a.open(database)
		oldest, day := 0, 0
		b.Run(fmt.Sprintf("%d/night", lines), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				day++
				l.write(b, a, day)
				b.StartTimer()
				refresh(b, c)
			}
		})
		b.Run(fmt.Sprintf("%d/oldest removed", lines), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				day++
				l.write(b, a, day)
				refresh(b, c)
				must(b, os.RemoveAll(a.file(night(b, "s", oldest), "")))
				oldest++
				b.StartTimer()
				refresh(b, c)
			}
		})
		b.Run(fmt.Sprintf("%d/newest replaced", lines), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				must(b, os.Chtimes(a.file(night(b, "s", day), manifest.ArchiveInfo), time.Now(), time.Now()))
				b.StartTimer()
				refresh(b, c)
			}
		})
	}
}
