package uploader

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/postgres"
	"github.com/chipster/firn/internal/signature"
)

// DatabaseOptions say which database to back up, where to and for whom. Store,
// Role and Database are needed.
type DatabaseOptions struct {
	Store      objstore.Store
	Role       string // of the database, such as session-db: names its backups
	Database   *postgres.Database
	Recipients envelope.Recipients // for whom to seal
	Signer     *signature.Signer   // signs the list; nil: nobody does

	Tools  postgres.Tools
	Format postgres.Format // default: postgres.Plain
	Clean  bool            // a plain dump that drops what it creates first
	// Installation is what the list says whose it is: a backup of the same role by
	// another one is refused with ErrOtherInstallation. See Options. Default: a
	// hash of what tells the database from others, where the server says that.
	Installation string
	// RemoveOrphans deletes the large objects that no table refers to before
	// the dump. Where that fails, the dump has them.
	RemoveOrphans bool

	Logger *slog.Logger
	// Progress is told of bytes of the dump as they come.
	Progress func(bytes int64)

	now      func() time.Time
	patience time.Duration
	partSize int
}

func (o *DatabaseOptions) applyDefaults() {
	if o.Format == "" {
		o.Format = postgres.Plain
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Progress == nil {
		o.Progress = func(int64) {}
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.patience == 0 {
		o.patience = leasePatience
	}
	if o.partSize == 0 {
		o.partSize = defaultPartSize
	}
}

// DatabaseReport says what a run did. Sizes are in bytes.
type DatabaseReport struct {
	Backup   string        `json:"backup"`
	Path     string        `json:"path"` // of the dump in the backup
	Size     int64         `json:"size"`
	Sealed   int64         `json:"sealedSize"`
	Rows     postgres.Rows `json:"rows"`     // schema, table, rows
	Duration time.Duration `json:"duration"` // nanoseconds
}

// RunDatabase makes a full backup of one database: pg_dump's output goes
// through the envelope into the bucket, and touches no disk. The rows that are
// counted and the dump are of one moment, whoever writes meanwhile.
//
// A run that fails leaves no backup. Only one run of a role can be under way at a time, see Run; it takes three
// parts of 16 MiB of memory, more from a sealed dump of 20 GB on, and 50 MiB for
// the sealing.
func RunDatabase(ctx context.Context, o DatabaseOptions) (report *DatabaseReport, err error) {
	o.applyDefaults()
	start := time.Now()
	b := &backup{
		store: o.Store, recipients: o.Recipients, signer: o.Signer, log: o.Logger, now: o.now, patience: o.patience, parts: partPool{size: o.partSize},
		installation: o.Installation,
	}
	held, err := b.begin(ctx, backupname.DatabaseStorage(o.Role), false)
	if err != nil {
		return nil, err
	}
	defer func() { err = b.finish(held, err) }()
	r := &databaseRun{DatabaseOptions: o, backup: b}
	entry, err := r.run(held)
	if err != nil {
		return nil, err
	}
	return &DatabaseReport{
		Backup: b.name.String(), Path: entry.Path, Size: entry.Size, Sealed: entry.SealedSize, Rows: entry.Rows, Duration: time.Since(start),
	}, nil
}

func (r *databaseRun) run(ctx context.Context) (e manifest.Entry, err error) {
	if r.conn, err = r.Database.Connect(ctx); err != nil {
		return e, err
	}
	defer r.conn.Close()
	if r.installation == "" {
		if r.installation, err = r.conn.Installation(ctx); err != nil {
			return e, err
		}
		if r.installation != "" { // which is nobody else's business
			r.installation = hashed(r.installation)
		}
	}
	if err := r.refuseOthers(ctx); err != nil {
		return e, err
	}
	// Asked first, since what comes before the dump can take long.
	pgDump, err := r.Tools.PgDump(ctx, r.conn.Version())
	if err != nil {
		return e, err
	}
	r.log.Info("database to be dumped", "backup", r.name, "database", r.Database, "server", r.conn.Version(), "pg_dump", pgDump)
	if r.RemoveOrphans {
		if err := r.Database.RemoveOrphans(ctx, r.Tools, r.conn.Version(), r.log); err != nil {
			r.log.Warn("orphaned large objects are not removed, and stay in the dump", "database", r.Database, "error", err)
		}
	}
	if e, err = r.seal(ctx); err != nil {
		return e, err
	}
	record, err := appendEntry(nil, &e, nil)
	if err == nil {
		line := func(yield func([]byte, error) bool) { yield(record, nil) }
		err = r.publish(ctx, linesOf(line), map[string]bool{r.key(e.Package): true})
	}
	if err != nil {
		r.discard(ctx, r.key(e.Package))
	}
	return e, err
}

// discard removes the package of a run that failed, since no later one can go on
// with a dump: the list first, should it have arrived though the bucket did not
// say so, since with it the backup exists.
func (r *databaseRun) discard(ctx context.Context, key string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	list := r.key(manifest.BackupInfo)
	err := r.store.Delete(ctx, list, list+signature.Suffix)
	if err == nil {
		err = r.store.Delete(ctx, key)
	}
	if err != nil {
		r.log.Warn("the dump of the failed backup is left behind", "package", key, "error", err)
	}
}

// databaseRun is one call of RunDatabase.
type databaseRun struct {
	DatabaseOptions
	*backup
	conn *postgres.Conn
}

// seal counts the rows, and makes the one package.
func (r *databaseRun) seal(ctx context.Context) (e manifest.Entry, err error) {
	snapshot, err := r.conn.Snapshot(ctx)
	if err != nil {
		return e, err
	}
	rows, err := r.conn.CountRows(ctx)
	if err != nil {
		return e, err
	}
	r.logRows(rows)
	session, err := r.recipients.NewSession()
	if err != nil {
		return e, err
	}
	defer session.Wipe()
	e = manifest.Entry{Path: r.name.String() + r.extension(), Backup: r.name, Details: manifest.Details{
		Modified: r.name.Time(), Mode: 0o600, HasMode: true, Package: r.name.String() + ".tar", Key: r.sealedFor, Rows: rows,
	}}
	e.SealedPath = manifest.SealedPath(e.Path, r.recipients.Suffix())
	p := newPackageWriter(ctx, r.store, r.key(e.Package), &r.parts)
	if err := p.begin(e.SealedPath); err != nil {
		return e, p.abort(err)
	}
	sums, err := r.dump(ctx, session, p, snapshot)
	if err != nil {
		return e, p.abort(err)
	}
	setSums(&e, sums)
	if e.Offset, err = p.end(r.name.Time()); err != nil {
		return e, p.abort(err)
	}
	return e, p.complete()
}

// extension tells people what the dump is for: psql or pg_restore.
func (r *databaseRun) extension() string {
	if r.Format == postgres.Custom {
		return ".dump"
	}
	return ".sql"
}

// dump has the database dumped through the envelope into the package.
func (r *databaseRun) dump(ctx context.Context, session *envelope.Session, p *packageWriter, snapshot string) (envelope.Sums, error) {
	sealer, err := session.NewWriter(p, -1)
	if err != nil {
		return envelope.Sums{}, err
	}
	err = r.Database.Dump(ctx, progressWriter{sealer, r.Progress}, postgres.DumpOptions{
		Tools: r.Tools, Server: r.conn.Version(), Snapshot: snapshot, Format: r.Format, Clean: r.Clean, Logger: r.log,
	})
	sums, closeErr := sealer.Close()
	if err == nil {
		err = closeErr
	}
	return sums, err
}

func (r *databaseRun) logRows(rows postgres.Rows) {
	for _, schema := range slices.Sorted(maps.Keys(rows)) {
		for _, table := range slices.Sorted(maps.Keys(rows[schema])) {
			r.log.Info("table counted", "database", r.Database, "schema", schema, "table", table, "rows", rows[schema][table])
		}
	}
}

type progressWriter struct {
	io.Writer
	progress func(bytes int64)
}

func (w progressWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.progress(int64(n))
	return n, err
}
