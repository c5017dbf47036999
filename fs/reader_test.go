package fs

import (
	"bytes"
	"context"
	"crypto/sha512"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/keys"
	"github.com/chipster/firn/internal/manifest"
)

const original = "../testdata/original"

func privateKeys(t testing.TB, name string) openpgp.EntityList {
	t.Helper()
	data, err := os.ReadFile(original + "/keys/" + name + ".private.base64")
	if err != nil {
		t.Fatal(err)
	}
	list, err := keys.ParsePrivate(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// sealedBytes counts the reads and the closes of a sealed file in memory.
type sealedBytes struct {
	*bytes.Reader
	bytes  atomic.Int64
	closed atomic.Int64
}

func (s *sealedBytes) ReadAt(p []byte, off int64) (int, error) {
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
	}
}

type fixture struct {
	plain  []byte
	sealed []byte
	entry  *manifest.Entry
	opener *envelope.Opener
}

func curve(t testing.TB, size int) fixture {
	t.Helper()
	f := fixture{plain: content(size), opener: envelope.NewOpener(privateKeys(t, "curve"))}
	f.sealed, f.entry = seal(t, envelope.Recipients{Keys: privateKeys(t, "curve")}, f.plain)
	return f
}

func (f fixture) reader(m *memory) (*plainReader, *sealedBytes) {
	s := &sealedBytes{Reader: bytes.NewReader(f.sealed)}
	return newPlainReader(m, f.opener, s, f.entry), s
}

func checkRead(t testing.TB, r *plainReader, plain []byte, off int64, n int) {
	t.Helper()
	p := make([]byte, n)
	got, err := r.ReadAt(t.Context(), p, off)
	want := plain[min(off, int64(len(plain))):]
	want = want[:min(len(want), n)]
	if wantErr := len(want) < n; wantErr != (err == io.EOF) || err != nil && err != io.EOF || !bytes.Equal(p[:got], want) {
		t.Errorf("%d bytes at %d of %d: got %d, %v, want %d", n, off, len(plain), got, err, len(want))
	}
}

func TestReadAnywhere(t *testing.T) {
	for _, size := range []int{0, 1, 10_000, blockSize - 1, blockSize, blockSize + 1, 3*blockSize + 7, 9<<20 + 5} {
		f := curve(t, size)
		r, s := f.reader(newMemory(18 << 20)) // a decoder and little more
		checkRead(t, r, f.plain, 0, size+1)
		random := rand.New(rand.NewPCG(2, uint64(size)))
		for range 10 {
			checkRead(t, r, f.plain, random.Int64N(int64(size)+2), random.IntN(2*blockSize))
		}
		if err := r.Close(); err != nil || s.closed.Load() != 1 {
			t.Errorf("closed %d times, %v", s.closed.Load(), err)
		}
	}
	if _, err := new(plainReader).ReadAt(t.Context(), make([]byte, 1), -1); err == nil {
		t.Error("a negative offset was read")
	}
}

// Several readers of several handles, with far too little memory for all.
func TestReadConcurrently(t *testing.T) {
	m := newMemory(1 << 20)
	var wg sync.WaitGroup
	for i := range 3 {
		f := curve(t, (i+1)*400_000)
		for range 2 {
			r, _ := f.reader(m)
			for j := range 2 {
				wg.Go(func() {
					random := rand.New(rand.NewPCG(uint64(i), uint64(j)))
					for range 5 {
						checkRead(t, r, f.plain, random.Int64N(int64(len(f.plain))), random.IntN(blockSize))
					}
				})
			}
		}
	}
	wg.Wait()
	if used := m.busy + m.blocks.used + m.idle.used; m.busy != 0 || used > m.max {
		t.Errorf("%d bytes in use, %d of them by nobody; the budget is %d", used, m.busy, m.max)
	}
}

// Reading straight ahead decodes once, also when requests overtake each other
// and when somebody else has the file open.
func TestReadAheadDecodesOnce(t *testing.T) {
	f := curve(t, 10<<20)
	m := newMemory(DefaultCacheBytes)
	r, s := f.reader(m)
	for _, block := range []int64{0, 2, 1, 3, 6, 5, 4, 7} {
		checkRead(t, r, f.plain, block<<20, 1<<20)
	}
	other, s2 := f.reader(m)
	checkRead(t, other, f.plain, 0, 7<<20)
	if read := s.bytes.Load(); read > int64(len(f.sealed)) || s2.bytes.Load() != 0 {
		t.Errorf("read %d and %d bytes of %d", read, s2.bytes.Load(), len(f.sealed))
	}
}

// The end of a large file passes through without taking others' memory.
func TestTailKeepsLittle(t *testing.T) {
	f := curve(t, 16<<20)
	m := newMemory(DefaultCacheBytes)
	r, _ := f.reader(m)
	checkRead(t, r, f.plain, int64(len(f.plain))-1000, 1000)
	if m.blocks.used > (keepBehind+1)*blockSize || m.idle.used != 0 {
		t.Errorf("%d bytes of blocks and %d of decoders are kept", m.blocks.used, m.idle.used)
	}
}

func TestReadDamaged(t *testing.T) {
	f := curve(t, 5<<20)
	cases := map[string]fixture{"cut short": f, "changed": f, "longer": f, "other size": f, "smaller size": f, "other hash": f}
	for what, d := range cases {
		entry := *f.entry
		d.sealed, d.entry = bytes.Clone(f.sealed), &entry
		switch what {
		case "cut short":
			d.sealed = d.sealed[:len(d.sealed)-1]
		case "changed":
			d.sealed[len(d.sealed)-100] ^= 1
		case "longer":
			d.sealed = append(d.sealed, 0)
		case "other size":
			entry.Size++
		case "smaller size":
			entry.Size--
		case "other hash":
			entry.SHA512 = sha512.Sum512(nil)
		}
		m := newMemory(minCacheBytes)
		r, s := d.reader(m)
		for range 2 {
			for off := int64(0); ; off += 1 << 20 {
				_, err := r.ReadAt(t.Context(), make([]byte, 1<<20), off)
				if off == 0 && err != nil {
					t.Errorf("%s: the beginning cannot be read: %v", what, err)
				}
				if errors.Is(err, envelope.ErrDamaged) {
					break
				}
				if off > d.entry.Size {
					t.Fatalf("%s: read without an error", what)
				}
			}
		}
		before := s.bytes.Load()
		if _, err := r.ReadAt(t.Context(), make([]byte, 1), d.entry.Size-1); !errors.Is(err, envelope.ErrDamaged) || s.bytes.Load() != before {
			t.Errorf("%s: %v after %d bytes more", what, err, s.bytes.Load()-before)
		}
		if err := r.Close(); err != nil || m.blocks.used != 0 {
			t.Errorf("%s: %d bytes are kept, %v", what, m.blocks.used, err)
		}
	}
}

func TestReadWithoutKey(t *testing.T) {
	f := curve(t, 100)
	f.opener = envelope.NewOpener(privateKeys(t, "chipster"))
	r, _ := f.reader(newMemory(minCacheBytes))
	if _, err := r.ReadAt(t.Context(), make([]byte, 1), 0); !errors.Is(err, envelope.ErrKey) || errnoOf(err).Error() != "permission denied" {
		t.Errorf("got %v", err)
	}
}

// Who gives up gets away at once, and leaves the decoder where it is.
func TestReadCancelled(t *testing.T) {
	f := curve(t, 4<<20)
	r, _ := f.reader(newMemory(minCacheBytes))
	ctx, cancel := context.WithCancel(t.Context())
	r.turn <- struct{}{} // somebody else decodes
	done := make(chan error)
	go func() {
		_, err := r.ReadAt(ctx, make([]byte, 1), 0)
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("waiting: %v", err)
	}
	<-r.turn
	if _, err := r.ReadAt(ctx, make([]byte, 1), 3<<20); !errors.Is(err, context.Canceled) {
		t.Errorf("decoding: %v", err)
	}
	checkRead(t, r, f.plain, 0, len(f.plain))
}
