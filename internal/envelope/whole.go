package envelope

import (
	"context"
	"io"
	"sync"

	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/sha512x2"
)

// whole checks the SHA-512 of a sealed file for those who read all of it. It
// follows them, so that it is nearly done when they come to the end.
type whole struct {
	sealed io.ReaderAt
	entry  *manifest.Entry
	pieces *ahead // of the sealed file, read while the one before is hashed
	next   int64  // where the next one begins

	// Guarded by the ReaderAt's lock.
	handed []uint64 // bits: blocks that were handed out
	first  int      // block that was not

	mu      sync.Mutex
	sum     *sha512x2.Digest // faster than crypto/sha512, if only a little
	pos     int64            // hashed so far
	target  int64            // to be hashed
	running chan struct{}    // closed when the one who hashes stops; nil: none does
	err     error
	closed  bool
}

func newWhole(sealed io.ReaderAt, e *manifest.Entry) *whole {
	w := &whole{sealed: sealed, entry: e, sum: sha512x2.New()}
	w.pieces = newAhead(w.read, 1)
	return w
}

// read is the source of pieces.
func (w *whole) read(spare []byte) ([]byte, error) {
	if spare == nil {
		spare = make([]byte, followPiece)
	}
	n := min(int64(cap(spare)), w.entry.SealedSize-w.next)
	got, err := w.sealed.ReadAt(spare[:n], w.next)
	w.next += int64(got)
	if int64(got) < n {
		return nil, cutShort(err)
	}
	return spare[:n], nil
}

const followPiece = 512 << 10

// handOut notes a block, and returns the first that was not handed out, and
// whether that was the last one missing.
func (w *whole) handOut(i, count int) (first int, complete bool) {
	if w.handed == nil {
		w.handed = make([]uint64, (count+63)/64)
	}
	w.handed[i/64] |= 1 << (i % 64)
	for w.first < count && w.handed[w.first/64]&(1<<(w.first%64)) != 0 {
		w.first++
	}
	return w.first, w.first == count
}

// follow has the file hashed up to a position, in the background.
func (w *whole) follow(pos int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.target = max(w.target, pos)
	w.start()
}

func (w *whole) start() {
	if w.running == nil && w.pos < w.target && w.err == nil && !w.closed {
		w.running = make(chan struct{})
		go w.run()
	}
}

func (w *whole) run() {
	var piece []byte
	var err error
	for {
		w.mu.Lock()
		w.pos += int64(len(piece))
		if err != nil {
			w.err = err
		}
		if w.pos >= w.target || w.err != nil || w.closed {
			close(w.running)
			w.running = nil
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		piece, err = w.pieces.next(piece)
		w.sum.Write(piece)
	}
}

// wait until all is hashed, and compare.
func (w *whole) wait(ctx context.Context) error {
	w.follow(w.entry.SealedSize)
	for {
		w.mu.Lock()
		running, err := w.running, w.err
		if running == nil {
			if err == nil && manifest.Hash(w.sum.Sum(nil)) != w.entry.SealedSHA512 {
				w.err = damaged("the SHA-512 of the sealed file is not the one of the list")
			}
			defer w.mu.Unlock()
			return w.err
		}
		w.mu.Unlock()
		select {
		case <-running:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// close stops the one who hashes, and waits for it.
func (w *whole) close() {
	w.mu.Lock()
	w.closed = true
	running := w.running
	w.mu.Unlock()
	if running != nil {
		<-running
	}
	w.pieces.close()
}
