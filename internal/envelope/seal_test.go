package envelope

import (
	"bytes"
	"crypto/sha512"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// raceEnabled tells of the race detector, which allocates.
var raceEnabled bool

// randomBytes do not compress.
func randomBytes(size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(size)}).Read(b)
	return b
}

// sealInto seals with the parts that Write is called with, and returns the sums.
func sealInto(t testing.TB, s *Session, w io.Writer, sizeHint int64, parts ...[]byte) Sums {
	t.Helper()
	e, err := s.NewWriter(w, sizeHint)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		if n, err := e.Write(p); n != len(p) || err != nil {
			t.Fatalf("%d of %d bytes, %v", n, len(p), err)
		}
	}
	sums, err := e.Close()
	if err != nil {
		t.Fatal(err)
	}
	return sums
}

// A file whose size was not known, or was guessed wrong, comes back all the
// same, however it was written.
func TestAnyHintAndAnyWrites(t *testing.T) {
	for name, kind := range kinds(t) {
		if name != "curve" && name != "plain" {
			continue
		}
		session, err := kind.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{0, 1, 70_000, 3_000_000} {
			plain := content(size)
			for _, hint := range []int64{-1, 0, 100_000, 1<<20 + 1} {
				for _, step := range []int{1000, 1 << 20, max(1, size)} {
					var parts [][]byte
					for rest := plain; len(rest) > 0; rest = rest[min(step, len(rest)):] {
						parts = append(parts, bytes.Clone(rest[:min(step, len(rest))]))
					}
					var b bytes.Buffer
					sums := sealInto(t, session, &b, hint, parts...)
					got, err := open(kind.Opener, b.Bytes(), kind.Encrypts())
					if err != nil || !bytes.Equal(got, plain) || sums.Size != int64(size) {
						t.Fatalf("%s: %d bytes, hint %d, by %d: %d came back, %v, %+v", name, size, hint, step, len(got), err, sums)
					}
				}
			}
		}
	}
}

var errFull = errors.New("no space left")

// fullWriter takes so many bytes.
type fullWriter struct{ left int }

func (w *fullWriter) Write(p []byte) (int, error) {
	n := min(w.left, len(p))
	w.left -= n
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

// settled waits until there are no more goroutines than before.
func settled(t *testing.T, before int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
		time.Sleep(time.Millisecond)
	}
}

// Wherever the writer below fails, Write says so soon, Close says it too, and
// nobody is left waiting.
func TestWriterBelowFails(t *testing.T) {
	for _, name := range []string{"curve", "plain"} {
		session, err := kinds(t)[name].NewSession()
		if err != nil {
			t.Fatal(err)
		}
		plain := randomBytes(1 << 20)
		for _, size := range []int64{100_000, 1 << 20, 64 << 20, -1} {
			sealed := sealInto(t, session, io.Discard, size, plain[:min(uint64(size), uint64(len(plain)))]).SealedSize
			before := runtime.NumGoroutine()
			for _, space := range []int{0, 1, 700, 70_000, int(sealed) - 9, int(sealed) - 1} {
				e, err := session.NewWriter(&fullWriter{space}, size)
				if err != nil {
					if !errors.Is(err, errFull) {
						t.Fatal(err)
					}
					settled(t, before)
					continue
				}
				written := 0
				for err == nil && written < 64<<20 && (size < 0 || int64(written) < size) {
					n := len(plain)
					if size >= 0 {
						n = int(min(int64(n), size-int64(written)))
					}
					n, err = e.Write(plain[:n])
					written += n
				}
				if err == nil && written == 64<<20 {
					t.Errorf("%s: %d bytes of room, and 64 MiB are written", name, space)
				}
				if err != nil && !errors.Is(err, errFull) {
					t.Error(err)
				}
				if _, err := e.Close(); !errors.Is(err, errFull) || strings.Count(err.Error(), errFull.Error()) != 1 {
					t.Errorf("%s: %d bytes of room: Close: %v", name, space, err)
				}
				settled(t, before)
			}
		}
	}
}

// A file that is given up leaves nothing behind, wherever that happens.
func TestGivenUp(t *testing.T) {
	session, err := kinds(t)["curve"].NewSession()
	if err != nil {
		t.Fatal(err)
	}
	plain := randomBytes(40 << 20)
	before := runtime.NumGoroutine()
	for _, n := range []int{0, 1, 1 << 20, 1<<20 + 1, len(plain)} {
		e, err := session.NewWriter(io.Discard, int64(len(plain)))
		if err != nil {
			t.Fatal(err)
		}
		broken := errors.New("broken")
		_, err = e.ReadFrom(io.MultiReader(bytes.NewReader(plain[:n]), errorReader{broken}))
		if !errors.Is(err, broken) {
			t.Error(err)
		}
		e.Close()
		settled(t, before)
	}
}

type errorReader struct{ error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.error }

// slowWriter demands to be called by one goroutine at a time.
type slowWriter struct {
	t    *testing.T
	busy atomic.Bool
}

func (w *slowWriter) Write(p []byte) (int, error) {
	if w.busy.Swap(true) {
		w.t.Error("two Writes at once")
	}
	time.Sleep(10 * time.Microsecond)
	w.busy.Store(false)
	return len(p), nil
}

