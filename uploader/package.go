package uploader

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chipster/firn/internal/objstore"
)

// packageWriter streams a tar file into an object, part by part.
//
// A member's header comes before its data and holds its size, which is known
// only when the data has been sealed. So the part that holds the header waits
// in memory while the parts behind it go up, and the header is filled in at
// the end: parts may arrive in any order. Memory is three parts at most,
// whatever the sizes: the one being filled, the one that waits, and one on its
// way.
type packageWriter struct {
	ctx      context.Context
	sendCtx  context.Context // ends with the first part that fails
	store    objstore.Store
	key      string
	upload   objstore.Upload
	sending  *errgroup.Group
	parts    *partPool
	part     []byte // being filled
	number   int    // of part, from 1
	offset   int64  // bytes of the package so far
	member   member
	inMember bool
}

// member is the file being added.
type member struct {
	name   string
	header int    // length of its header
	at     int    // of the header in its part
	number int    // of that part
	held   []byte // that part, once another is being filled
	data   int64  // offset of the data in the package
}

func newPackageWriter(ctx context.Context, store objstore.Store, key string, parts *partPool) *packageWriter {
	sending, sendCtx := errgroup.WithContext(ctx)
	sending.SetLimit(1)
	return &packageWriter{
		ctx: ctx, sendCtx: sendCtx, store: store, key: key, number: 1, sending: sending,
		part: parts.get(1), parts: parts,
	}
}

// partPool lends the buffers of parts. It keeps those of the first size, since
// most packages are small, and there may be thousands. It is no sync.Pool: that
// one drops what is not used for a while, and until it is collected a buffer that
// was dropped takes as much memory as the one that was made in its place.
type partPool struct {
	size int // of the first parts, see objstore.PartSize
	mu   sync.Mutex
	free [][]byte // no more than were in use at once
}

func (p *partPool) get(number int) []byte {
	size := objstore.PartSize(p.size, number)
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); size == p.size && n > 0 {
		part := p.free[n-1]
		p.free = p.free[:n-1]
		return part[:0]
	}
	return make([]byte, 0, size)
}

func (p *partPool) put(part []byte) {
	if cap(part) == p.size {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.free = append(p.free, part)
	}
}

// begin starts a member. Its name's length is fixed from now on.
func (p *packageWriter) begin(name string) error {
	header, err := tarHeader(name, 0, time.Time{})
	if err != nil {
		return err
	}
	// The header is kept in one part, which is then shorter than others.
	if cap(p.part)-len(p.part) < len(header) {
		if err := p.flush(); err != nil {
			return err
		}
	}
	p.member = member{name: name, header: len(header), at: len(p.part), number: p.number, data: p.offset + int64(len(header))}
	p.inMember = true
	_, err = p.Write(header)
	return err
}

// add adds a member whose data is all there, and returns its offset in the
// package.
func (p *packageWriter) add(name string, data []byte, modified time.Time) (offset int64, err error) {
	header, err := tarHeader(name, int64(len(data)), modified)
	if err != nil {
		return 0, err
	}
	if _, err := p.Write(header); err != nil {
		return 0, err
	}
	offset = p.offset
	if _, err := p.Write(data); err != nil {
		return 0, err
	}
	_, err = p.Write(padding[:-len(data)&(tarBlock-1)])
	return offset, err
}

// Write adds to the member's data.
func (p *packageWriter) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		if len(p.part) == cap(p.part) {
			if err := p.flush(); err != nil {
				return n, err
			}
		}
		c := min(len(b), cap(p.part)-len(p.part))
		p.part = append(p.part, b[:c]...)
		p.offset += int64(c)
		n += c
		b = b[c:]
	}
	return n, nil
}

// end finishes the member and returns the offset of its data in the package.
func (p *packageWriter) end(modified time.Time) (offset int64, err error) {
	return p.member.data, p.close(p.member.name, modified)
}

// giveUp takes the member back. What is on its way to the store already stays
// in the package, under a name that no file has: all tildes.
func (p *packageWriter) giveUp() error {
	if p.member.held == nil && p.member.number == p.number {
		p.offset = p.member.data - int64(p.member.header)
		p.part = p.part[:p.member.at]
		p.inMember = false
		return nil
	}
	return p.close(abandonedName(len(p.member.name)), time.Time{})
}

func (p *packageWriter) close(name string, modified time.Time) error {
	size := p.offset - p.member.data
	header, err := tarHeader(name, size, modified)
	if err != nil {
		return err
	}
	if len(header) != p.member.header {
		return fmt.Errorf("tar header of %q became %d bytes instead of %d", name, len(header), p.member.header)
	}
	if _, err := p.Write(padding[:-size&(tarBlock-1)]); err != nil {
		return err
	}
	part := p.part
	if p.member.held != nil {
		part = p.member.held
	}
	copy(part[p.member.at:], header)
	p.inMember = false
	if p.member.held != nil {
		held := p.member.held
		p.member.held = nil
		return p.send(p.member.number, held)
	}
	return nil
}

// flush sends the part that is full, or keeps it where the member's header is
// in it and still open.
func (p *packageWriter) flush() error {
	part, number := p.part, p.number
	p.number++
	p.part = p.parts.get(p.number)
	if p.inMember && p.member.number == number {
		p.member.held = part
		return nil
	}
	return p.send(number, part)
}

// send uploads a part beside the sealing of the next.
func (p *packageWriter) send(number int, part []byte) error {
	if p.upload == nil {
		upload, err := p.store.Create(p.ctx, p.key)
		if err != nil {
			return err
		}
		p.upload = upload
	}
	if number > objstore.MaxParts {
		return fmt.Errorf("%s: more than %d parts", p.key, objstore.MaxParts)
	}
	p.sending.Go(func() error {
		err := p.upload.WritePart(p.sendCtx, number, part)
		p.parts.put(part)
		return err
	})
	return p.sendCtx.Err()
}

const tarBlock = 512

var padding [tarBlock]byte

// complete ends the package and makes the object appear.
func (p *packageWriter) complete() error {
	if _, err := p.Write(make([]byte, 2*tarBlock)); err != nil {
		return p.abort(err)
	}
	if p.upload == nil && p.number == 1 {
		defer p.parts.put(p.part)
		return p.store.Put(p.ctx, p.key, p.part)
	}
	if err := p.send(p.number, p.part); err != nil {
		return p.abort(err)
	}
	if err := p.sending.Wait(); err != nil {
		return p.abort(err)
	}
	if err := p.upload.Complete(p.ctx); err != nil {
		return p.abort(err)
	}
	return nil
}

// abort drops the package and returns what went wrong first.
func (p *packageWriter) abort(err error) error {
	if first := p.sending.Wait(); first != nil {
		err = first
	}
	if p.upload != nil {
		p.upload.Abort() // the error that counts is the one before
	}
	return err
}

// tarHeader is the header of a regular file in GNU's format, whose length does
// not depend on the size: from 8 GiB on that is written in base 256.
func tarHeader(name string, size int64, modified time.Time) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := w.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: modified.Truncate(time.Second), Format: tar.FormatGNU,
	})
	return b.Bytes(), err
}

// abandonedName is a name of the length of another, of "~" and "/" only.
func abandonedName(length int) string {
	const folder = 100
	var b strings.Builder
	for b.Len() < length {
		if b.Len()%folder == folder-1 && b.Len()+1 < length {
			b.WriteByte('/')
			continue
		}
		b.WriteByte('~')
	}
	return b.String()
}
