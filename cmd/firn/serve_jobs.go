package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/chipster/firn/archiver"
	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/config"
	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/internal/verify"
	"github.com/chipster/firn/service"
	"github.com/chipster/firn/uploader"
)

// addUploads adds a job for each database, and then one for the files.
func (s *served) addUploads() error {
	only := s.c.String("only")
	if only != "" && only != "files" && only != "db" {
		return usagef("--only is %q, must be files or db", only)
	}
	if err := errors.Join(checkFileFlags(s.c), checkDatabaseFlags(s.c)); err != nil {
		return err
	}
	if only != "files" {
		for _, role := range s.cfg.Roles() {
			s.addDatabase(role)
		}
	}
	storage, err := s.cfg.String("file-storage-path", storageRole)
	if s.c.Args().Present() {
		storage, err = storageOf(s.c, s.cfg)
	}
	if err != nil {
		return err
	}
	if only != "db" && storage != "" {
		if err := s.addFiles(storage); err != nil {
			return err
		}
	}
	if len(s.jobs) == 0 {
		return usagef("there is nothing to back up: name STORAGE, or configure file-storage-path or db-url-<role>; see firn serve --help")
	}
	return nil
}

func (s *served) addDatabase(role string) {
	s.title = "databases of " + hostName()
	s.roles[role] = role
	s.jobs = append(s.jobs, service.Job{
		Name: role, Kind: service.Database, Title: "database " + role, Scheduled: true,
		Run: s.withConfig(func(c *cli.Context, cfg *config.Config, run *runs.Active) error {
			_, err := backUpDatabase(c, cfg, role, run)
			return err
		}),
		Seen: s.seen(role, backupname.DatabaseStorage(role)),
	})
}

func (s *served) addFiles(storage string) error {
	name, err := s.cfg.String("file-storage-id", storageRole)
	if err != nil {
		return err
	}
	if _, taken := s.roles[name]; taken {
		return usagef("the storage and a database are both called %q: give the storage another --name", name)
	}
	if _, err := os.Stat(storage); err != nil {
		return err
	}
	s.title = name
	s.roles[name] = storageRole
	s.jobs = append(s.jobs, service.Job{
		Name: name, Kind: service.Files, Title: "files of " + name, Scheduled: true,
		Run: s.withConfig(func(c *cli.Context, cfg *config.Config, run *runs.Active) error {
			_, err := backUpFiles(c, cfg, storage, run)
			return err
		}),
		Seen: s.seen(storageRole, name),
	})
	s.holds = func(context.Context) (*service.Holdings, error) { return diskOf(storage) }
	return nil
}

// withConfig is work with the configuration as it is when it begins.
func (s *served) withConfig(work func(*cli.Context, *config.Config, *runs.Active) error) func(context.Context, *runs.Active) error {
	return func(ctx context.Context, run *runs.Active) error {
		c := withRun(s.c, ctx, run)
		cfg, err := serveConfig(c)
		if err != nil {
			return err
		}
		return work(c, cfg, run)
	}
}

// seen asks the bucket for the backups of a storage or a database.
func (s *served) seen(role, storage string) func(context.Context) (service.Seen, error) {
	return func(ctx context.Context) (service.Seen, error) {
		c := *s.c
		c.Context = ctx
		cfg, err := serveConfig(&c)
		if err != nil {
			return service.Seen{}, err
		}
		store, err := openConfiguredStore(&c, cfg, role)
		if err != nil {
			return service.Seen{}, err
		}
		in, err := uploader.Look(ctx, store, storage)
		return service.Seen{Backup: in.Newest, Archived: in.Archived, Waiting: in.Waiting}, err
	}
}

