package envelope

import (
	"context"
	"io"
	"math"
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
	plain *Reader       // nil: at the beginning
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
	plain, err := s.r.opener.Open(io.NewSectionReader(s.r.sealed, 0, math.MaxInt64), s.r.entry)
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
		if _, err := io.Copy(io.Discard, s.plain); err != nil {
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
