package archiver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/heartbeat"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/objstore"
)

// damagedDir keeps what a repair set aside: <version>/<sealed path>. Nothing
// deletes it but people.
const damagedDir = workDir + "/damaged"

// RepairOptions says what is damaged, and where. Root is required.
type RepairOptions struct {
	Store   objstore.Store // nil: the bucket is not told, and the files come a night later
	Root    string         // the archive's folder
	Damaged []Damaged

	DryRun bool             // only report; nothing is written, not even a lock
	Logger *slog.Logger     // nil: no log
	Now    func() time.Time // nil: time.Now

	step func(what string) // tests: called before each change of disk or bucket
}

// Damaged is a sealed file that is missing, or has other bytes than listed.
type Damaged struct {
	Folder       backupname.Name // the version in whose folder it lies, or should
	SealedPath   string
	SealedSHA512 manifest.Hash // as listed
	SealedSize   int64         // as listed
}

// sealedID is which sealed file of a storage it is, wherever it lies.
type sealedID struct {
	path string
	hash manifest.Hash
}

func (d *Damaged) id() sealedID { return sealedID{d.SealedPath, d.SealedSHA512} }

// RepairReport is what a repair did, or in a dry run would do.
type RepairReport struct {
	DryRun   bool       `json:"dryRun,omitempty"`
	SetAside []SetAside `json:"setAside"`
	// Unlisted are paths that were taken off the list of their storage's newest
	// version: those that the storage still has come again with the next backup.
	Unlisted []string `json:"unlisted"`
	// Lost are those that no list was changed for: no backup is going to bring
	// them, unless it is one that builds on what an earlier repair did.
	Lost    []SealedFile `json:"lost"`
	Sound   []SealedFile `json:"sound"`   // as listed after all; left alone
	NotTold []string     `json:"notTold"` // lists that did not get into the bucket, and why
}

// SealedFile names one of the files that were to be repaired.
type SealedFile struct {
	Folder     string `json:"folder"`
	SealedPath string `json:"sealedPath"`
}

// SetAside is a file that was moved out of a version.
type SetAside struct {
	SealedFile
	To string `json:"to"` // below the archive's folder
}

// Repair sets damaged files aside, into .firn/damaged, and takes those that the
// newest version lists off its list, here and in the bucket. The next backup
// uploads them again, and the versions before are read from what that brings.
// It deletes nothing. Each file is looked at once more, also where an archiver
// may have moved it meanwhile; one that is sound stays.
//
// It can be killed at any instruction, and run again. The list in the bucket
// comes before the local one: what this archive no longer lists, no later backup
// takes for archived. Lists of databases are left as they are, for no backup
// brings an old dump again.
//
// Errors: ErrNoArchive, ErrLocked while an archiver is at work, the disk's and
// the store's. The report is never nil once the work began, also beside an error.
func Repair(ctx context.Context, o RepairOptions) (*RepairReport, error) {
	o.applyDefaults()
	disk, err := openDisk(o.Root, o.step)
	if err != nil {
		return nil, err
	}
	defer disk.close()
	r := &repair{RepairOptions: o, disk: disk, report: &RepairReport{
		DryRun: o.DryRun, SetAside: []SetAside{}, Unlisted: []string{}, Lost: []SealedFile{}, Sound: []SealedFile{}, NotTold: []string{},
	}}
	held, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	return r.report, heartbeat.Reason(held, r.storages(held))
}

func (o *RepairOptions) applyDefaults() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.step == nil {
		o.step = func(string) {}
	}
}

type repair struct {
	RepairOptions
	disk   *disk
	report *RepairReport
	local  map[string][]backupname.Name // the archive's folders by storage, oldest first
	bucket map[string][]*backup
}

// open takes the lock, and finds out what is there.
func (r *repair) open(ctx context.Context) (context.Context, error) {
	if err := r.look(ctx); err != nil || r.DryRun {
		return ctx, err
	}
	held, err := r.disk.lock(ctx, r.Now())
	if err != nil {
		return nil, err
	}
	return held, r.look(held) // an archiver may have been at work until now
}

func (r *repair) look(ctx context.Context) (err error) {
	if r.local, err = r.disk.folders(); err != nil {
		return err
	}
	for _, d := range r.Damaged {
		if storage := d.Folder.Storage(); len(r.local[storage]) == 0 {
			return fmt.Errorf("%w: %s has no version of %s: is the disk mounted?", ErrNoArchive, r.Root, storage)
		}
	}
	if r.Store != nil {
		r.bucket, err = listBucket(ctx, r.Store)
	}
	return err
}

func (r *repair) storages(ctx context.Context) error {
	all := map[string][]Damaged{}
	for _, d := range r.Damaged {
		all[d.Folder.Storage()] = append(all[d.Folder.Storage()], d)
	}
	var errs []error
	for _, storage := range slices.Sorted(maps.Keys(all)) {
		if ctx.Err() != nil {
			return errors.Join(append(errs, ctx.Err())...)
		}
		if err := r.storage(ctx, storage, all[storage]); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", storage, err))
		}
	}
	return errors.Join(errs...)
}

