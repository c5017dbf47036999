package envelope

import (
	"io"
	"sync"
)

// source is one step of opening a file. It returns bytes, in spare where that is
// large enough, or an error; it is not called again after an error. io.EOF says
// that there are no more, and that all that could be verified was right.
type source func(spare []byte) ([]byte, error)

// ahead runs a source beside those who take its bytes. The first few pieces it
// makes on demand: a small file needs no goroutine. It is not safe for
// concurrent use.
type ahead struct {
	source source
	inline int // pieces that are still made on demand

	pieces chan piece    // from the goroutine; nil while there is none
	spares chan []byte   // back to it
	stop   chan struct{} // closed by close
	ended  sync.WaitGroup

	piece []byte // what Read has not given yet
	whole []byte // the piece that it is the rest of
	err   error
}

type piece struct {
	bytes []byte
	err   error
}

func newAhead(s source, inline int) *ahead { return &ahead{source: s, inline: inline} }

// next returns the next piece. spare, which may be nil, is used for another.
func (a *ahead) next(spare []byte) ([]byte, error) {
	if a.err != nil {
		return nil, a.err
	}
	var p piece
	if a.inline > 0 {
		a.inline--
		p.bytes, p.err = a.source(spare)
	} else {
		if a.pieces == nil {
			a.start()
		}
		select {
		case a.spares <- spare:
		default:
		}
		p = <-a.pieces
	}
	a.err = p.err
	return p.bytes, p.err
}

func (a *ahead) start() {
	a.pieces, a.spares, a.stop = make(chan piece, 1), make(chan []byte, 2), make(chan struct{})
	a.ended.Go(func() {
		for {
			var p piece
			select {
			case spare := <-a.spares:
				p.bytes, p.err = a.source(spare)
			default:
				p.bytes, p.err = a.source(nil)
			}
			select {
			case a.pieces <- p:
			case <-a.stop:
				return
			}
			if p.err != nil {
				return
			}
		}
	})
}

// close stops the goroutine and waits for it. The source can be used no more.
func (a *ahead) close() {
	if a.stop != nil {
		close(a.stop)
		a.ended.Wait()
		a.stop = nil
	}
}

func (a *ahead) fill() error {
	for len(a.piece) == 0 {
		p, err := a.next(a.whole)
		if err != nil {
			a.whole = nil
			return err
		}
		a.piece, a.whole = p, p[:0]
	}
	return nil
}

func (a *ahead) Read(p []byte) (int, error) {
	if err := a.fill(); err != nil {
		return 0, err
	}
	n := copy(p, a.piece)
	a.piece = a.piece[n:]
	return n, nil
}

func (a *ahead) ReadByte() (byte, error) {
	if err := a.fill(); err != nil {
		return 0, err
	}
	b := a.piece[0]
	a.piece = a.piece[1:]
	return b, nil
}

// byteReader is what packets are read from.
type byteReader interface {
	io.Reader
	io.ByteReader
}
