package catalog

import (
	"io"

	"github.com/chipster/firn/internal/backupname"
)

// Progress tells how far the reading of lists is. What is to be read in all may
// grow, or shrink, when other processes are at work.
type Progress struct {
	Version backupname.Name // whose list is being read
	Lines   int64           // that were read of it

	Done, Versions    int   // versions whose lists were read, of those that are to be
	Bytes, TotalBytes int64 // the same of the bytes of the lists

	before int64 // Bytes without those of Version
}

// plan counts what is left to read.
func (p *Progress) plan(todo []*change) {
	p.Versions, p.TotalBytes = p.Done, p.before
	for _, c := range todo {
		p.Versions += len(c.add)
		for _, s := range c.add {
			p.TotalBytes += max(s.size, 0)
		}
	}
}

// read counts the bytes of a version's list.
func (p *Progress) read(s stamp, list io.Reader) io.Reader {
	p.Version, p.Lines, p.Bytes = s.name, 0, p.before
	return &progressReader{list, p}
}

// done has counted a version, whatever was read of its list.
func (p *Progress) done(s stamp) {
	p.Done++
	p.before += max(s.size, 0)
	p.Bytes = p.before
}

type progressReader struct {
	io.Reader
	p *Progress
}

func (r *progressReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.p.Bytes += int64(n)
	return n, err
}
