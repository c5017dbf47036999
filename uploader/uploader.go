// Package uploader backs up the files of a storage: it seals what is new since
// the last archive, packs it, sends it to the bucket, and last of all sends
// the list of all files, which makes the backup exist.
//
// It promises that a listed file was read whole and unchanged, that nothing of
// it is written to a disk on the way, and that a run that fails leaves no
// backup. It needs no private key, and can read nothing back.
//
// It holds the list of the storage's files in memory.
package uploader

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/objstore"
)

var (
	// ErrIncomplete says that the backup exists but some files are not in it.
	ErrIncomplete = errors.New("some files could not be read and are not in the backup")
	// ErrClock says that the bucket holds a backup that is newer than now.
	ErrClock = errors.New("the clock of this host is behind the newest backup")
)

// Options say what to back up, where to and for whom. Store, Storage and Name
// are needed.
type Options struct {
	Store      objstore.Store
	Storage    string              // the folder
	Name       string              // of the storage: the first part of the backup's name
	Recipients envelope.Recipients // for whom to seal

	Exclude  []string // patterns of files and folders to leave out
	Checksum bool     // compare contents, not times, to find what has changed
	Full     bool     // take all files for new

	// Workers is how many packages are made side by side. Default: one for
	// each processor, but no more than 4, since each holds up to three parts
	// of 16 MiB in memory.
	Workers int

	Logger *slog.Logger
	// Planned is told once what will be sealed, in files and plain bytes;
	// Progress, as it goes on, from several goroutines.
	Planned  func(files int, bytes int64)
	Progress func(files int, bytes int64)

	now        func() time.Time
	retryDelay time.Duration
	partSize   int
}

// defaultPartSize is large enough for few requests and small enough that the
// parts of four packages in the making fit into a pod of 512 MiB.
const defaultPartSize = 16 << 20

func (o *Options) applyDefaults() {
	if o.Workers <= 0 {
		o.Workers = min(runtime.GOMAXPROCS(0), 4)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Planned == nil {
		o.Planned = func(int, int64) {}
	}
	if o.Progress == nil {
		o.Progress = func(int, int64) {}
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.retryDelay == 0 {
		o.retryDelay = 100 * time.Millisecond
	}
	if o.partSize == 0 {
		o.partSize = defaultPartSize
	}
}

// Report says what a run did. Sizes are in bytes.
type Report struct {
	Backup   string        `json:"backup"`
	Base     string        `json:"base,omitempty"` // the archive that it is incremental against
	Full     string        `json:"full,omitempty"` // why it is not, or not wholly
	Files    int           `json:"files"`          // in the list
	Size     int64         `json:"size"`
	New      int           `json:"new"` // sealed in this run
	NewSize  int64         `json:"newSize"`
	Sealed   int64         `json:"sealedSize"` // of the new ones
	Packages int           `json:"packages"`
	Vanished int           `json:"vanished"` // deleted while the backup ran: not an error
	LeftOut  int           `json:"leftOut"`  // could not be read, or changed all the while
	Examples []LeftOut     `json:"examples,omitempty"`
	Duration time.Duration `json:"duration"` // nanoseconds
}

// LeftOut is a file that is not in the backup, though it should be.
type LeftOut struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// maxExamples of files left out are in a report; the log has all of them.
const maxExamples = 100

// Run makes one backup. With ErrIncomplete the report and the backup are there
// all the same. Only one run of a name may be under way at a time.
func Run(ctx context.Context, o Options) (*Report, error) {
	o.applyDefaults()
	start := time.Now()
	r := &run{Options: o, report: &Report{}, parts: partPool{size: o.partSize}}
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	storage, err := openStorage(o.Storage)
	if err != nil {
		return nil, err
	}
	defer storage.Close()
	found, err := r.scan(ctx, storage)
	if err != nil {
		return nil, err
	}
	plan, err := r.plan(ctx, storage, found)
	if err != nil {
		return nil, err
	}
	entries, err := r.seal(ctx, storage, plan.fresh)
	if err == nil {
		err = r.publish(ctx, append(plan.carried, entries...))
	}
	if err != nil {
		r.discard(ctx)
		return nil, err
	}
	r.report.Duration = time.Since(start)
	if r.report.LeftOut > 0 {
		return r.report, ErrIncomplete
	}
	return r.report, nil
}

// run is one run of the uploader.
type run struct {
	Options
	recipients string // their id
	name       backupname.Name
	base       backupname.Name // zero: there is none
	report     *Report
	leftOut    leftOut
	parts      partPool
}

// prepare names the backup and finds its base.
func (r *run) prepare(ctx context.Context) (err error) {
	if r.recipients, err = r.Recipients.ID(); err != nil {
		return err
	}
	if _, err := r.Recipients.NewSession(); err != nil {
		return err // now rather than after an hour of scanning
	}
	if r.name, err = backupname.New(r.Name, r.now()); err != nil {
		return err
	}
	r.report.Backup = r.name.String()
	newest := backupname.Name{}
	for object, err := range r.Store.List(ctx, r.Name+"_") {
		if err != nil {
			return fmt.Errorf("list backups: %w", err)
		}
		folder, file, _ := strings.Cut(object.Key, "/")
		name, err := backupname.Parse(folder)
		if err != nil || name.Storage() != r.Name {
			continue
		}
		if manifest.IsListName(file) && (newest.IsZero() || backupname.Compare(name, newest) > 0) {
			newest = name
		}
		if slices.Contains(manifest.ArchiveInfoNames, file) && (r.base.IsZero() || backupname.Compare(name, r.base) > 0) {
			r.base = name
		}
	}
	if !newest.IsZero() && backupname.Compare(newest, r.name) >= 0 {
		return fmt.Errorf("%w: it is %s, and there is %s; set the clock", ErrClock, r.now().UTC().Format(time.RFC3339), newest)
	}
	return nil
}

// publish uploads the list. From then on the backup exists.
func (r *run) publish(ctx context.Context, entries []manifest.Entry) error {
	slices.SortFunc(entries, func(a, b manifest.Entry) int { return strings.Compare(a.Path, b.Path) })
	r.report.Files = len(entries)
	for i := range entries {
		r.report.Size += entries[i].Size
	}
	pipe, out := io.Pipe()
	go func() {
		w := manifest.NewWriter(out)
		for i := range entries {
			if err := w.Write(&entries[i]); err != nil {
				out.CloseWithError(err)
				return
			}
		}
		out.CloseWithError(w.Flush())
	}()
	_, err := objstore.WriteStream(ctx, r.Store, r.key(manifest.BackupInfo), pipe, defaultPartSize)
	pipe.CloseWithError(err)
	if err != nil {
		return fmt.Errorf("upload the list: %w", err)
	}
	return nil
}

func (r *run) key(file string) string { return r.name.String() + "/" + file }

// discard removes what a failed run has uploaded: the list first, should it have
// arrived though the bucket did not say so, since with it the backup exists.
// What cannot be removed the archiver removes after some days.
func (r *run) discard(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	err := r.Store.Delete(ctx, r.key(manifest.BackupInfo))
	var packages []string
	for object, lerr := range r.Store.List(ctx, r.name.String()+"/") {
		err = errors.Join(err, lerr)
		packages = append(packages, object.Key)
	}
	if err == nil {
		err = r.Store.Delete(ctx, packages...)
	}
	if err != nil {
		r.Logger.Warn("packages of the failed backup are left behind", "backup", r.name, "error", err)
	}
}
