// Package archiver moves backups from the bucket into an archive: a folder
// with one folder a version, in which a file that is still current lies in the
// newest version that lists it.
//
// It promises:
//
//   - It can be killed at any instruction. What was good stays good, and the
//     next run goes on from there; a file that arrived whole is not fetched
//     again.
//   - Nothing is listed as archived whose SHA-512 was not checked when it came
//     from the bucket. A file that is missing or damaged is left out of the
//     list, and ErrIncomplete says so: the next backup uploads it again.
//   - A reader of the archive finds each file at every instant, in its old
//     folder or in its new one: files move by rename only.
//   - Where it was told whom to trust, nothing is archived of which nobody
//     trusted has signed the list, under its own name.
//   - Nothing outside the archive's folder is written, whatever a package or a
//     list says.
//   - Nothing is deleted, in the archive or in the bucket, before the new list
//     is in the bucket, nor while the clock is in doubt.
//
// Memory does not grow with the number of files: of a line of a list some bits are
// kept, and what has to be in order is sorted on disk, in os.TempDir. It does grow
// with the number of objects in the bucket.
//
// It needs no key and opens no sealed file. It does not check again what was
// archived earlier, but for what an interrupted run left behind.
package archiver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/heartbeat"
	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/signature"
)

var (
	// ErrIncomplete says that all was done, but that files are missing or
	// damaged, or that packages held what no list names. The Report tells which.
	ErrIncomplete = errors.New("archived, but files are missing or damaged")
	// ErrLocked says that another archiver works on the same root.
	ErrLocked = errors.New("another archiver works on this archive")
	// ErrNoArchive says that the root is not there, or is an empty folder
	// though the bucket was archived before: most likely it is not mounted.
	ErrNoArchive = errors.New("no archive there")
)

// Options says what to archive, and where. Store and Root are required.
type Options struct {
	Store objstore.Store
	Root  string // the archive's folder, which must exist

	DryRun    bool      // only report; nothing is written, not even a lock
	Workers   int       // packages that are fetched at once, 1 MiB of memory each; 0 or less: 4
	Retention Retention // the zero value is the default
	// Trust says whose signatures of lists count: a backup without one is not
	// archived, nor one that is older than what is archived already. nil:
	// signatures are kept beside the lists, and not looked at.
	Trust    *signature.Trusted
	Now      func() time.Time // nil: time.Now
	Location *time.Location   // whose days and months count; nil: time.Local
	Logger   *slog.Logger     // nil: no log

	// Progress, if set, is told how many bytes of a backup's packages have
	// come, of how many. Calls come one at a time, while packages are fetched.
	Progress func(backup string, done, total int64)

	// For tests: called before each change of disk or bucket, one at a time.
	step func(what string)
	// For tests: in the place of syncing a file system.
	syncfs func(fd int) error
}

