// Package verify looks at an archive as it lies on the disk and says what of it
// is not what its lists say: whether a version can be brought back is known
// before the day on which it must be.
//
// It promises that each sealed file that a readable list names is looked at,
// and read unless only a sample is wanted; that a byte of a file that was read
// and is not what the list says is found, and lies in one of the ranges that are
// reported; that an archiver at work meanwhile gives no false alarm; and that
// nothing is changed. It needs no key, since the lists have a hash of the sealed
// files; with one, it opens each file too, and compares what was backed up.
//
// It does not say who made a list; the catalog does where it is told whom to
// trust. It cannot know of a version whose folder is gone, nor of a list that
// was replaced by another good one.
package verify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"

	"golang.org/x/time/rate"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/shard"
)

// ErrDamaged says that the archive is not what its lists say; the Report tells
// where.
var ErrDamaged = errors.New("the archive is damaged")

// Options of a run. Catalog and Root, which is the catalog's, are required.
type Options struct {
	Catalog *catalog.Catalog
	Root    string
	// Opener opens each file that is read, so that what was backed up is
	// compared too. Nil: only the sealed bytes are.
	Opener *envelope.Opener
	// Storages to look at. None: all that the archive has.
	Storages []string
	// Shard is the part of the files to look at. All shards of one number find
	// together what one run finds; damaged lists and unfinished folders are the
	// first one's.
	Shard shard.Shard
	// Sample is the percentage of the files that are read, chosen at random; 0
	// and 100 are all. That each file is there, and its size, is always checked.
	Sample float64
	// Always are the sealed paths of files that are read whatever the sample is:
	// what was found damaged must not be forgotten since chance did not choose it.
	Always map[string]bool
	// BytesPerSecond to read at most; 0: as fast as the disk is.
	BytesPerSecond int64
	// Workers is how many files are read at once; 0 is two a processor, at most
	// 8. Each takes 1 MiB, with Opener some six blocks of a file besides.
	Workers int
	// Planned, where set, is told before the first file how many files there are,
	// and about how many sealed bytes are to be read.
	Planned func(files int, bytes int64)
	// Progress, where set, is told of files and sealed bytes as they are done. It
	// is called by several goroutines at once.
	Progress func(files int, bytes int64)
	Logger   *slog.Logger // nil is slog.Default
}

const (
	maxWorkers = 8       // by default: a disk with heads reads no faster with more
	bufferSize = 1 << 20 // of a worker; also the most that is read without a pause
	minBurst   = 4 << 10
)

func (o *Options) applyDefaults() {
	if o.Workers <= 0 {
		o.Workers = min(2*runtime.GOMAXPROCS(0), maxWorkers)
	}
	if o.Sample <= 0 || o.Sample > 100 {
		o.Sample = 100
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

// Run verifies. The report tells of what was done with whatever error: nil when
// all is well; ErrDamaged; signature.ErrUntrusted or envelope.ErrKey when all
// that is wrong is that nobody trusted signed some lists, or that no key fits
// some files; catalog.ErrNoVersion when there is nothing to verify; and what
// ended the run early: ctx, or a catalog that cannot be read.
func Run(ctx context.Context, o Options) (*Report, error) {
	o.applyDefaults()
	root, err := os.OpenRoot(o.Root)
	if err != nil {
		return newReport(&o), fmt.Errorf("cannot open the archive: %w", err)
	}
	defer root.Close()
	r := &run{Options: o, root: root, report: newReport(&o), limit: rate.NewLimiter(rate.Inf, 0), burst: bufferSize}
	if o.BytesPerSecond > 0 {
		// Some pieces a second, so that others get their turns at the disk.
		r.burst = int(min(bufferSize, max(o.BytesPerSecond/8, minBurst)))
		r.limit = rate.NewLimiter(rate.Limit(o.BytesPerSecond), r.burst)
	}
	err = r.all(ctx)
	if ctx.Err() != nil {
		err = ctx.Err() // which shows as many an error
	}
	r.report.finish()
	if err == nil {
		err = r.report.verdict()
	}
	if err != nil {
		err = fmt.Errorf("verifying %s: %w", o.Root, err)
	}
	return r.report, err
}
