package uploader

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
)

// seal makes the packages of the new files, and lists them.
func (r *run) seal(ctx context.Context, s *storage, all *fresh) error {
	sorted, err := byPackage(all)
	if err != nil {
		return err
	}
	defer sorted.Close()
	keys := &sessions{recipients: r.recipients}
	defer keys.close()
	lists := &packageLists{run: r, files: max(r.listFiles, all.Len()/listsPerRun)}
	work, inTime := errgroup.WithContext(ctx)
	work.SetLimit(1 + r.Workers) // one hands out the files
	work.Go(func() error {
		return handOut(inTime, sorted.All(), func(g *group) {
			work.Go(func() error {
				if err := r.sealPackage(inTime, s, g, keys, lists); err != nil {
					return fmt.Errorf("package %s: %w", g.name, err)
				}
				return nil
			})
		})
	})
	err = lists.end(ctx, work.Wait())
	r.report.Vanished, r.report.LeftOut, r.report.Examples = r.leftOut.gone, r.leftOut.count, r.leftOut.examples
	return err
}

func (r *run) sealPackage(ctx context.Context, s *storage, g *group, keys *sessions, lists *packageLists) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	name := r.packageName(g.name)
	p := &packing{run: r, storage: s, pkg: name, out: newPackageWriter(ctx, r.store, r.key(name), &r.parts), lines: newSpool()}
	defer p.lines.Close()
	if !r.SessionKeyPerFile {
		session, err := keys.take(g.small)
		if err != nil {
			return err
		}
		defer keys.put(session)
		p.session = session.Session
	}
	if err := p.files(ctx, g); err != nil {
		return p.out.abort(err)
	}
	if p.lines.Len() == 0 {
		p.out.abort(nil) // nothing that could be read: no package
		return nil
	}
	if err := p.out.complete(); err != nil {
		return err
	}
	// Once it is listed, a package need not be made again should this run be stopped.
	if err := lists.add(ctx, p); err != nil {
		return err
	}
	r.log.Info("package uploaded", "package", name, "files", p.lines.Len(), "bytes", p.out.offset)
	return nil
}

// packing is a package in the making. Small files are sealed side by side, and
// come into the package in any order.
type packing struct {
	*run
	storage *storage
	pkg     string            // its name: the last part of its key
	session *envelope.Session // nil: each file has its own

	mu     sync.Mutex // for the rest
	out    *packageWriter
	lines  *spool // records of the files that are in it
	record []byte
	size   int64 // bytes of those, plain
	sealed int64
}

// files seals all files of the package.
func (p *packing) files(ctx context.Context, g *group) error {
	sealers := 1 // a large file keeps all processors busy
	if g.small {
		sealers = p.Workers
	}
	work, ctx := errgroup.WithContext(ctx)
	for range sealers {
		work.Go(func() error { return p.sealAll(ctx, g) })
	}
	return work.Wait()
}

// sealAll seals one file after the other, as long as there are any.
func (p *packing) sealAll(ctx context.Context, g *group) error {
	path, more, err := g.next(ctx)
	if !more || err != nil {
		return err
	}
	s, ok := p.sealers.Get().(*sealer)
	if !ok {
		s = new(sealer)
	}
	defer p.sealers.Put(s)
	for ; more && err == nil; path, more, err = g.next(ctx) {
		if err := p.file(ctx, s, path); err != nil {
			return err
		}
	}
	return err
}

// file adds one file, or leaves it out.
func (p *packing) file(ctx context.Context, s *sealer, path string) error {
	e, err := p.patiently(ctx, s, path)
	var source sourceError
	switch {
	case errors.As(err, &source) && errors.Is(err, fs.ErrNotExist):
		p.leftOut.vanished(p.log, path)
	case errors.As(err, &source):
		p.leftOut.add(p.log, path, source.error)
	case err != nil:
		return err
	default:
		if err := p.add(&e); err != nil {
			return err
		}
	}
	p.Progress(1, 0)
	return nil
}

// add lists a file that is in the package.
func (p *packing) add(e *manifest.Entry) (err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.Package = p.pkg
	if p.record, err = appendEntry(p.record[:0], e, nil); err != nil {
		return err
	}
	p.size += e.Size
	p.sealed += e.SealedSize
	return p.lines.add(p.record)
}
