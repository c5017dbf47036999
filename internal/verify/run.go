package verify

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"slices"
	"sync"

	"golang.org/x/time/rate"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/extsort"
	"github.com/chipster/firn/internal/workers"
)

// run is one call of Run.
type run struct {
	Options
	root   *os.Root
	report *Report
	limit  *rate.Limiter
	burst  int // bytes to read at once at most

	mu       sync.Mutex
	expected *extsort.Sorter // where files are or should be, as placeKey has them
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
	r.expected = extsort.New(sortMemory)
	defer r.expected.Close()
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
		if err := v.Readable(); err != nil && r.Shard.First() {
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

// sealed are the sealed files of a storage that are this shard's. Whose a file is
// says its sealed path, for of what no list names nothing else is known.
func (r *run) sealed(ctx context.Context, storage string) iter.Seq2[catalog.Sealed, error] {
	return func(yield func(catalog.Sealed, error) bool) {
		for s, err := range r.Catalog.AllSealed(ctx, storage) {
			if (err != nil || r.Shard.Has(s.SealedPath)) && !yield(s, err) {
				return
			}
		}
	}
}

// plan counts what there is to do, and notes where files should be.
func (r *run) plan(ctx context.Context, storages []string) error {
	files, bytes := 0, int64(0)
	for _, storage := range storages {
		for s, err := range r.sealed(ctx, storage) {
			if err == nil {
				err = r.expect(s.Last, s.SealedPath)
			}
			if err != nil {
				return err
			}
			files, bytes = files+1, bytes+s.SealedSize
		}
	}
	r.Planned(files, int64(float64(bytes)*r.Sample/100))
	return nil
}

// files hands the sealed files of a storage to the workers. Neighbours lie in the
// same folders.
func (r *run) files(ctx context.Context, storage string) error {
	batches := workers.Batches(r.sealed(ctx, storage), func(s *catalog.Sealed) int64 { return s.SealedSize }, func(a, b *catalog.Sealed) bool { return true })
	return workers.Do(ctx, r.Workers, batches, r.batches)
}

// isChosen tells whether a file is to be read.
func (r *run) isChosen(sealedPath string) bool {
	return r.Sample == 100 || r.Always[sealedPath] || rand.Float64()*100 < r.Sample
}

// sortMemory is what each of the two sorted lists of places takes, in bytes. It is
// a variable for tests.
var sortMemory = 4 << 20

// placeKey is a path in the archive such that neighbours in the lists are
// neighbours.
func placeKey(folder backupname.Name, sealedPath string) []byte {
	return []byte(sealedPath + "\x00" + folder.String())
}

func (r *run) expect(folder backupname.Name, sealedPath string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.expected.Add(placeKey(folder, sealedPath))
}
