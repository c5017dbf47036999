package archiver

import (
	"context"
	"crypto/sha512"
	"errors"
	"io"
	"syscall"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/workers"
)

// carriers is how many goroutines look for files and move them. They wait for the
// disk, on a network for most of their time.
const carriers = 8

// carryAll moves all files that are still current into the version's folder; in a
// dry run it only looks for them. The lines whose files are here then are marked.
//
// A file lies in the version's own folder, where an interrupted run may have put
// it, or in the folder that the list names; a look at its size is enough. What is
// in neither is searched for, folder by folder.
func (j *job) carryAll(ctx context.Context) error {
	carried := chunks(j.list.sealed, func(r *item) bool { return r.from != fromPackage })
	if err := workers.Each(ctx, carriers, carried, forEach(j.carry)); err != nil {
		return err
	}
	return j.search(ctx)
}

func (j *job) carry(_ context.Context, r *item) error {
	if isReserved(r.path()) { // or the list of an older version would go
		j.mu.Lock()
		defer j.mu.Unlock()
		j.trouble(r.number, reserved)
		return nil
	}
	if j.rerun {
		if ok, err := j.isThere(j.dir, r); ok || err != nil {
			j.setHere(r, ok)
			return err
		}
	}
	if version, ok := j.versionOf(r.from); ok {
		if ok, err := j.takeFrom(version.String(), version, r, nil); ok || err != nil {
			return err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.astray++
	return j.aside.Add(r.appendTo(nil, r.path()))
}

// setHere notes that an earlier run brought a file, and may have been stopped
// before it removed the folder that it took the file from.
func (j *job) setHere(r *item, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if ok {
		j.here.set(r.number)
		j.vacated[r.from] = true
	}
}

// isThere tells whether there is a file of that size.
func (j *job) isThere(top string, r *item) (bool, error) {
	dir, err := j.open.get(join(top, r.dir), false)
	if err != nil {
		return false, present(err)
	}
	defer j.open.put(dir)
	size, err := dir.size(r.name)
	return size == r.size, err
}

// present drops errors that say that there is nothing.
func present(err error) error {
	if isAbsent(err) {
		return nil
	}
	return err
}

// takeFrom carries a file from below a folder, where there is one of its size that
// is it for all that sure says; nil: that is enough. version is the one that the
// folder is of, zero for none.
func (j *job) takeFrom(top string, version backupname.Name, r *item, sure func(*folder) (bool, error)) (found bool, err error) {
	from, err := j.open.get(join(top, r.dir), false)
	if err != nil {
		return false, present(err)
	}
	defer j.open.put(from)
	size, err := from.size(r.name)
	if err != nil || size != r.size {
		return false, err
	}
	if sure != nil {
		if ok, err := sure(from); !ok || err != nil {
			return false, err
		}
	}
	return true, j.take(from, version, r)
}

// take moves a file that is still current into the new version's folder. From a
// newer version it is not taken: a file lies with the last version that lists it.
func (j *job) take(from *folder, version backupname.Name, r *item) error {
	if newer := backupname.Compare(version, j.b.name) > 0 && !version.IsZero(); !newer && !j.DryRun {
		err := j.open.move(from, r.name, join(j.dir, r.dir), r.name)
		if isUnplaceable(err) {
			j.mu.Lock()
			defer j.mu.Unlock()
			j.trouble(r.number, err.Error())
			return nil
		}
		if err != nil {
			return err
		}
		if !version.IsZero() && r.dir != "" {
			from.vacated.Store(true)
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.here.set(r.number)
	return nil
}

// holds tells whether a file of a folder has the right hash. One of which the disk
// has lost bytes has not, and can be fetched again; all other errors are no answer.
func (d *folder) holds(ctx context.Context, name string, hash manifest.Hash) (bool, error) {
	f, err := d.openFile(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return hashIs(ctx, f, hash)
}

func hashIs(ctx context.Context, r io.Reader, hash manifest.Hash) (bool, error) {
	sum := sha512.New()
	_, err := io.CopyBuffer(sum, &contextReader{ctx, r}, make([]byte, 256<<10))
	if errors.Is(err, syscall.EIO) {
		return false, nil
	}
	return err == nil && manifest.Hash(sum.Sum(nil)) == hash, err
}
