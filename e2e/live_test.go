package e2e

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	keepLast = 3 // versions that stay
	readers  = 4
	// held is a file that differs in every version and that no reader touches,
	// so that nothing of it is in any cache; still is the same in most.
	held, still = "held", "still"
)

// live is an archive that many read in a mount while nights go on.
type live struct {
	*nights
	mount string
	begin time.Time // of the first version: old enough for all but the newest to go
	mu    sync.Mutex
	known map[string]night // all versions that were ever archived, by name
	sure  []string         // versions that were seen in the mount and are to stay

	listings, reads, bytes, offsets, gone, misled atomic.Int64
}

func newLive(t *testing.T) *live {
	w := newWorld(t).withFolder()
	withNewKey(w)
	return &live{
		nights: &nights{world: w, site: newSite(t, w.storage)},
		begin:  time.Now().UTC().AddDate(0, 0, -6).Truncate(time.Minute), known: map[string]night{},
	}
}

// TestLiveMount reads in a mount, in many ways at once, while an archiver moves
// files under it and deletes versions.
func TestLiveMount(t *testing.T) {
	t.Parallel()
	l := newLive(t)
	l.site.fill(150, 5)
	l.site.write("large", l.site.content(8<<20))
	l.site.write(still, l.site.content(8<<20))
	l.night()

	open := l.open
	l.open = append(slices.Clone(open), "--cache-size=32MiB") // so that blocks are dropped
	l.mount = l.world.mount()
	l.open = open
	l.await(inMount(l.mount, l.all[0].backup))

	ctx, stop := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	defer reading.Wait()
	defer stop()
	for i := range readers {
		reading.Go(func() {
			if err := l.readOn(ctx, rand.New(rand.NewPCG(uint64(i), 3))); err != nil {
				t.Errorf("reader %d: %v", i, err)
				stop()
			}
		})
	}
	holding := []openVersion{l.hold(l.all[0])}
	archived, pruned, afterwards := 1, 0, int64(0)
	// On a slow machine too, a version goes and is read afterwards.
	for end := time.Now().Add(soakTime(t, 12*time.Second)); (time.Now().Before(end) || archived < keepLast+3) && ctx.Err() == nil; archived++ {
		l.site.day()
		pruned += l.night()
		holding = append(holding, l.hold(l.all[len(l.all)-1]))
		if oldest := holding[0]; len(holding) > keepLast+1 { // went in the archiving before
			if !l.isPruned(oldest.backup) {
				t.Errorf("%s is still there", oldest.backup)
			}
			afterwards += l.readHeld(oldest)
			holding = holding[1:]
		}
	}
	stop()
	reading.Wait()
	for _, o := range holding {
		l.readHeld(o)
	}
	l.checkLive()
	t.Logf("%d archivings, %d versions pruned, %d listings, %d whole files and %d parts read, %.1f GB; %d bytes of pruned versions through open files; %d times a version was gone",
		archived, pruned, l.listings.Load(), l.reads.Load(), l.offsets.Load(), float64(l.bytes.Load())/1e9, afterwards, l.gone.Load())
	if n := l.misled.Load(); n > 0 {
		t.Errorf("%d times a version that was pruned gave an input/output error, as if it were damaged", n)
	}
	if pruned == 0 || l.listings.Load() == 0 || l.reads.Load() == 0 || l.offsets.Load() == 0 || afterwards == 0 {
		t.Error("not all was tried")
	}
}

// night backs up, makes the backup an old one, archives it, and returns how many
// versions went.
func (l *live) night() int {
	l.Helper()
	l.site.write(held, l.site.content(8<<20+len(l.all)))
	files := tree(l, l.storage)
	backup := l.backdate(l.upload())
	v := night{backup, l.keepCopy(backup), files}
	l.all = append(l.all, v)
	var goes []string
	for _, old := range l.all[max(0, len(l.all)-keepLast-1):max(0, len(l.all)-keepLast)] {
		goes = append(goes, old.backup)
	}
	l.mu.Lock()
	l.known[backup] = v
	l.sure = slices.DeleteFunc(l.sure, func(name string) bool { return slices.Contains(goes, name) })
	l.mu.Unlock()

	var report struct{ Backups, Pruned []struct{ Name string } }
	l.firnJSON(&report, "archive", l.archive, "--keep-last", strconv.Itoa(keepLast), "--keep-days=1")
	var went []string
	for _, p := range report.Pruned {
		went = append(went, p.Name)
	}
	if len(report.Backups) != 1 || report.Backups[0].Name != backup || !slices.Equal(went, goes) {
		l.Fatalf("archived %+v, which is not %s, and not %q", report, backup, goes)
	}
	if l.mount != "" {
		l.await(inMount(l.mount, backup))
	}
	l.mu.Lock()
	l.sure = append(l.sure, backup)
	l.mu.Unlock()
	return len(went)
}

