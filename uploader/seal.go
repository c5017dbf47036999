package uploader

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
)

// seal makes the packages of the new files and returns their entries.
func (r *run) seal(ctx context.Context, s *storage, fresh []file) ([]manifest.Entry, error) {
	var mu sync.Mutex
	var all []manifest.Entry
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(r.Workers)
	for _, g := range groups(fresh) {
		work.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			entries, err := r.sealPackage(ctx, s, g)
			if err != nil {
				return fmt.Errorf("package %s: %w", g.name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, entries...)
			if len(entries) > 0 {
				r.report.Packages++
			}
			return nil
		})
	}
	err := work.Wait()
	for i := range all {
		r.report.New++
		r.report.NewSize += all[i].Size
		r.report.Sealed += all[i].SealedSize
	}
	r.report.Vanished, r.report.LeftOut, r.report.Examples = r.leftOut.gone, r.leftOut.count, r.leftOut.examples
	return all, err
}

func (r *run) sealPackage(ctx context.Context, s *storage, g group) ([]manifest.Entry, error) {
	g.name = r.packageName(g.name)
	p := &packing{run: r, storage: s, out: newPackageWriter(ctx, r.store, r.key(g.name), &r.parts)}
	if !r.SessionKeyPerFile {
		session, err := r.recipients.NewSession()
		if err != nil {
			return nil, err
		}
		defer session.Wipe()
		p.session = session
	}
	if err := p.files(ctx, g); err != nil {
		return nil, p.out.abort(err)
	}
	if len(p.entries) == 0 {
		p.out.abort(nil) // nothing that could be read: no package
		return nil, nil
	}
	if err := p.out.complete(); err != nil {
		return nil, err
	}
	// With its list, a package need not be made again should this run be stopped.
	if err := r.putList(ctx, r.key(g.name)+packageListSuffix, p.entries); err != nil {
		return nil, err
	}
	r.log.Info("package uploaded", "package", g.name, "files", len(p.entries), "bytes", p.out.offset)
	return p.entries, nil
}

// packing is a package in the making. Small files are sealed side by side, and
// come into the package in any order.
type packing struct {
	*run
	storage *storage
	session *envelope.Session // nil: each file has its own

	mu      sync.Mutex // for the rest
	out     *packageWriter
	entries []manifest.Entry
}

// files seals all files of the package.
func (p *packing) files(ctx context.Context, g group) error {
	sealers := 1 // a large file keeps all processors busy
	if g.small {
		sealers = min(p.Workers, len(g.files))
	}
	var taken atomic.Int64
	work, ctx := errgroup.WithContext(ctx)
	for range sealers {
		work.Go(func() error {
			s, ok := p.sealers.Get().(*sealer)
			if !ok {
				s = new(sealer)
			}
			defer p.sealers.Put(s)
			for i := taken.Add(1); i <= int64(len(g.files)); i = taken.Add(1) {
				if err := p.file(ctx, s, g.files[i-1], g.name); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return work.Wait()
}

// file adds one file, or leaves it out.
func (p *packing) file(ctx context.Context, s *sealer, f file, name string) error {
	e, err := p.patiently(ctx, s, f)
	var source sourceError
	switch {
	case errors.As(err, &source) && errors.Is(err, fs.ErrNotExist):
		p.leftOut.vanished(p.log, f.path)
	case errors.As(err, &source):
		p.leftOut.add(p.log, f.path, source.error)
	case err != nil:
		return err
	default:
		e.Package = name
		p.mu.Lock()
		p.entries = append(p.entries, e)
		p.mu.Unlock()
	}
	p.Progress(1, 0)
	return nil
}