// However large the file and slow the writer below, memory stays what it is.
func TestLargeFileTakesLittleMemory(t *testing.T) {
	session, err := kinds(t)["curve"].NewSession()
	if err != nil {
		t.Fatal(err)
	}
	plain := randomBytes(1 << 20)
	e, err := session.NewWriter(&slowWriter{t: t}, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 64 {
		if _, err := e.Write(plain); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if _, err := e.Close(); err != nil {
		t.Fatal(err)
	}
	// The race detector has pools forget a part of what they are given.
	if got := after.TotalAlloc - before.TotalAlloc; !raceEnabled && got > 30<<20 {
		t.Errorf("%d MiB were allocated for 64", got>>20)
	}
}

// Small files are sealed without making everything anew for each.
func TestSmallFilesAllocateLittle(t *testing.T) {
	plain := content(10_000)
	for _, name := range []string{"curve", "plain"} {
		session, err := kinds(t)[name].NewSession()
		if err != nil {
			t.Fatal(err)
		}
		var e Writer
		var b bytes.Buffer
		allocs := testing.AllocsPerRun(200, func() {
			b.Reset()
			if err := e.Reset(session, &b, int64(len(plain))); err != nil {
				t.Fatal(err)
			}
			e.Write(plain)
			if _, err := e.Close(); err != nil {
				t.Fatal(err)
			}
		})
		if !raceEnabled && allocs > 4 {
			t.Errorf("%s: %v allocations a file", name, allocs)
		}
	}
}

// A Writer that is used again makes the same as a new one, whatever it made
// before, and also after it failed.
func TestResetWriter(t *testing.T) {
	all := kinds(t)
	sessions := map[string]*Session{}
	for _, name := range []string{"curve", "plain"} {
		var err error
		if sessions[name], err = all[name].NewSession(); err != nil {
			t.Fatal(err)
		}
	}
	var e Writer
	for round := range 40 {
		name := []string{"curve", "plain"}[rand.IntN(2)]
		kind, session := all[name], sessions[name]
		plain := content(rand.IntN([]int{1000, 200_000, 3_000_000}[rand.IntN(3)]))
		if round%4 == 0 {
			if err := e.Reset(session, &fullWriter{rand.IntN(5000)}, int64(len(plain))); err != nil {
				continue
			}
			e.Write(plain)
			e.Close()
		}
		var b bytes.Buffer
		if err := e.Reset(session, &b, int64(len(plain))); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(&e, bytes.NewReader(plain)); err != nil {
			t.Fatal(err)
		}
		sums, err := e.Close()
		if err != nil {
			t.Fatal(err)
		}
		if sums.Size != int64(len(plain)) || sums.SHA512 != sha512.Sum512(plain) || sums.SealedSize != int64(b.Len()) || sums.SealedSHA512 != sha512.Sum512(b.Bytes()) {
			t.Fatalf("round %d: sums %+v", round, sums)
		}
		checkTable(t, session, b.Bytes(), sums, blockSizes[blockSizeFor(sums.Size)])
		if got, err := open(kind.Opener, b.Bytes(), kind.Encrypts()); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("round %d: %d of %d bytes came back, %v", round, len(got), len(plain), err)
		}
	}
}

// With a key that is overwritten nothing may be sealed: everybody knows zeros.
func TestWipedSessionSealsNothing(t *testing.T) {
	for name, kind := range kinds(t) {
		session, err := kind.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		session.Wipe()
		session.Wipe()
		if _, err := session.NewWriter(io.Discard, 1); err == nil {
			t.Errorf("%s: sealed", name)
		}
	}
}

func BenchmarkSealSmall(b *testing.B) {
	session, err := Recipients{Keys: publicKeys(b, "chipster")}.NewSession()
	if err != nil {
		b.Fatal(err)
	}
	plain := randomBytes(10_000)
	var e Writer
	b.SetBytes(int64(len(plain)))
	b.ReportAllocs()
	for b.Loop() {
		if err := e.Reset(session, io.Discard, int64(len(plain))); err != nil {
			b.Fatal(err)
		}
		e.Write(plain)
		if _, err := e.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSealLarge(b *testing.B) {
	session, err := Recipients{Keys: publicKeys(b, "chipster")}.NewSession()
	if err != nil {
		b.Fatal(err)
	}
	for name, plain := range map[string][]byte{"random": randomBytes(256 << 20), "zeros": make([]byte, 256<<20)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(plain)))
			for b.Loop() {
				sealInto(b, session, io.Discard, int64(len(plain)), plain)
			}
		})
	}
}

// The hashes are right whether they are computed side by side or not, and for
// whatever there is more of, plain bytes or sealed ones.
func TestHashesSideBySideAndNot(t *testing.T) {
	defer func(was bool) { hashSideBySide = was }(hashSideBySide)
	for _, name := range []string{"curve", "plain"} {
		session, err := kinds(t)[name].NewSession()
		if err != nil {
			t.Fatal(err)
		}
		for what, plain := range map[string][]byte{
			"random": randomBytes(9_000_001), "half": content(9_000_001), "zeros": make([]byte, 9_000_001), "zeros first": append(make([]byte, 8<<20), randomBytes(5<<20)...), "nothing": {},
		} {
			for _, hashSideBySide = range []bool{false, true} {
				for _, hint := range []int64{int64(len(plain)), -1} {
					var b bytes.Buffer
					sums := sealInto(t, session, &b, hint, plain)
					if sums.SHA512 != sha512.Sum512(plain) || sums.SealedSHA512 != sha512.Sum512(b.Bytes()) {
						t.Errorf("%s, %s, side by side: %t, hint %d: a hash is wrong", name, what, hashSideBySide, hint)
					}
				}
			}
		}
	}
}
