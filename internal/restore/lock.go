package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// openTarget opens the target, and locks it where the file system can: two runs
// would write into each other's partial files. Runs of shards share the folder,
// and each has a lock of its own in it.
func (r *run) openTarget() (unlock func(), err error) {
	if !r.DryRun {
		if err := os.MkdirAll(r.To, 0o777); err != nil {
			return nil, err
		}
	}
	r.target, err = os.OpenRoot(r.To)
	if r.DryRun && errors.Is(err, os.ErrNotExist) {
		return func() {}, nil
	}
	if err != nil {
		return nil, err
	}
	if r.DryRun {
		return func() { _ = r.target.Close() }, nil
	}
	release, err := r.lock()
	if err != nil {
		return nil, errors.Join(err, r.target.Close())
	}
	return func() {
		release()
		_ = r.target.Close()
	}, nil
}

func (r *run) lock() (unlock func(), err error) {
	folder, err := r.target.Open(".")
	if err != nil {
		return nil, err
	}
	how := unix.LOCK_EX
	if !r.Shard.IsZero() {
		how = unix.LOCK_SH
	}
	if !tryLock(folder, how) {
		return nil, errors.Join(ErrInUse, folder.Close())
	}
	unlockShard, err := r.lockShard()
	if err != nil {
		return nil, errors.Join(err, folder.Close())
	}
	return func() {
		unlockShard()
		_ = folder.Close()
	}, nil
}

// tryLock locks until the file is closed. It is false where another process has
// the lock; where nobody can lock, it is true.
func tryLock(f *os.File, how int) bool {
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err != unix.EINTR {
			return err != unix.EWOULDBLOCK
		}
	}
}

// locks is the folder in the target with the locks of shards, "2-of-4", or of a
// run of all, "1-of-1". The last run takes it away.
const locks = ".firn-restore"

func lockName(index, count int) string { return fmt.Sprintf("%s/%d-of-%d", locks, index, count) }

// lockShard excludes other runs of the shard, and those of other numbers of
// shards, which would have some of its files too. A run of all is the only shard of
// one: network file systems show a lock of a folder to nobody else, and one of a
// file they do.
func (r *run) lockShard() (unlock func(), err error) {
	name := lockName(max(r.Shard.Index, 1), max(r.Shard.Count, 1))
	var lock *os.File
	for lock == nil {
		if lock, err = r.tryLockFile(name); err != nil {
			_ = r.target.Remove(locks) // if nothing is in it
			if isOfTarget(err) {
				err = r.targetError(err)
			}
			return nil, err
		}
	}
	unlock = func() {
		_ = r.target.Remove(name) // while it is locked, so that nobody has it who could think so
		_ = lock.Close()
		_ = r.target.Remove(locks) // if this was the last
	}
	// Each locks its own before it looks at others': of two at least one sees the
	// other.
	if err := r.checkOtherNumbers(); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// tryLockFile makes and locks a file. nil says that it was taken away meanwhile.
func (r *run) tryLockFile(name string) (*os.File, error) {
	if err := r.target.Mkdir(locks, 0o777); errors.Is(err, os.ErrExist) {
		if info, err := r.target.Lstat(locks); err == nil && !info.IsDir() {
			return nil, fmt.Errorf("%s, where runs lock the target, is no folder: move it away", locks)
		}
	} else if err != nil {
		return nil, err
	}
	lock, err := r.target.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o666)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // another run was the last
	}
	if err != nil {
		return nil, err
	}
	if !tryLock(lock, unix.LOCK_EX) {
		return nil, errors.Join(inUse(name[len(locks)+1:]), lock.Close())
	}
	mine, err := lock.Stat()
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	there, err := r.target.Lstat(name)
	if err == nil && os.SameFile(mine, there) {
		return lock, nil
	}
	_ = lock.Close()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return nil, nil
}

// checkOtherNumbers looks for runs of other numbers of shards, and takes away what
// those left that were killed.
func (r *run) checkOtherNumbers() error {
	all, err := fs.ReadDir(r.target.FS(), locks)
	if err != nil {
		return err
	}
	for _, e := range all {
		var index, count int
		_, err := fmt.Sscanf(e.Name(), "%d-of-%d", &index, &count)
		if err != nil || count == max(r.Shard.Count, 1) || lockName(index, count) != locks+"/"+e.Name() {
			continue
		}
		if err := r.checkOther(e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// inUse tells whose lock it is.
func inUse(shard string) error {
	if shard == "1-of-1" {
		return ErrInUse
	}
	return fmt.Errorf("%w, as shard %s", ErrInUse, shard)
}

func (r *run) checkOther(shard string) error {
	name := locks + "/" + shard
	lock, err := r.target.OpenFile(name, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	if !tryLock(lock, unix.LOCK_EX) {
		return inUse(shard)
	}
	left, err := lock.Stat()
	if err != nil {
		return err
	}
	there, err := r.target.Lstat(name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !os.SameFile(left, there): // somebody made it anew since
		return inUse(shard)
	}
	return r.target.Remove(name)
}
