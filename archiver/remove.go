package archiver

import (
	"cmp"
	"context"
	"slices"

	"github.com/chipster/firn/internal/backupname"
)

// unfinishedFor is how long an upload may take before its remains count as
// abandoned, once a later backup is complete.
const unfinishedFor = 3 * day

// remove deletes what is no longer needed of a storage all of whose backups are
// archived: first old versions, then what the bucket need not hold.
func (r *run) remove(ctx context.Context, storage string) error {
	versions, err := r.disk.versions(r.local[storage])
	if err != nil {
		return err
	}
	if r.DryRun { // as if they were archived
		for _, b := range r.bucket[storage] {
			if b.waiting() && !slices.Contains(versions, b.name) {
				versions = append(versions, b.name)
			}
		}
		slices.SortFunc(versions, backupname.Compare)
	}
	if len(versions) == 0 {
		return r.clean(ctx, storage, nil)
	}
	if doubt := cmp.Or(r.doubt, clockDoubt(versions[len(versions)-1], r.Now())); doubt != "" {
		r.skip(storage, doubt)
		return nil
	}
	if err := r.prune(ctx, plan(versions, r.Now(), r.Location, r.Retention)); err != nil {
		return err
	}
	return r.clean(ctx, storage, versions)
}

// prune deletes versions from the archive. A version goes at once, by a rename
// into the trash: half a version is never seen.
func (r *run) prune(ctx context.Context, versions []backupname.Name) error {
	for _, name := range versions {
		if err := r.goOn(ctx); err != nil {
			return err
		}
		bytes, err := r.disk.bytes(name.String())
		if err != nil && !(r.DryRun && notExist(err)) {
			return err
		}
		if !r.DryRun {
			if err := r.disk.discard(name.String()); err != nil {
				return err
			}
		}
		r.report.Pruned = append(r.report.Pruned, Removal{name.String(), bytes})
		r.Logger.Info("version deleted", "version", name.String(), "bytes", bytes, "dryRun", r.DryRun)
	}
	return nil
}

// clean deletes from the bucket all archived backups but the newest, which the
// next backup builds on, and what uploads that failed long ago left. versions
// are the archive's.
func (r *run) clean(ctx context.Context, storage string, versions []backupname.Name) error {
	backups := r.bucket[storage]
	var newestArchived, newestCommitted backupname.Name
	for _, b := range backups {
		if b.archived() || r.DryRun && b.waiting() {
			newestArchived = b.name
		}
		if b.archived() || b.committed() {
			newestCommitted = b.name
		}
	}
	if newestCommitted.IsZero() {
		return nil
	}
	if !slices.Contains(versions, newestArchived) {
		r.skip(storage, "bucket not cleaned: "+newestArchived.String()+" is archived, but not here: another archive may need the rest")
		return nil
	}
	for _, b := range backups {
		archived := b.archived() || r.DryRun && b.waiting()
		abandoned := !b.archived() && !b.committed() &&
			backupname.Compare(b.name, newestCommitted) < 0 && r.Now().Sub(b.name.Time()) > unfinishedFor
		if !(archived && b.name != newestArchived) && !abandoned {
			continue
		}
		if err := r.goOn(ctx); err != nil {
			return err
		}
		if !r.DryRun {
			if err := b.delete(ctx, r.Store, r.step); err != nil {
				return err
			}
		}
		r.report.Cleaned = append(r.report.Cleaned, Removal{b.name.String(), b.bytes})
		r.Logger.Info("backup deleted from the bucket", "backup", b.name.String(), "bytes", b.bytes, "archived", archived, "dryRun", r.DryRun)
	}
	return nil
}