func (o *Options) applyDefaults() error {
	if o.Store == nil || o.Root == "" {
		return errors.New("an archiver needs a store and a root")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Location == nil {
		o.Location = time.Local
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Progress == nil {
		o.Progress = func(string, int64, int64) {}
	}
	if o.Workers <= 0 {
		o.Workers = 4
	}
	if o.syncfs == nil {
		o.syncfs = unix.Syncfs
	}
	o.step = oneAtATime(o.step)
	return o.Retention.applyDefaults()
}

func oneAtATime(step func(string)) func(string) {
	if step == nil {
		return func(string) {}
	}
	var mu sync.Mutex
	return func(what string) {
		mu.Lock()
		defer mu.Unlock()
		step(what)
	}
}

// Run archives what waits in the bucket, oldest first, deletes old versions
// from the archive, and from the bucket what is archived. A storage that fails
// does not stop the others, nor a backup the ones after it; where anything
// failed for a storage, nothing of it is deleted.
//
// The Report is never nil once the work began, also beside an error. Several
// Runs may go on at once, but only one a root: the others get ErrLocked.
func Run(ctx context.Context, o Options) (*Report, error) {
	if err := o.applyDefaults(); err != nil {
		return nil, err
	}
	disk, err := openDisk(o.Root, o.step)
	if err != nil {
		return nil, err
	}
	defer disk.close()
	disk.syncfs = o.syncfs
	r := &run{Options: o, disk: disk, report: newReport(o.DryRun)}
	held, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	return r.report, heartbeat.Reason(held, r.storages(held))
}

type run struct {
	Options
	disk   *disk
	report *Report
	bucket map[string][]*backup         // by storage, oldest first
	local  map[string][]backupname.Name // the archive's folders by storage, oldest first
	doubt  string                       // why this host's clock is not to be trusted, "" where it is
}

// open takes the lock, and finds out what is there. The context that it returns
// ends when the run has to.
func (r *run) open(ctx context.Context) (context.Context, error) {
	if err := r.look(ctx); err != nil {
		return nil, err
	}
	if err := r.checkMounted(); err != nil || r.DryRun {
		return ctx, err
	}
	held, err := r.disk.lock(ctx, r.Now())
	if err != nil {
		return nil, err
	}
	// Until the lock was taken another archiver may have been at work.
	if err := r.look(held); err != nil {
		return nil, err
	}
	return held, r.sweep()
}

func (r *run) look(ctx context.Context) (err error) {
	if r.local, err = r.disk.folders(); err == nil {
		r.bucket, err = listBucket(ctx, r.Store)
	}
	return err
}

// checkMounted keeps an empty mount point from being filled: with no version
// to carry files from, all of them would count as missing.
func (r *run) checkMounted() error {
	if began, err := r.disk.exists(workDir); err != nil || began || len(r.local) > 0 {
		return err
	}
	for _, backups := range r.bucket {
		for _, b := range backups {
			if b.archived() {
				return fmt.Errorf("%w: %s is empty, but %s was archived before: is the disk mounted? To begin a new archive there, create the folder %s/%s",
					ErrNoArchive, r.Root, b.name, r.Root, workDir)
			}
		}
	}
	return nil
}

// sweep removes what a killed run left and no later one goes on with.
func (r *run) sweep() error {
	waiting := map[string]bool{}
	for _, backups := range r.bucket {
		for _, b := range backups {
			waiting[b.name.String()] = b.waiting()
		}
	}
	names, err := r.disk.names(downloadDir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !waiting[name] {
			if err := r.disk.removeAll(downloadDir + "/" + name); err != nil {
				return err
			}
		}
	}
	for _, path := range []string{trashDir, newList, newSignature, fetchedList} {
		if err := r.disk.removeAll(path); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) storages(ctx context.Context) error {
	all := map[string]bool{}
	for s := range r.bucket {
		all[s] = true
	}
	for s := range r.local {
		all[s] = true
	}
	var errs []error
	for _, s := range slices.Sorted(maps.Keys(all)) {
		if err := r.storage(ctx, s); err != nil {
			errs = append(errs, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if r.report.incomplete() {
		return ErrIncomplete
	}
	return nil
}

// storage archives the waiting backups of one storage, and deletes what is no
// longer needed.
func (r *run) storage(ctx context.Context, storage string) error {
	var errs []error
	for _, b := range r.bucket[storage] {
		if !b.waiting() {
			continue
		}
		if err := r.archive(ctx, b); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", b.name, err))
			r.Logger.Error("backup not archived", "backup", b.name.String(), "error", err)
			if r.Trust != nil && !errors.Is(err, signature.ErrUntrusted) {
				r.skip(storage, "later backups wait for "+b.name.String()+": where signatures count, they are archived in order")
				break
			}
		}
		if ctx.Err() != nil {
			return cmp.Or(errors.Join(errs...), ctx.Err())
		}
	}
	if len(errs) > 0 {
		r.skip(storage, "nothing deleted: not all backups could be archived")
		return errors.Join(errs...)
	}
	if err := r.remove(ctx, storage); err != nil {
		return fmt.Errorf("%s: %w", storage, err)
	}
	return nil
}

// know adds a folder to those of the archive.
func (r *run) know(name backupname.Name) {
	if names := r.local[name.Storage()]; !slices.Contains(names, name) {
		r.local[name.Storage()] = slices.SortedFunc(slices.Values(append(names, name)), backupname.Compare)
	}
}

// goOn is asked before what others see, and what cannot be taken back: it tells
// that the run was not ended, and still has the lock.
func (r *run) goOn(ctx context.Context) error {
	if err := ctx.Err(); err != nil || r.DryRun {
		return err
	}
	return r.disk.held.Check()
}

func (r *run) skip(what, reason string) {
	r.report.Skipped = append(r.report.Skipped, Skip{what, reason})
	r.Logger.Warn("skipped", "name", what, "reason", reason)
}

func notExist(err error) bool { return errors.Is(err, os.ErrNotExist) }
