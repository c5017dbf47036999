package envelope

import (
	"context"
	"crypto/sha512"
	"hash"
	"io"

	"github.com/chipster/firn/internal/manifest"
)

// streamer reads the blocks of a file that can only be read from its beginning:
// it decodes straight ahead, and begins anew for what lies behind. It keeps the
// last blocks, since those who read ahead overtake one another.
//
// The last block of the file is handed out only when the whole file proved to be
// what the list says. It is safe for concurrent use.
type streamer struct {
	r     *ReaderAt
	turn  chan struct{} // held by who uses what follows
	plain *wholeReader  // nil: at the beginning
	next  int64         // where plain is
	last  map[int64][]byte
	bad   int64 // where the file cannot be decoded, and why
	err   error
}

const (
	streamBlock = 1 << 20
	streamKept  = 8
)

// StreamCost is how many bytes a streamed file takes between two blocks, at most.
const StreamCost = streamKept*streamBlock + 4*maxBlock

func newStreamer(r *ReaderAt) *streamer {
	return &streamer{r: r, turn: make(chan struct{}, 1)}
}

func (s *streamer) lock(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *streamer) unlock() { <-s.turn }

// read decodes up to the block that begins at start.
func (s *streamer) read(ctx context.Context, start int64) ([]byte, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.unlock()
	if p, ok := s.last[start]; ok {
		return p, nil
	}
	if s.err != nil && start >= s.bad {
		return nil, s.err
	}
	if start < s.next || s.plain == nil {
		if err := s.begin(); err != nil {
			s.bad, s.err = 0, err
			return nil, err
		}
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err // it stays where it is, for the next try
		}
		at := s.next
		p, err := s.decode()
		if err != nil {
			s.drop()
			s.bad, s.err = at, err
			return nil, err
		}
		s.last[at] = p
		delete(s.last, at-streamKept*streamBlock)
		if at == start {
			return p, nil
		}
	}
}

func (s *streamer) begin() error {
	s.drop()
	plain, err := s.r.openWhole()
	if err != nil {
		return err
	}
	s.plain, s.last = plain, map[int64][]byte{}
	return nil
}

// decode decodes the next block. With the last one it verifies the file.
func (s *streamer) decode() ([]byte, error) {
	p := make([]byte, min(streamBlock, s.r.entry.Size-s.next))
	if _, err := io.ReadFull(s.plain, p); err != nil {
		return nil, cutShort(err)
	}
	s.next += int64(len(p))
	if s.next == s.r.entry.Size {
		if err := s.plain.verify(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (s *streamer) drop() {
	if s.plain != nil {
		s.plain.Close()
	}
	s.plain, s.next, s.last = nil, 0, nil
}

// rest drops what is kept, unless somebody reads.
func (s *streamer) rest() {
	select {
	case s.turn <- struct{}{}:
		s.drop()
		s.unlock()
	default:
	}
}

// wholeReader reads all of a file, and its sealed bytes' SHA-512 besides.
type wholeReader struct {
	*Reader
	sum  hash.Hash
	want manifest.Hash
}

func (r *ReaderAt) openWhole() (*wholeReader, error) {
	w := &wholeReader{sum: sha512.New(), want: r.entry.SealedSHA512}
	// One byte more tells that there is more.
	sealed := io.TeeReader(io.NewSectionReader(r.sealed, 0, r.entry.SealedSize+1), w.sum)
	var err error
	w.Reader, err = r.opener.Open(sealed, r.entry)
	return w, err
}

// verify is called when all that the list says was read.
func (w *wholeReader) verify() error {
	if _, err := io.Copy(io.Discard, w.Reader); err != nil {
		return err
	}
	if manifest.Hash(w.sum.Sum(nil)) != w.want {
		return damaged("the SHA-512 of the sealed file is not the one of the list")
	}
	return nil
}
