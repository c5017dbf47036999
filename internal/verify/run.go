package verify

import (
	"context"
	"crypto/sha512"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/catalog"
)

// run is one call of Run.
type run struct {
	Options
	root   *os.Root
	report *Report
	limit  *rate.Limiter
	burst  int // bytes to read at once at most

	mu       sync.Mutex
	expected []placeKey // where files are or should be; sorted by extras
}

func (r *run) all(ctx context.Context) error {
	if _, err := r.Catalog.Refresh(ctx); err != nil {
		return err
	}
	// The versions come first: what an archiver adds after this moment is not
	// looked at, so none of its files can seem to be extra.
	versions, err := r.versions(ctx)
	if err != nil {
		return err
	}
	storages := storagesOf(versions)
	if err := r.plan(ctx, storages); err != nil {
		return err
	}
	for _, storage := range storages {
		if err := r.files(ctx, storage); err != nil {
			return err
		}
	}
	if err := r.extras(ctx, versions); err != nil {
		return err
	}
	return r.swapped(ctx)
}

// versions are those to verify. Those whose lists cannot be read are noted.
func (r *run) versions(ctx context.Context) (versions []catalog.Version, err error) {
	all, err := r.Catalog.Versions(ctx, "")
	if err != nil {
		return nil, err
	}
	for _, storage := range r.Storages {
		if !slices.ContainsFunc(all, func(v catalog.Version) bool { return v.Name.Storage() == storage }) {
			return nil, fmt.Errorf("%w of the storage %q", catalog.ErrNoVersion, storage)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: the archive is empty; is its disk mounted?", catalog.ErrNoVersion)
	}
	for _, v := range all {
		if len(r.Storages) > 0 && !slices.Contains(r.Storages, v.Name.Storage()) {
			continue
		}
		versions = append(versions, v)
		if err := v.Readable(); err != nil {
			r.report.addList(v, err)
			r.Logger.Warn("a version cannot be verified", "version", v.Name.String(), "error", err)
		}
	}
	r.report.Storages, r.report.Versions = len(storagesOf(versions)), len(versions)
	return versions, nil
}

func storagesOf(versions []catalog.Version) (storages []string) {
	for _, v := range versions {
		storages = append(storages, v.Name.Storage())
	}
	return slices.Compact(storages) // versions come in their order
}

// plan counts what there is to do, and notes where files should be.
func (r *run) plan(ctx context.Context, storages []string) error {
	files, bytes := 0, int64(0)
	for _, storage := range storages {
		for s, err := range r.Catalog.AllSealed(ctx, storage) {
			if err != nil {
				return err
			}
			files, bytes = files+1, bytes+s.SealedSize
			r.expect(s.Last, s.SealedPath)
		}
	}
	r.Planned(files, int64(float64(bytes)*r.Sample/100))
	return nil
}

// files hands the sealed files of a storage to the workers.
func (r *run) files(ctx context.Context, storage string) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(r.Workers)
	var err error
	for s, serr := range r.Catalog.AllSealed(gctx, storage) {
		if err = serr; err != nil {
			break
		}
		group.Go(func() error { return r.file(gctx, &s) })
	}
	// What ended the workers is the cause of what ended the list, not the other
	// way around.
	if werr := group.Wait(); werr != nil {
		return werr
	}
	return err
}

// isChosen tells whether a file is to be read.
func (r *run) isChosen(sealedPath string) bool {
	return r.Sample == 100 || r.Always[sealedPath] || rand.Float64()*100 < r.Sample
}

// placeKey stands for a path in the archive, in little memory: a list of millions
// must be held to know what is extra.
type placeKey [16]byte

func keyOf(folder backupname.Name, sealedPath string) (k placeKey) {
	sum := sha512.Sum512_256([]byte(folder.String() + "/" + sealedPath))
	copy(k[:], sum[:])
	return k
}

func (r *run) expect(folder backupname.Name, sealedPath string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expected = append(r.expected, keyOf(folder, sealedPath))
}