// backdate gives a backup in the bucket the name of one that was made days ago,
// a minute after the one before.
func (l *live) backdate(backup string) string {
	l.Helper()
	older := "file-storage_" + l.begin.Add(time.Duration(len(l.all))*time.Minute).Format("2006-01-02T15:04:05.000Z")
	bucket := l.path("bucket")
	must(l, os.Rename(filepath.Join(bucket, backup), filepath.Join(bucket, older)))
	list := filepath.Join(bucket, older, "backup-info")
	data, err := os.ReadFile(list)
	must(l, err)
	must(l, os.WriteFile(list, bytes.ReplaceAll(data, []byte(backup), []byte(older)), 0o600))
	return older
}

// openVersion is files of a version that are held open, and of which nothing was
// read yet.
type openVersion struct {
	night
	open map[string]*os.File
}

func (l *live) hold(v night) openVersion {
	l.Helper()
	o := openVersion{v, map[string]*os.File{}}
	for _, name := range []string{held, still} {
		if v.files[name].size == 0 {
			continue // users delete and rename what they like
		}
		f, err := os.Open(inMount(l.mount, v.backup) + "/" + name)
		must(l, err)
		l.Cleanup(func() { _ = f.Close() })
		o.open[name] = f
	}
	return o
}

// readHeld reads what was held open, and returns how many bytes.
func (l *live) readHeld(o openVersion) (n int64) {
	l.Helper()
	for name, f := range o.open {
		sum := sha512.New()
		size, err := io.Copy(sum, f)
		if want := o.files[name]; err != nil || hex.EncodeToString(sum.Sum(nil)) != want.hash {
			l.Errorf("%s: %q was held open; read are %d bytes of %d, %v", o.backup, name, size, want.size, err)
		}
		must(l, f.Close())
		n += size
	}
	return n
}

// readOn reads until ctx ends or something is wrong.
func (l *live) readOn(ctx context.Context, random *rand.Rand) error {
	for ctx.Err() == nil {
		v, err := l.choose(random)
		if err != nil {
			return err
		}
		switch random.IntN(4) {
		case 0:
			err = l.list(v)
		case 1:
			err = l.readParts(v, random)
		default:
			err = l.readFiles(v, random)
		}
		switch {
		case err == nil:
		case l.isPruned(v.backup) && isGone(err):
			l.gone.Add(1)
		case l.isPruned(v.backup) && errors.Is(err, syscall.EIO):
			l.misled.Add(1)
		default:
			return err
		}
	}
	return nil
}

func (l *live) isPruned(version string) bool {
	_, err := os.Lstat(filepath.Join(l.archive, version))
	return errors.Is(err, fs.ErrNotExist)
}

// isGone tells that an error is what one is to get of a version that is gone.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESTALE)
}

