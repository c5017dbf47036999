// Package catalog knows which versions an archive holds, what is in each, and
// where each sealed file lies.
//
// It is a cache in an SQLite database, never the truth: deleted, damaged, of
// another schema or out of date, it is brought up to date from the archive's
// lists by itself. Nothing is ever written into the archive.
//
// It promises that every answer is one of a whole version, that memory does not
// grow with the number of files, that a version whose list cannot be read takes
// no other version with it, and that an archiver that moves files meanwhile
// makes no reader fail.
//
// It keeps intervals: one row for a sealed file with the first and the last
// version that lists it. Sixty versions of a million files are a million rows
// and the changes.
//
// It does not verify sealed files beyond what is needed to tell them apart, and
// it does not notice a list that was replaced by one of equal size and time of
// modification.
package catalog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/chipster/firn/internal/signature"
)

var (
	// ErrNoVersion says that the archive has no such version.
	ErrNoVersion = errors.New("no such version")
	// ErrAmbiguous says that more than one version is meant.
	ErrAmbiguous = errors.New("ambiguous version")
	// ErrDamaged says that the list of a version cannot be read.
	ErrDamaged = errors.New("damaged version")
	// ErrChanged says that the list of a version was replaced while it was read.
	ErrChanged = errors.New("version changed while it was read")
	// ErrMissing says that a sealed file is in none of the archive's folders.
	ErrMissing = errors.New("sealed file is missing")
	// ErrNotExist says that a version has no such path. It is an fs.ErrNotExist.
	ErrNotExist = fmt.Errorf("not in this version: %w", fs.ErrNotExist)
)

// Options of a catalog. The zero value works.
type Options struct {
	// Path of the database. It must be on a local disk, for SQLite's locks do
	// not work on every network file system. Empty: DefaultPath.
	Path string
	// Trust says whose signatures of lists count. The lists of other versions
	// are damaged, then. Nil: signatures do not matter.
	Trust *signature.Trusted
	// Logger hears of what went wrong and was mended. Nil: slog.Default.
	Logger *slog.Logger
	// Progress, where set, is told now and then how far Open, or Refresh, is with
	// the lists. It is called by one goroutine at a time.
	Progress func(Progress)
}

// Catalog of one archive. All methods are safe for concurrent use, and several
// processes can use one database at once.
type Catalog struct {
	root     string
	trust    *signature.Trusted
	log      *slog.Logger
	progress func(Progress)
	temp     string // folder to remove in the end, or ""

	mu sync.RWMutex // held for reading while db is in use
	db *database

	places places

	state sync.Mutex // guards what follows
	seen  []stamp    // the versions as the last Refresh left them
	tried time.Time  // when lists that could not be read were last tried
}

// DefaultPath is where the database of an archive is kept: in $XDG_CACHE_HOME
// where that is set, else in /var/cache/firn for root, and in ~/.cache/firn for
// others. It is on a local disk, since SQLite's locks are not to be trusted on
// a network's, where archives often are.
func DefaultPath(root string) (string, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return "", fmt.Errorf("catalog of %s: %w", root, err)
	}
	dir := "/var/cache"
	if os.Getuid() != 0 || os.Getenv("XDG_CACHE_HOME") != "" {
		if dir, err = os.UserCacheDir(); err != nil {
			return "", fmt.Errorf("catalog of %s: %w", root, err)
		}
	}
	return filepath.Join(dir, "firn", fmt.Sprintf("%.16x.sqlite", sha256.Sum256([]byte(abs)))), nil
}

// Open opens the catalog of the archive in the folder root and brings it up to
// date, which for a new database means to read all lists.
//
// Where the database cannot be written, a temporary one is used. Where
// signatures count, ErrRollback says that the archive's newest signed version is
// older than one that was seen with the same database.
func Open(ctx context.Context, root string, o Options) (*Catalog, error) {
	info, err := os.Stat(root)
	if err == nil && !info.IsDir() {
		err = errors.New("it is not a folder")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the archive %s: %w; is the disk mounted?", root, err)
	}
	c := &Catalog{trust: o.Trust, log: o.Logger, progress: o.Progress}
	if c.log == nil {
		c.log = slog.Default()
	}
	if c.progress == nil {
		c.progress = func(Progress) {}
	}
	if c.root, err = filepath.Abs(root); err != nil {
		return nil, fmt.Errorf("cannot open the archive %s: %w", root, err)
	}
	if err := c.openDatabase(ctx, o.Path); err != nil {
		return nil, fmt.Errorf("cannot open the catalog of %s: %w", root, err)
	}
	if _, err := c.Refresh(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Catalog) openDatabase(ctx context.Context, path string) error {
	var err error
	if path == "" {
		path, err = DefaultPath(c.root)
	}
	if err == nil {
		path = trustedPath(path, c.trust)
		c.db, err = openDatabase(ctx, path, c.log)
	}
	if err == nil || ctx.Err() != nil || errors.Is(err, errForeign) {
		return err
	}
	why := err
	if c.temp, err = os.MkdirTemp("", "firn-catalog-"); err != nil {
		return errors.Join(why, err)
	}
	temp := filepath.Join(c.temp, "catalog.sqlite")
	c.log.Warn("cannot keep the catalog; using a temporary one", "path", path, "temporary", temp, "error", why)
	if c.db, err = openDatabase(ctx, temp, c.log); err != nil {
		return errors.Join(err, os.RemoveAll(c.temp))
	}
	return nil
}

// Close releases the database. No other method may be called afterwards.
func (c *Catalog) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.db.close()
	if c.temp != "" {
		err = errors.Join(err, os.RemoveAll(c.temp))
	}
	return err
}

// use calls f with the database, and once more with a new one where it proved
// damaged.
func (c *Catalog) use(ctx context.Context, f func(*database) error) error {
	try := func() (*database, error) {
		c.mu.RLock()
		defer c.mu.RUnlock()
		return c.db, f(c.db)
	}
	db, err := try()
	if isCorrupt(err) {
		if err = c.mend(ctx, db, err); err == nil {
			_, err = try()
		}
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err() // which shows as many an error of the database
	}
	return err
}

// mend replaces a damaged database by one built anew. Others wait meanwhile.
func (c *Catalog) mend(ctx context.Context, bad *database, why error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.db != bad {
		return nil // someone else was faster
	}
	c.log.Warn("the catalog is damaged; building it anew", "path", bad.path, "error", why)
	db, err := bad.replace(ctx, c.log)
	if err != nil {
		return fmt.Errorf("cannot build the catalog anew: %w", err)
	}
	c.db = db
	return c.refresh(ctx, db, true)
}
