// Package drill proves that backups can be restored, by restoring some: of each
// storage of files a random sample of its newest version and of an older one, and
// of each database the newest dump.
//
// It promises that what it tells to be right was restored by the code of package
// restore, and was right when it was read again from the disk, or counted in a
// server; that a problem with one version keeps no other from being tried; that
// memory does not grow with the number of files in a version; and that nothing of
// what it made is left when Run returns, unless told to keep it.
//
// It promises nothing about the files that it did not try: package verify reads
// them all. A process that is killed leaves its folder and its database, which
// the next drills name.
package drill

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/postgres"
)

// Options of a drill. Catalog, Opener and Files are required.
type Options struct {
	Catalog  *catalog.Catalog
	Opener   *envelope.Opener
	Storages []string // none: all of the archive
	Files    int      // how many of a version are chosen at random
	MaxBytes int64    // restore at most so many bytes of a version of files; 0: as many as there is room for
	Scratch  string   // make the folder to restore into in this one; "": the system's for temporary files
	Keep     bool     // leave what was restored
	// Server, where set, is the address of a server to restore dumps in, as a
	// user who may create databases. Nil: dumps are restored as files.
	Server *postgres.Database
	Tools  postgres.Tools
	// Planned, where set, is told once what will be done, before Progress.
	Planned func(files int, bytes int64)
	// Progress, where set, is told of files when they have been compared, and of
	// bytes, as they are restored and as they are read again. It is called by
	// several goroutines at once.
	Progress func(files int, bytes int64)
	Logger   *slog.Logger // nil is slog.Default
}

func (o *Options) applyDefaults() {
	if o.Scratch == "" {
		o.Scratch = os.TempDir()
	}
	if o.Planned == nil {
		o.Planned = func(int, int64) {}
	}
	if o.Progress == nil {
		o.Progress = func(int, int64) {}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}

// run is one call of Run.
type run struct {
	Options
	started time.Time
	report  *Report
	folder  string // of this drill
}

// Run drills. The report is nil where nothing could be tried: ErrNoRoom,
// catalog.ErrNoVersion for a storage that is not there, a server that does not
// let the user in.
//
// Where there is a report, the error is its verdict: restore.ErrIncomplete says
// that it has problems, and envelope.ErrKey that all of them are of files that no
// key opens; signature.ErrUntrusted that a version has no trusted signature. Any
// other error ended the drill early, such as ctx or a disk that is full.
func Run(ctx context.Context, o Options) (*Report, error) {
	o.applyDefaults()
	r := &run{Options: o, started: time.Now()}
	r.report = &Report{Verdict: Unfinished, Started: r.started.UTC(), Trials: []*Trial{}}
	trials, err := r.plan(ctx)
	if err != nil {
		return nil, fmt.Errorf("drill: %w", err)
	}
	err = r.all(ctx, trials)
	r.report.Seconds = time.Since(r.started).Seconds()
	if err == nil {
		err = r.report.conclude()
	}
	if err != nil {
		err = fmt.Errorf("drill: %w", err)
	}
	return r.report, err
}

// plan chooses what to try, before anything is written.
func (r *run) plan(ctx context.Context) ([]*trial, error) {
	versions, err := r.versions(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.findLeftovers(ctx, versions); err != nil {
		return nil, err
	}
	room, err := r.room()
	if err != nil {
		return nil, err
	}
	var trials []*trial
	var files int
	var bytes int64
	for _, v := range versions {
		t := newTrial(r, v)
		if err := t.choose(ctx, room); err != nil {
			return nil, err
		}
		if r.Keep {
			room -= t.need()
		}
		trials = append(trials, t)
		files += len(t.entries)
		bytes += t.work()
	}
	r.Planned(files, bytes)
	return trials, nil
}

func (r *run) all(ctx context.Context, trials []*trial) (err error) {
	if r.folder, err = os.MkdirTemp(r.Scratch, folderPrefix+stamp(r.started)+"-"); err != nil {
		return fmt.Errorf("cannot restore anything: %w", err)
	}
	if r.Keep {
		r.report.Kept = append(r.report.Kept, r.folder)
	} else {
		defer func() {
			if rerr := os.RemoveAll(r.folder); rerr != nil && err == nil {
				err = fmt.Errorf("what was restored is still there: %w", rerr)
			}
		}()
	}
	for _, t := range trials {
		r.Logger.Info("trying to restore", "version", t.Version, "folder", r.folder, "files", len(t.entries), "bytes", t.Chosen.Bytes)
		err := t.try(ctx)
		r.report.add(&t.Trial)
		if err != nil {
			return err
		}
	}
	return nil
}
