// Package restore writes the files of a version into a folder, without a mount,
// or the dump of a database into one.
//
// It promises that a file has its name only when its bytes have the size and
// the SHA-512 of the list; that a run that was interrupted is continued by the
// next one; that a file that is there and differs is left alone unless told
// otherwise; and that no symbolic link in the target leads anything outside. Of
// a dump it commits all, when its bytes have that size and SHA-512, or nothing.
//
// It restores names, contents, times and permission bits. It does not restore
// owners, which lists do not have, nor setuid, setgid and sticky bits, which
// would mean another owner's; it deletes nothing, and does not force what it
// wrote to the disk.
package restore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path"
	"runtime"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/shard"
	"github.com/chipster/firn/internal/workers"
)

var (
	// ErrIncomplete says that not all files were restored; the Report tells
	// which.
	ErrIncomplete = errors.New("not everything was restored")
	// ErrNoMatch says that a pattern fits no file.
	ErrNoMatch = errors.New("no file of the version matches")
	// ErrInUse says that another run restores into the same folder.
	ErrInUse = errors.New("another run restores into this folder")
)

// Options of a run. Catalog, Opener, Version and To are required.
type Options struct {
	Catalog *catalog.Catalog
	Opener  *envelope.Opener
	Version catalog.Version
	To      string // the folder to write into; made if need be
	// Patterns of what to restore, relative to the version: paths of files or
	// folders, with *, ?, [...], {a,b} and **. A folder stands for all below
	// it. None: everything.
	Patterns []string
	// Entries, where not nil, are the files to restore, as Catalog.Files yields
	// them, in place of those that Patterns choose.
	Entries []manifest.Entry
	// Shard is the part of the files to restore. Runs of all shards of one number
	// can go on at the same time, on several machines, and restore all together.
	Shard     shard.Shard
	Workers   int  // files at once; 0 is two a processor, for some wait for the disk
	Overwrite bool // replace files that differ
	DryRun    bool // write nothing
	// Progress, where set, is told of files and plain bytes as they are done.
	// It is called by several goroutines at once.
	Progress func(files int, bytes int64)
	Logger   *slog.Logger // nil is slog.Default
}

func (o *Options) applyDefaults() {
	if o.Workers <= 0 {
		o.Workers = 2 * runtime.GOMAXPROCS(0)
	}
	if o.Progress == nil {
		o.Progress = func(int, int64) {}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}

// Run restores. With ErrIncomplete and ErrNoMatch the report tells of what was
// done all the same. Other errors end the run early: envelope.ErrKey when no
// file can be opened, a target that is full, ctx; the next run goes on.
//
// A file that is there already is taken for restored when it has the size and
// the recorded time of modification, else when its SHA-512 is right.
func Run(ctx context.Context, o Options) (*Report, error) {
	o.applyDefaults()
	patterns, err := parsePatterns(o.Patterns)
	if err != nil {
		return nil, err
	}
	r := &run{Options: o, report: newReport(&o), large: make(chan struct{}, maxLarge())}
	unlock, err := r.openTarget()
	if err != nil {
		return nil, fmt.Errorf("cannot restore to %s: %w", o.To, err)
	}
	defer unlock()
	err = r.files(ctx, patterns)
	if err == nil || errors.Is(err, ErrNoMatch) {
		err = errors.Join(err, r.report.verdict())
	}
	if err != nil {
		err = fmt.Errorf("restore of %s: %w", o.Version.Name, err)
	}
	return r.report, err
}

// run is one call of Run.
type run struct {
	Options
	target *os.Root // nil: a dry run into a folder that is not there
	report *Report
	large  chan struct{} // holds one for each large file that is being written
}

// A large file is opened by several goroutines, with some six blocks of up to
// 4 MiB between them. So there are fewer of these at once than of others.
const largeFile = 16 << 20

func maxLarge() int { return (runtime.GOMAXPROCS(0) + 1) / 2 }

// files hands the files of the version to the workers, those of one folder together.
func (r *run) files(ctx context.Context, patterns patterns) error {
	batches := workers.Batches(r.chosen(ctx, patterns), func(e *manifest.Entry) int64 { return e.Size },
		func(a, b *manifest.Entry) bool { return path.Dir(a.Path) == path.Dir(b.Path) })
	if err := workers.Do(ctx, r.Workers, batches, r.worker); err != nil {
		return err
	}
	return patterns.unmatched()
}

// chosen are the files to restore.
func (r *run) chosen(ctx context.Context, patterns patterns) iter.Seq2[manifest.Entry, error] {
	return func(yield func(manifest.Entry, error) bool) {
		for _, e := range r.Entries {
			if r.Shard.Has(e.Path) && !yield(e, nil) {
				return
			}
		}
		if r.Entries != nil {
			return
		}
		for e, err := range r.Catalog.Files(ctx, r.Version, patterns.folder()) {
			if errors.Is(err, catalog.ErrNotExist) {
				return // the patterns tell that they matched nothing
			}
			// They are asked first: one that fits only other shards' files fits.
			if err == nil && !(patterns.match(e.Path) && r.Shard.Has(e.Path)) {
				continue
			}
			if !yield(e, err) {
				return
			}
		}
	}
}
