// Package uploader backs up the files of a storage, or a database: it seals what
// is new since the last archive, or a dump, packs it, sends it to the bucket,
// and last of all sends the list of all files, which makes the backup exist.
//
// It promises that a listed file was read whole and unchanged, that a listed
// dump is whole, that nothing of either is written to a disk on the way, that a
// run that fails leaves no backup, and that of two runs that race none mixes its
// packages with the other's. A run that was stopped, or killed, is gone on with
// by the next one: packages of files that arrived whole are not made again. It
// needs no private key to seal, and can read nothing back.
//
// Memory does not grow with the number of files: what is known of them is sorted
// in temporary files, which nobody else can read, and of which nothing is left when
// the process ends: about 1 GB for a million files. A dump takes as much memory as a
// package in the making, and no file.
package uploader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/shard"
	"github.com/chipster/firn/internal/signature"
)

var (
	// ErrIncomplete says that the backup exists but some files are not in it.
	ErrIncomplete = errors.New("some files could not be read and are not in the backup")
	// ErrClock says that it is another time by the bucket's clock, or that the
	// bucket holds a backup that is newer than now.
	ErrClock = errors.New("the clock of this host cannot be right")
)

// Options say what to back up, where to and for whom. Store, Storage and Name
// are needed.
type Options struct {
	Store      objstore.Store
	Storage    string              // the folder
	Name       string              // of the storage: the first part of the backup's name
	Recipients envelope.Recipients // for whom to seal
	Signer     *signature.Signer   // signs the lists; nil: nobody does

	// Installation is what the lists say whose they are, so that two installations
	// that back up under one name are noticed: the second one is refused with
	// ErrOtherInstallation. See manifest.CheckInstallation for what it may be.
	// Default: a hash of what tells the storage's folder from others.
	Installation string

	Exclude  []string // patterns of files and folders to leave out
	Checksum bool     // compare contents, not times, to find what has changed
	Full     bool     // take all files for new

	// Shard has the run take only the files of its shard. The backup is there when
	// all shards are done, in whatever order; Report.Waiting tells.
	Shard shard.Shard

	// SessionKeyPerFile gives each file a session key of its own, so that it can
	// be handed on without those of its package's other files. Whoever opens
	// them has to do a private-key operation for each; with a passphrase, both
	// sealing and opening take a tenth of a second a file.
	SessionKeyPerFile bool

	// Workers is how many packages are made side by side, and how many files
	// of less than 1 MiB are sealed side by side for each. Default: one for
	// each processor, but no more than 4, since each package holds up to three
	// parts of 16 MiB in memory. To that come, of small files, 3 MiB for each
	// that is being sealed, or, of large ones, 14 MiB a package, and 50 MiB
	// where one has more than 64 GiB.
	Workers int

	Logger *slog.Logger
	// Scanned is told of files as they are found, from several goroutines.
	Scanned func(files int)
	// Planned is told once what will be sealed, in files and plain bytes;
	// Progress, as it goes on, from several goroutines.
	Planned  func(files int, bytes int64)
	Progress func(files int, bytes int64)

	now        func() time.Time
	retryDelay time.Duration
	patience   time.Duration
	partSize   int
	listFiles  int64 // how many files are worth a list of packages
}

// leasePatience is how long a run waits to see whether another one that began at
// the same moment gives way.
const leasePatience = 2 * time.Second

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
	if o.Scanned == nil {
		o.Scanned = func(int) {}
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
	if o.patience == 0 {
		o.patience = leasePatience
	}
	if o.partSize == 0 {
		o.partSize = defaultPartSize
	}
}

// Report says what a run did. Sizes are in bytes.
type Report struct {
	Backup      string        `json:"backup"`
	Base        string        `json:"base,omitempty"`    // the archive that it is incremental against
	Full        string        `json:"full,omitempty"`    // why it is not, or not wholly
	Shard       string        `json:"shard,omitempty"`   // of which all but Base is told
	Waiting     []string      `json:"waiting,omitempty"` // the shards without which there is no backup yet
	Files       int           `json:"files"`             // in the list
	Size        int64         `json:"size"`
	New         int           `json:"new"` // sealed in this run
	NewSize     int64         `json:"newSize"`
	Resumed     int           `json:"resumed,omitempty"` // sealed by an earlier run that was stopped
	ResumedSize int64         `json:"resumedSize,omitempty"`
	Sealed      int64         `json:"sealedSize"` // of the new ones
	Packages    int           `json:"packages"`
	Vanished    int           `json:"vanished"` // deleted while the backup ran: not an error
	LeftOut     int           `json:"leftOut"`  // could not be read, or changed all the while
	Examples    []LeftOut     `json:"examples,omitempty"`
	Duration    time.Duration `json:"duration"` // nanoseconds
}

// LeftOut is a file that is not in the backup, though it should be.
type LeftOut struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// maxExamples of files left out are in a report; the log has all of them.
const maxExamples = 100

// Run makes one backup. With ErrIncomplete the report and the backup are there
// all the same. While another run of the same name is under way, on whatever
// host, it returns ErrLocked; after one that was killed on another host, for up
// to five minutes.
func Run(ctx context.Context, o Options) (report *Report, err error) {
	o.applyDefaults()
	start := time.Now()
	storage, err := openStorage(o.Storage)
	if err != nil {
		return nil, err
	}
	defer storage.Close()
	b := &backup{
		store: o.Store, recipients: o.Recipients, signer: o.Signer, log: o.Logger, now: o.now, patience: o.patience, parts: partPool{size: o.partSize},
		installation: o.Installation, shard: o.Shard,
	}
	if b.installation == "" {
		if b.installation, b.formerly, err = storage.installation(); err != nil {
			return nil, err
		}
	}
	held, err := b.begin(ctx, o.Name, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = b.finish(held, err) }()
	if b.name.IsDatabase() {
		return nil, fmt.Errorf("a storage of files cannot be called %q: databases are, and their old versions are deleted by another rule", o.Name)
	}
	r := &run{Options: o, backup: b, report: &Report{Backup: b.name.String(), Shard: o.Shard.String()}, list: newList()}
	defer r.list.Close()
	if err := r.run(held, storage); err != nil {
		return nil, err
	}
	r.report.Duration = time.Since(start)
	if r.report.LeftOut > 0 {
		return r.report, ErrIncomplete
	}
	return r.report, nil
}

func (r *run) run(ctx context.Context, storage *storage) error {
	if err := r.refuseOthers(ctx); err != nil {
		return err
	}
	fresh, err := r.look(ctx, storage)
	if err != nil {
		return err
	}
	defer fresh.Close()
	if err := r.seal(ctx, storage, fresh); err != nil {
		return err
	}
	r.report.Files = int(r.list.Len())
	if !r.shard.IsZero() {
		return r.publishShard(ctx)
	}
	return r.publish(ctx, linesOf(r.list.All()), r.list.keys)
}

// look finds the files that are to be sealed, and lists the others.
func (r *run) look(ctx context.Context, storage *storage) (*fresh, error) {
	found, err := r.scan(ctx, storage)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	return r.plan(ctx, storage, found)
}

// run is one run of the uploader.
type run struct {
	Options
	*backup
	report  *Report
	list    *list
	record  []byte // to write one in, while there is one goroutine only
	leftOut leftOut
	sealers sync.Pool // of *sealer
}