// choose lists the versions and takes one.
func (l *live) choose(random *rand.Rand) (night, error) {
	l.mu.Lock()
	sure := slices.Clone(l.sure)
	l.mu.Unlock()
	entries, err := os.ReadDir(filepath.Join(l.mount, "file-storage"))
	if err != nil {
		return night{}, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, "file-storage_"+e.Name())
		}
	}
	for _, name := range sure {
		if !slices.Contains(names, name) && !l.isPruned(name) {
			return night{}, fmt.Errorf("%s is in the archive, and the mount shows %q", name, names)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v, ok := l.known[names[random.IntN(len(names))]]
	if !ok {
		return v, fmt.Errorf("there is an unknown version in %q", names)
	}
	return v, nil
}

// list compares all folders of a version. It is whole, or there is an error.
func (l *live) list(v night) error {
	dir := inMount(l.mount, v.backup)
	found := map[string]bool{}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		path := strings.TrimPrefix(name, dir+"/")
		found[path] = true
		info, err := e.Info()
		if want := v.files[path]; err == nil && (info.Size() != want.size || !info.ModTime().Equal(want.modified)) {
			err = fmt.Errorf("%s: %q has %d bytes of %v, not %d of %v", v.backup, path, info.Size(), info.ModTime(), want.size, want.modified)
		}
		return err
	})
	if err != nil {
		return err
	}
	for path := range v.files {
		if !found[path] {
			return fmt.Errorf("%s: %q is not listed", v.backup, path)
		}
	}
	if len(found) != len(v.files) {
		return fmt.Errorf("%s: %d files are listed, not %d", v.backup, len(found), len(v.files))
	}
	l.listings.Add(1)
	return nil
}

// some are files of a version in no order.
func some(v night, n int, random *rand.Rand, usable func(path string, f file) bool) (paths []string) {
	for path, f := range v.files {
		if path != held && path != still && usable(path, f) {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	random.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
	return paths[:min(n, len(paths))]
}

func (l *live) readFiles(v night, random *rand.Rand) error {
	for _, path := range some(v, 25, random, func(string, file) bool { return true }) {
		hash, err := hashOf(inMount(l.mount, v.backup) + "/" + path)
		if err != nil {
			return err
		}
		if hash != v.files[path].hash {
			return fmt.Errorf("%s: %q has other content", v.backup, path)
		}
		l.reads.Add(1)
		l.bytes.Add(v.files[path].size)
	}
	return nil
}

// readParts reads here and there in files of many blocks.
func (l *live) readParts(v night, random *rand.Rand) error {
	for _, path := range some(v, 3, random, func(_ string, f file) bool { return f.size > 2<<20 }) {
		if err := l.readPartsOf(v, path, random); err != nil {
			return err
		}
	}
	return nil
}

func (l *live) readPartsOf(v night, path string, random *rand.Rand) error {
	want, err := os.Open(v.copy + "/" + path)
	if err != nil {
		return err
	}
	defer want.Close()
	got, err := os.Open(inMount(l.mount, v.backup) + "/" + path)
	if err != nil {
		return err
	}
	defer got.Close()
	for range 12 {
		size := 1 + random.IntN(1<<uint(random.IntN(20)))
		at := random.Int64N(v.files[path].size - int64(size))
		a, b := make([]byte, size), make([]byte, size)
		if _, err := want.ReadAt(a, at); err != nil {
			return err
		}
		if _, err := got.ReadAt(b, at); err != nil {
			return err
		}
		if !bytes.Equal(a, b) {
			return fmt.Errorf("%s: %q has other bytes from %d on, in %d", v.backup, path, at, size)
		}
		l.offsets.Add(1)
		l.bytes.Add(int64(size))
	}
	return nil
}

// checkLive looks at what is left when all is quiet.
func (l *live) checkLive() {
	l.Helper()
	var left []string
	for _, v := range l.all[len(l.all)-min(keepLast, len(l.all)):] {
		left = append(left, v.backup)
		l.checkRsync(v.copy, inMount(l.mount, v.backup))
	}
	l.checkArchive(left)
	var stats struct {
		OpenFiles int
		Errors    map[string]int64
	}
	// The kernel tells the mount of the last closing after the program.
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		data, err := os.ReadFile(filepath.Join(l.mount, ".firn-stats"))
		must(l, err)
		must(l, json.Unmarshal(data, &stats))
		if stats.OpenFiles == 0 || time.Now().After(end) {
			break
		}
	}
	maps.DeleteFunc(stats.Errors, func(name string, _ int64) bool { return name == "ENOENT" || name == "ESTALE" || name == "EINTR" })
	if stats.OpenFiles != 0 || len(stats.Errors) > 0 {
		l.Errorf("at the end %d sealed files are still open, and programs were told %v", stats.OpenFiles, stats.Errors)
	}
}