// addArchive adds the jobs of an archive server.
func (s *served) addArchive(root string) error {
	if s.c.Args().Present() || s.c.IsSet("only") {
		return usagef("--archive is for an archive server, which backs nothing up: leave STORAGE and --only out")
	}
	if info, err := os.Stat(root); err != nil || !info.IsDir() {
		return errors.Join(fmt.Errorf("%w: %s", archiver.ErrNoArchive, shown(root)), err)
	}
	// What each run reads is wrong now rather than at night.
	if _, err := retentionOf(s.c); err != nil {
		return err
	}
	if _, err := trustOf(s.c, s.cfg); err != nil {
		return err
	}
	sample := 0.0
	if text := s.c.String("verify-sample"); text != "0" && text != "0%" {
		var err error
		if sample, err = parsePercent(text); err != nil {
			return err
		}
	}
	s.title = titleOf(root)
	s.roles[archiveJob], s.roles[verifyJob] = archiveJob, verifyJob
	index := &sharedCatalog{c: s.c, root: root}
	s.end = index.close
	s.holds = index.holdings
	s.jobs = []service.Job{{
		Name: archiveJob, Kind: service.Archive, Title: "archive " + root, Scheduled: true,
		Run: func(ctx context.Context, run *runs.Active) error {
			_, err := archiveWith(withRun(s.c, ctx, run), archiver.Options{Root: root}, run)
			return err
		},
	}, {
		Name: verifyJob, Kind: service.Verify, Title: "verification of " + root, Scheduled: sample > 0,
		Run: func(ctx context.Context, run *runs.Active) error {
			list, err := index.get(ctx)
			if err != nil {
				return err
			}
			_, err = verifyWithProgress(withRun(s.c, ctx, run), verify.Options{Catalog: list, Root: root, Sample: sample}, verifyJob, s.store, run)
			if errors.Is(err, catalog.ErrNoVersion) {
				logger(s.c).Info("nothing is archived yet, so there is nothing to verify")
				return nil
			}
			return err
		},
	}}
	return nil
}

// sharedCatalog opens the catalog once somebody needs it, for the first time
// takes minutes. It is safe for concurrent use.
type sharedCatalog struct {
	c    *cli.Context
	root string
	mu   sync.Mutex
	open *catalog.Catalog
}

func (s *sharedCatalog) get(ctx context.Context) (*catalog.Catalog, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		c := *s.c
		c.Context = ctx
		var err error
		if s.open, err = openCatalog(&c, s.root); err != nil {
			return nil, err
		}
	}
	_, err := s.open.Refresh(ctx)
	return s.open, err
}

func (s *sharedCatalog) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		return nil
	}
	return s.open.Close()
}

// holdings are the archive's versions, and the disk's space.
func (s *sharedCatalog) holdings(ctx context.Context) (*service.Holdings, error) {
	h, err := diskOf(s.root)
	if err != nil {
		return nil, err
	}
	list, err := s.get(ctx)
	if err != nil {
		return nil, err
	}
	versions, err := list.Versions(ctx, "")
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(versions, func(a, b catalog.Version) int {
		return cmp.Or(cmp.Compare(a.Name.Storage(), b.Name.Storage()), backupname.Compare(b.Name, a.Name))
	})
	for _, v := range versions {
		h.Versions = append(h.Versions, service.Version{
			Storage: v.Name.Storage(), Name: v.Name.String(), Time: v.Name.Time(),
			Files: v.Files, Size: v.Size, Sealed: v.SealedSize, Damaged: v.Damaged,
		})
	}
	file := s.c.Path("catalog")
	if file == "" {
		if file, err = catalog.DefaultPath(s.root); err != nil {
			return nil, err
		}
	}
	if info, err := os.Stat(file); err == nil {
		h.Catalog = info.Size()
	}
	return h, nil
}

// diskOf tells how much room there is where a folder is.
func diskOf(folder string) (*service.Holdings, error) {
	var disk unix.Statfs_t
	if err := unix.Statfs(folder, &disk); err != nil {
		return nil, &os.PathError{Op: "statfs", Path: folder, Err: err}
	}
	return &service.Holdings{
		Folder: folder, DiskTotal: int64(disk.Blocks) * disk.Bsize, DiskFree: int64(disk.Bavail) * disk.Bsize,
	}, nil
}
