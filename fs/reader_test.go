package fs

import (
	"bytes"
	"context"
	"crypto/sha512"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/keys/keystest"
	"github.com/chipster/firn/internal/manifest"
)

const original = "../testdata/original"

// sealedBytes counts the reads and the closes of a sealed file in memory. It can
// keep who reads waiting.
type sealedBytes struct {
	*bytes.Reader
	bytes  atomic.Int64
	closed atomic.Int64
	hold   atomic.Pointer[chan struct{}]
}

func (s *sealedBytes) ReadAt(p []byte, off int64) (int, error) {
	if hold := s.hold.Load(); hold != nil {
		<-*hold
	}
	n, err := s.Reader.ReadAt(p, off)
	s.bytes.Add(int64(n))
	return n, err
}

func (s *sealedBytes) Close() error {
	s.closed.Add(1)
	return nil
}

// content makes data of which about half compresses.
func content(size int) []byte {
	b := make([]byte, size)
	random := rand.New(rand.NewPCG(1, uint64(size)))
	for i := 0; i < size; {
		n := min(1+random.IntN(100_000), size-i)
		if random.IntN(2) == 0 {
			for j := range n {
				b[i+j] = byte(random.Uint32())
			}
		}
		i += n
	}
	return b
}

func seal(t testing.TB, r envelope.Recipients, plain []byte) ([]byte, *manifest.Entry) {
	t.Helper()
	session, err := r.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w, err := session.NewWriter(&b, int64(len(plain)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	sums, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), &manifest.Entry{
		Path: "ab/file", Size: sums.Size, SHA512: sums.SHA512,
		SealedPath: manifest.SealedPath("ab/file", r.Suffix()), SealedSize: sums.SealedSize, SealedSHA512: sums.SealedSHA512,
		Details: manifest.Details{Blocks: sums.Blocks},
	}
}

// fixture is a sealed file and the program's inside, without a mount.
type fixture struct {
	t      *tree
	plain  []byte
	sealed []byte
	entry  *manifest.Entry
}

func newTree(t testing.TB, cacheBytes int64) *tree {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	c, err := catalog.Open(t.Context(), t.TempDir(), catalog.Options{Path: filepath.Join(t.TempDir(), "c"), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	tr := &tree{ctx: ctx, catalog: c, opener: envelope.NewOpener(keystest.Private(t, "curve")), keys: newKeysAhead(), ahead: newReadAhead(2, cacheBytes), log: log}
	tr.cache = newCache(cacheBytes, &tr.stats)
	t.Cleanup(func() {
		cancel()
		tr.closeFiles()
		tr.wg.Wait()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if len(tr.cache.flights) != 0 || len(tr.cache.queue) != 0 || tr.cache.used != tr.cache.blocks.used || len(tr.ahead.slots) != 0 || tr.ahead.sequential.Load() != 0 {
			t.Errorf("%d flights, %d requests, %d bytes in use for %d of blocks, %d fetchers, %d readers straight ahead",
				len(tr.cache.flights), len(tr.cache.queue), tr.cache.used, tr.cache.blocks.used, len(tr.ahead.slots), tr.ahead.sequential.Load())
		}
	})
	return tr
}

func curve(t testing.TB, tr *tree, size int) fixture {
	t.Helper()
	f := fixture{t: tr, plain: content(size)}
	f.sealed, f.entry = seal(t, envelope.Recipients{Keys: keystest.Private(t, "curve")}, f.plain)
	return f
}

// linked is a file that can only be read from its beginning.
func linked(t testing.TB, tr *tree, size int) fixture {
	t.Helper()
	return sealedBy(t, tr, content(size), "lz4", "-q", "-c", "-B4", "-BD")
}

// foreign is a file without a table of blocks, whose blocks have no checksums.
func foreign(t testing.TB, tr *tree, size int) fixture {
	t.Helper()
	return sealedBy(t, tr, content(size), "lz4", "-q", "-c", "-B6", "--no-frame-crc")
}

func sealedBy(t testing.TB, tr *tree, plain []byte, program string, args ...string) fixture {
	t.Helper()
	file := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(file, plain, 0o600); err != nil {
		t.Fatal(err)
	}
	sealed := []byte(command(t, program, append(args, file)...))
	return fixture{t: tr, plain: plain, sealed: sealed, entry: &manifest.Entry{
		Path: "ab/file", Size: int64(len(plain)), SHA512: sha512.Sum512(plain),
		SealedPath: "ab/file.lz4", SealedSize: int64(len(sealed)), SealedSHA512: sha512.Sum512(sealed),
	}}
}

// handle is an open file, and where it goes on in it.
type handle struct {
	*openFile
	w window
}

func (f fixture) open(t testing.TB) (*handle, *sealedBytes) {
	t.Helper()
	s := &sealedBytes{Reader: bytes.NewReader(f.sealed)}
	id := identify(f.entry)
	file := f.t.files.share(id)
	if file == nil {
		opened, err := f.t.newOpenFile(t.Context(), id, s, f.entry)
		if err != nil {
			t.Fatal(err)
		}
		file = f.t.files.add(opened)
	}
	return &handle{openFile: file, w: window{shared: &f.t.ahead}}, s
}

func (h *handle) ReadAt(ctx context.Context, p []byte, off int64) (n int, err error) {
	parts, _, err := h.read(ctx, &h.w, off, len(p))
	for _, part := range parts {
		n += copy(p[n:], part)
	}
	return n, err
}

func (h *handle) Close() error {
	h.w.close()
	return h.release()
}

func checkRead(t testing.TB, h *handle, plain []byte, off int64, n int) {
	t.Helper()
	p := make([]byte, n)
	got, err := h.ReadAt(t.Context(), p, off)
	want := plain[min(off, int64(len(plain))):]
	want = want[:min(len(want), n)]
	if err != nil || !bytes.Equal(p[:got], want) {
		t.Errorf("%d bytes at %d of %d: got %d, %v, want %d", n, off, len(plain), got, err, len(want))
	}
}

func shapes() map[string]func(testing.TB, *tree, int) fixture {
	return map[string]func(testing.TB, *tree, int) fixture{"a table": curve, "no table": foreign, "linked blocks": linked}
}

func TestReadAnywhere(t *testing.T) {
	for shape, make := range shapes() {
		for _, size := range []int{0, 1, 10_000, 1<<20 - 1, 1 << 20, 1<<20 + 1, 4 << 20, 4<<20 + 1, 9<<20 + 5} {
			tr := newTree(t, minCacheBytes)
			f := make(t, tr, size)
			h, s := f.open(t)
			checkRead(t, h, f.plain, 0, size+1)
			random := rand.New(rand.NewPCG(2, uint64(size)))
			for range 10 {
				checkRead(t, h, f.plain, random.Int64N(int64(size)+2), random.IntN(3<<20))
			}
			if _, err := h.ReadAt(t.Context(), []byte{0}, -1); err == nil {
				t.Error("a negative offset was read")
			}
			if err := h.Close(); err != nil || s.closed.Load() != 1 || tr.files.count() != 0 {
				t.Errorf("%s: closed %d times, %v", shape, s.closed.Load(), err)
			}
			// What fits into one block is verified by itself, and stays.
			if kept := tr.cache.blocks.used > 0; kept != (size > 0 && envelope.VerifiesBlocks(f.entry)) {
				t.Errorf("%s of %d bytes: %d bytes are kept", shape, size, tr.cache.blocks.used)
			}
		}
	}
}

// Many readers of several handles of many files, with far too little memory for
// all.
func TestBudget(t *testing.T) {
	tr := newTree(t, minCacheBytes)
	stop := make(chan struct{})
	var watch, wg sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if used := tr.cache.usedBytes(); used > tr.cache.max {
				t.Errorf("%d bytes are in use, of %d", used, tr.cache.max)
				return
			}
			time.Sleep(10 * time.Microsecond)
		}
	})
	seed := uint64(0)
	for _, make := range shapes() {
		for n := range 3 {
			f := make(t, tr, (n+2)*3<<20)
			for range 2 {
				h, _ := f.open(t)
				seed++
				i := seed
				wg.Go(func() {
					var readers sync.WaitGroup
					for j := range 2 {
						readers.Go(func() {
							random := rand.New(rand.NewPCG(i, uint64(j)))
							for range 8 {
								checkRead(t, h, f.plain, random.Int64N(int64(len(f.plain))), random.IntN(2<<20))
							}
							for off := 0; off < len(f.plain); off += 1 << 20 {
								checkRead(t, h, f.plain, int64(off), 1<<20)
							}
						})
					}
					readers.Wait()
					if err := h.Close(); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
	wg.Wait()
	close(stop)
	watch.Wait()
	if tr.stats.evicted.Load() == 0 || tr.stats.streamedFiles.Load() != 0 {
		t.Errorf("%d blocks went, %d files are streamed", tr.stats.evicted.Load(), tr.stats.streamedFiles.Load())
	}
}

// However many read a file at once, each block is fetched once.
func TestBlocksAreFetchedOnce(t *testing.T) {
	for shape, make := range shapes() {
		tr := newTree(t, DefaultCacheBytes)
		f := make(t, tr, 12<<20)
		first, s := f.open(t)
		var wg sync.WaitGroup
		for range 8 {
			h, _ := f.open(t)
			wg.Go(func() {
				for off := range int64(12) {
					checkRead(t, h, f.plain, off<<20, 1<<20)
				}
				h.Close()
			})
		}
		wg.Wait()
		fetched := tr.stats.blockMisses.Load() + tr.stats.blocksAhead.Load()
		if want := int64(12); fetched != want {
			t.Errorf("%s: fetched %d blocks of %d", shape, fetched, want)
		}
		if most := int64(3 * len(f.sealed)); s.bytes.Load() > most { // blocks, and all of it to verify it
			t.Errorf("%s: read %d bytes of %d", shape, s.bytes.Load(), len(f.sealed))
		}
		first.Close()
		if s.closed.Load() != 1 {
			t.Errorf("%s: closed %d times", shape, s.closed.Load())
		}
	}
}

// Who reads straight ahead is read ahead of, also where requests overtake one
// another, and who jumps is not.
func TestReadAhead(t *testing.T) {
	tr := newTree(t, DefaultCacheBytes)
	f := curve(t, tr, 40<<20)
	h, _ := f.open(t)
	defer h.Close()
	random := rand.New(rand.NewPCG(3, 3))
	for range 50 {
		at := h.w.next // at least overtaking away from the one before
		for at > h.w.next-2*overtaking && at < h.w.next+2*overtaking {
			at = random.Int64N(39 << 20)
		}
		checkRead(t, h, f.plain, at, 1000)
	}
	if n := tr.stats.blocksAhead.Load(); n != 0 || h.w.blocks != 0 {
		t.Errorf("%d blocks were read ahead of who jumps about", n)
	}
	var grown []int64
	for _, block := range []int64{0, 1, 3, 2, 4, 5, 6, 8, 7} {
		checkRead(t, h, f.plain, block<<20, 1<<20)
		grown = append(grown, h.w.blocks)
	}
	if grown[0] != 0 || grown[1] != 1 || grown[2] != 2 || grown[4] != 4 || grown[8] != tr.ahead.maxBlocks || tr.ahead.sequential.Load() != 1 {
		t.Errorf("the window grew to %d; at most %d", grown, tr.ahead.maxBlocks)
	}
	h.wg.Wait()
	if n := tr.stats.blocksAhead.Load(); n == 0 || len(tr.ahead.slots) != 0 {
		t.Errorf("%d blocks were read ahead; %d are at it", n, len(tr.ahead.slots))
	}
	checkRead(t, h, f.plain, 30<<20, 1000)
	if h.w.blocks != 0 || tr.ahead.sequential.Load() != 0 {
		t.Errorf("after a jump the window is of %d blocks", h.w.blocks)
	}
	before := tr.stats.blocksAhead.Load()
	checkRead(t, h, f.plain, 20<<20, 1000)
	h.wg.Wait()
	if tr.stats.blocksAhead.Load() != before {
		t.Error("after a jump blocks are read ahead")
	}
}

// All who read straight ahead share half of the cache.
func TestReadAheadIsShared(t *testing.T) {
	shared := newReadAhead(16, 64<<20)
	var all []*window
	for range 40 {
		w := &window{shared: &shared}
		for at := range int64(10) {
			w.read(at<<20, (at+1)<<20, 1<<20)
		}
		all = append(all, w)
	}
	if w := all[0]; w.to-w.next != 32<<20 {
		t.Errorf("alone it is %d bytes ahead", w.to-w.next)
	}
	for _, w := range all {
		if w.read(10<<20, 11<<20, 1<<20); w.to > w.next {
			t.Errorf("one of forty is %d bytes ahead", w.to-w.next)
		}
	}
	for _, w := range all {
		w.close()
	}
	if shared.sequential.Load() != 0 {
		t.Errorf("%d read straight ahead after all are closed", shared.sequential.Load())
	}
}

func TestReadDamaged(t *testing.T) {
	for shape, make := range shapes() {
		f := make(t, nil, 9<<20)
		for what, damage := range map[string]func(d *fixture){
			"cut short":     func(d *fixture) { d.sealed = d.sealed[:len(d.sealed)-1] },
			"changed":       func(d *fixture) { d.sealed[len(d.sealed)-100] ^= 1 },
			"changed early": func(d *fixture) { d.sealed[len(d.sealed)/3] ^= 1 },
			"longer":        func(d *fixture) { d.sealed = append(d.sealed, 0); d.entry.SealedSize++ },
			"other size":    func(d *fixture) { d.entry.Size++ },
			"smaller size":  func(d *fixture) { d.entry.Size-- },
			"other hash":    func(d *fixture) { d.entry.SealedSHA512[0] ^= 1; d.entry.SHA512[0] ^= 1 },
		} {
			if shape == "a table" && what == "other hash" {
				continue // the table decides
			}
			tr := newTree(t, DefaultCacheBytes) // that holds none of it
			d, entry := f, *f.entry
			d.sealed, d.entry = bytes.Clone(f.sealed), &entry
			damage(&d)
			s := &sealedBytes{Reader: bytes.NewReader(d.sealed)}
			file, err := tr.newOpenFile(t.Context(), identify(d.entry), s, d.entry)
			if err != nil {
				if !errors.Is(err, envelope.ErrDamaged) {
					t.Errorf("%s, %s: %v", shape, what, err)
				}
				continue
			}
			h := &handle{openFile: tr.files.add(file), w: window{shared: &tr.ahead}}
			given := 0
			for range 2 {
				var failed error
				for off := int64(0); off < d.entry.Size && failed == nil; off += 1 << 20 {
					var n int
					n, failed = h.ReadAt(t.Context(), bytes.Repeat([]byte{0}, 1<<20), off)
					given += n
				}
				if !errors.Is(failed, envelope.ErrDamaged) {
					t.Errorf("%s, %s: all was read, %v", shape, what, failed)
				}
			}
			if err := h.Close(); err != nil || shape != "a table" && tr.cache.blocks.used != 0 {
				t.Errorf("%s, %s: %d bytes are kept, %v", shape, what, tr.cache.blocks.used, err)
			}
			if shape != "a table" && given > 0 && h.safe.Load() {
				t.Errorf("%s, %s: %d bytes were given, and the kernel may keep them", shape, what, given)
			}
		}
	}
}

// Where the list has a table, a damaged block can not be read, and all others can.
func TestDamagedBlock(t *testing.T) {
	tr := newTree(t, DefaultCacheBytes)
	f := curve(t, tr, 9<<20)
	f.sealed[len(f.sealed)/2] ^= 1
	h, _ := f.open(t)
	defer h.Close()
	var bad []int64
	for off := range int64(9) {
		if _, err := h.ReadAt(t.Context(), make([]byte, 1<<20), off<<20); errors.Is(err, envelope.ErrDamaged) {
			bad = append(bad, off)
		} else if checkRead(t, h, f.plain, off<<20, 1<<20); err != nil {
			t.Error(err)
		}
	}
	if len(bad) != 1 {
		t.Errorf("blocks %v cannot be read", bad)
	}
}

// What was read of a file that nothing was known of goes with the opening: the
// file may be another when it is opened again.
func TestUnverifiedBlocksAreForgotten(t *testing.T) {
	tr := newTree(t, DefaultCacheBytes)
	f := foreign(t, tr, 9<<20)
	good := f.sealed
	f.sealed = bytes.Clone(good)
	f.sealed[len(f.sealed)/2] ^= 1
	node := &fileNode{folder: &folderNode{t: tr}}
	h, _ := f.open(t)
	node.cacheFlags(h.openFile)
	for off := int64(0); off < 8<<20; off += 1 << 20 {
		if _, err := h.ReadAt(t.Context(), make([]byte, 1<<20), off); err != nil {
			break // the damage may show, and need not
		}
	}
	h.Close()
	f.sealed = good
	h, _ = f.open(t)
	if node.cacheFlags(h.openFile) != 0 {
		t.Error("the kernel may keep what was not verified")
	}
	checkRead(t, h, f.plain, 0, len(f.plain))
	h.Close()
	h, _ = f.open(t)
	if node.cacheFlags(h.openFile) == 0 {
		t.Error("the kernel may not keep what was verified")
	}
	h.Close()
}

func TestReadWithoutKey(t *testing.T) {
	tr := newTree(t, minCacheBytes)
	f := curve(t, tr, 100)
	tr.opener = envelope.NewOpener(keystest.Private(t, "chipster"))
	h, _ := f.open(t)
	defer h.Close()
	if _, err := h.ReadAt(t.Context(), make([]byte, 1), 0); !errors.Is(err, envelope.ErrKey) || errnoOf(err).Error() != "permission denied" {
		t.Errorf("got %v", err)
	}
}

// Who gives up gets away at once; who still waits gets what he waits for.
func TestReadCancelled(t *testing.T) {
	tr := newTree(t, minCacheBytes)
	f := curve(t, tr, 4<<20)
	h, s := f.open(t)
	defer h.Close()
	hold := make(chan struct{})
	s.hold.Store(&hold)
	ctx, cancel := context.WithCancel(t.Context())
	gone, stays := make(chan error), make(chan error)
	for c, ctx := range map[chan error]context.Context{gone: ctx, stays: t.Context()} {
		go func() {
			_, err := h.ReadAt(ctx, make([]byte, 1<<20), 0)
			c <- err
		}()
	}
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("waiting: %v", err)
	}
	close(hold)
	if err := <-stays; err != nil {
		t.Errorf("who stayed: %v", err)
	}
	s.hold.Store(nil)
	checkRead(t, h, f.plain, 0, len(f.plain))
}

// A stream that nobody waits for any more stops, and goes on from where it was.
func TestStreamGivenUp(t *testing.T) {
	tr := newTree(t, minCacheBytes)
	f := linked(t, tr, 24<<20)
	h, s := f.open(t)
	defer h.Close()
	checkRead(t, h, f.plain, 0, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	hold := make(chan struct{})
	s.hold.Store(&hold)
	done := make(chan error)
	go func() {
		_, err := h.ReadAt(ctx, make([]byte, 1), 20<<20)
		done <- err
	}()
	eventually(t, "somebody waits", func() bool { tr.cache.mu.Lock(); defer tr.cache.mu.Unlock(); return len(tr.cache.flights) > 0 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	s.hold.Store(nil)
	close(hold)
	for off := int64(0); off < 24; off++ {
		checkRead(t, h, f.plain, off<<20, 1<<20)
	}
	if read := s.bytes.Load(); read > int64(len(f.sealed))*3/2 {
		t.Errorf("read %d bytes of %d", read, len(f.sealed))
	}
}

// A stream that had to make room begins anew.
func TestStreamMakesRoom(t *testing.T) {
	tr := newTree(t, minCacheBytes) // for one stream
	f, other := linked(t, tr, 24<<20), linked(t, tr, 25<<20)
	h, s := f.open(t)
	defer h.Close()
	checkRead(t, h, f.plain, 16<<20, 1000)
	h2, _ := other.open(t)
	defer h2.Close()
	before := s.bytes.Load()
	checkRead(t, h, f.plain, 17<<20, 1000)
	if more := s.bytes.Load() - before; more > before/2 {
		t.Errorf("read %d bytes to go on", more)
	}
	checkRead(t, h2, other.plain, 0, 1000)
	before = s.bytes.Load()
	checkRead(t, h, f.plain, 18<<20, 1000)
	if more := s.bytes.Load() - before; more < before/2 {
		t.Errorf("the stream did not rest: read %d bytes to go on", more)
	}
}

// The index of blocks is looked for once, and kept.
func TestIndexIsKept(t *testing.T) {
	tr := newTree(t, DefaultCacheBytes)
	f := foreign(t, tr, 9<<20)
	read := func() int64 {
		h, s := f.open(t)
		checkRead(t, h, f.plain, 5<<20, 1)
		h.Close()
		tr.wg.Wait()
		return s.bytes.Load()
	}
	first, second := read(), read()
	if kept, err := tr.catalog.BlockIndex(t.Context(), f.entry.SealedSHA512); err != nil || kept == nil || second >= first {
		t.Errorf("read %d bytes, then %d; the index is %d bytes, %v", first, second, len(kept), err)
	}
}