func (r *repair) storage(ctx context.Context, storage string, damaged []Damaged) error {
	sound, err := r.setAside(ctx, storage, damaged)
	if err != nil {
		return err
	}
	gone := map[sealedID]bool{}
	for _, d := range damaged {
		if sound[d.id()] {
			r.report.Sound = append(r.report.Sound, SealedFile{d.Folder.String(), d.SealedPath})
		} else {
			gone[d.id()] = true
		}
	}
	unlisted, err := r.unlist(ctx, storage, gone)
	if err != nil {
		return err
	}
	for _, d := range damaged {
		if !sound[d.id()] && !unlisted[d.id()] {
			r.report.Lost = append(r.report.Lost, SealedFile{d.Folder.String(), d.SealedPath})
		}
	}
	return nil
}

// setAside moves files that are damaged out of their versions, and returns those
// that are not. A file is looked for from where it was on: an archiver may have
// taken it to a later version.
func (r *repair) setAside(ctx context.Context, storage string, damaged []Damaged) (map[sealedID]bool, error) {
	sound, moved := map[sealedID]bool{}, false
	for _, folder := range r.local[storage] {
		there, err := r.lyingIn(folder, damaged)
		if err != nil {
			return nil, err
		}
		for _, d := range there {
			from := folder.String() + "/" + d.SealedPath
			ok, err := r.disk.holds(ctx, from, d.SealedSize, d.SealedSHA512)
			if err != nil {
				return nil, fmt.Errorf("looking at %s once more: %w", from, err)
			}
			if ok {
				sound[d.id()] = true
				continue
			}
			if err := r.move(folder, d); err != nil {
				return nil, err
			}
			moved = true
		}
	}
	if !moved || r.DryRun {
		return sound, nil
	}
	return sound, r.disk.sync()
}

// lyingIn returns those of the damaged files that lie in a version's folder. Where
// its list does not name the file, what has its path there is another one.
func (r *repair) lyingIn(folder backupname.Name, damaged []Damaged) ([]*Damaged, error) {
	there := map[sealedID]*Damaged{}
	for i := range damaged {
		d := &damaged[i]
		if there[d.id()] != nil || backupname.Compare(d.Folder, folder) > 0 || isReserved(d.SealedPath) {
			continue
		}
		info, err := r.disk.root.Lstat(folder.String() + "/" + d.SealedPath)
		switch {
		case err == nil && !info.IsDir():
			there[d.id()] = d
		case err != nil && !notExist(err) && !isUnplaceable(err):
			return nil, err
		}
	}
	if len(there) == 0 {
		return nil, nil
	}
	list, err := r.disk.listOf(folder)
	if err != nil {
		return nil, err
	}
	listed := map[sealedID]bool{}
	if list != "" {
		err := r.eachLine(list, func(e *manifest.Entry) error {
			if id := (sealedID{e.SealedPath, e.SealedSHA512}); there[id] != nil {
				listed[id] = true
			}
			return nil
		})
		if err != nil { // what lies beside it cannot be told apart
			r.Logger.Warn("list not readable; nothing is set aside there", "list", list, "error", err)
		}
	}
	maps.DeleteFunc(there, func(id sealedID, d *Damaged) bool {
		// A killed archiver's folder has no list yet. What it brought is fetched
		// again if it was that, and not the damaged file.
		return !listed[id] && !(list == "" && d.Folder == folder)
	})
	return slices.SortedFunc(maps.Values(there), func(a, b *Damaged) int { return cmp.Compare(a.SealedPath, b.SealedPath) }), nil
}

// move moves a file out of a version.
func (r *repair) move(folder backupname.Name, d *Damaged) error {
	from, to := folder.String()+"/"+d.SealedPath, r.freePlace(folder, d.SealedPath)
	if !r.DryRun {
		if err := r.disk.mkdirAll(path.Dir(to)); err != nil {
			return err
		}
		if err := r.disk.rename(from, to); err != nil {
			return err
		}
	}
	r.report.SetAside = append(r.report.SetAside, SetAside{SealedFile{folder.String(), d.SealedPath}, to})
	r.Logger.Warn("damaged file set aside", "file", from, "to", to, "dryRun", r.DryRun)
	return nil
}

// freePlace is where nothing lies that was set aside before. The number is behind
// the version's name, for the file's may be as long as names can be.
func (r *repair) freePlace(folder backupname.Name, sealedPath string) string {
	top := damagedDir + "/" + folder.String()
	to := top + "/" + sealedPath
	for n := 2; ; n++ {
		if taken, err := r.disk.exists(to); !taken || err != nil { // the rename tells
			return to
		}
		to = top + "." + strconv.Itoa(n) + "/" + sealedPath
	}
}
