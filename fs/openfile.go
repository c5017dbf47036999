package fs

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
)

// openFile is a sealed file that is open, once however many have it open.
//
// Blocks that the list has hashes of can be given to whoever opens the file
// later. Others are only as good as what was seen of the file by those who had it
// open at the time: they are known by the number of the opening, and go with it.
//
// It is safe for concurrent use.
type openFile struct {
	t       *tree
	id      fileID
	opening int64
	entry   *manifest.Entry
	sealed  io.Closer
	reader  *envelope.ReaderAt
	safe    *atomic.Bool    // all that was given away was verified; kept when the file is closed
	ctx     context.Context // ends when the last one closes the file, or with the mount
	cancel  context.CancelFunc
	wg      sync.WaitGroup // what goes on in the background
	users   int            // guarded by openFiles

	decoding int // fetches of a streamed file; guarded by the cache

	mu     sync.Mutex
	search *search // nil: nobody asked for it yet
}

// search is the search for the blocks of a file. What follows done is valid when
// that is closed.
type search struct {
	done     chan struct{}
	err      error
	streamed bool
}

// open opens the sealed file of an entry, or one that stands for it: all that is
// known of it goes by the entry which that one has. release must be called.
func (t *tree) open(ctx context.Context, v catalog.Version, e *manifest.Entry) (*openFile, error) {
	if f := t.files.share(identify(e)); f != nil {
		return f, nil
	}
	sealed, of, err := t.catalog.OpenSealed(ctx, v, e)
	if err != nil {
		return nil, err
	}
	f, err := t.newOpenFile(ctx, identify(of), sealed, of)
	if err != nil {
		return nil, errors.Join(err, sealed.Close())
	}
	shared := t.files.add(f)
	if shared != f {
		_ = f.close() // nothing was read of it
	}
	return shared, nil
}

// sealedFile is an open sealed file.
type sealedFile interface {
	io.ReaderAt
	io.Closer
}

func (t *tree) newOpenFile(ctx context.Context, id fileID, sealed sealedFile, e *manifest.Entry) (_ *openFile, err error) {
	f := &openFile{t: t, id: id, entry: e, sealed: sealed, safe: &atomic.Bool{}}
	var kept []byte
	if !envelope.VerifiesBlocks(e) {
		f.opening = t.files.openings.Add(1)
		if kept, err = t.catalog.BlockIndex(ctx, e.SealedSHA512); err != nil {
			t.log.Debug("cannot look up where the blocks of a file are", "path", e.Path, "error", err)
		}
	}
	if f.reader, err = t.opener.NewReaderAt(countReads{sealed, &t.stats.sealedBytesRead}, e, kept); err != nil {
		return nil, err
	}
	f.ctx, f.cancel = context.WithCancel(t.ctx)
	if e.Size == 0 { // nobody will read anything, and the list may be wrong
		if _, err := f.reader.ReadAt(make([]byte, 1), 0); err != io.EOF {
			f.reader.Close()
			f.cancel()
			return nil, err
		}
	}
	return f, nil
}

// release is called by each who opened the file, when all his reads returned.
func (f *openFile) release() error {
	if !f.t.files.leave(f) {
		return nil
	}
	return f.close()
}

func (f *openFile) close() error {
	f.cancel()
	f.wg.Wait()
	f.safe.Store(f.reader.Verified())
	if s := f.search; s != nil && s.err == nil {
		if f.opening != 0 {
			f.dropBlocks()
		}
		if s.streamed {
			f.t.stats.streamedFiles.Add(-1)
		}
	}
	f.t.cache.dropStream(f)
	f.reader.Close()
	return f.sealed.Close()
}

// locate waits until it is known where the file's blocks are.
func (f *openFile) locate(ctx context.Context) error {
	f.mu.Lock()
	s := f.search
	if s == nil {
		s = &search{done: make(chan struct{})}
		f.search = s
		f.wg.Go(func() { f.look(s) })
	}
	f.mu.Unlock()
	select {
	case <-s.done:
		return s.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// look searches for the blocks, for as long as the file is open: who waits for
// it may give up and ask again.
func (f *openFile) look(s *search) {
	defer close(s.done)
	if _, _, s.err = f.reader.Block(f.ctx, 0); s.err != nil {
		if !errors.Is(s.err, envelope.ErrDamaged) {
			f.mu.Lock()
			f.search = nil // the next read tries again
			f.mu.Unlock()
		}
		return
	}
	if why := f.reader.Streamed(); why != "" {
		s.streamed = true
		f.t.stats.streamedFiles.Add(1)
		if f.t.isNew(string(f.id[:])) {
			f.t.log.Info("reading a file is slow but for straight ahead", "version", f.entry.Backup.String(), "path", f.entry.Path, "why", why)
		}
	}
	if index := f.reader.Index(); index != nil {
		f.t.keepIndex(f.entry, index)
	}
}

// request is for what it takes to fetch a block.
func (f *openFile) request(id blockID) *request {
	r := &request{bytes: fetchCost(id)}
	if f.reader.Streamed() != "" {
		r.stream = f
	}
	return r
}

// block names the block in which the byte off is.
func (f *openFile) block(off int64) (blockID, error) {
	start, length, err := f.reader.Block(f.ctx, off)
	return blockID{f.id, f.opening, start, length}, err
}

func (f *openFile) dropBlocks() {
	for at := int64(0); at < f.entry.Size; {
		// The file's context has ended, and what is known is told all the same.
		id, err := f.block(at)
		if err != nil {
			return
		}
		f.t.cache.drop(id)
		at = id.start + id.length
	}
}
