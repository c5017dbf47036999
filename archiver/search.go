package archiver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"sync"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/extsort"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/workers"
)

// search looks for the files that are not where the list says: two backups may
// have been made before one archiving, and then files went on to the first one's
// folder without the second one's list knowing. It goes from version to version,
// the newest first, and reads each folder there once, however many files it is for.
//
// The same path can hold another file of the same size there. The version's list
// tells; where it does not, the hash.
func (j *job) search(ctx context.Context) error {
	for i, version := range j.folders {
		if err := j.searchBelow(ctx, version.String(), version, fromFolder+uint32(i)); err != nil {
			return err
		}
	}
	left := j.dir + "/download" // by the original's archiver, killed
	return j.searchBelow(ctx, left, backupname.Name{}, fromPackage)
}

// searchBelow searches one version, or what lies below another folder.
func (j *job) searchBelow(ctx context.Context, top string, version backupname.Name, from uint32) error {
	if j.astray == 0 {
		return nil
	}
	lying := extsort.New(sortMemory) // the folderKeys of what is there
	defer lying.Close()
	if err := j.readNames(ctx, top, from, lying); err != nil {
		return err
	}
	list := &versionList{j: j, version: version}
	defer list.close()
	return workers.Each(ctx, carriers, j.candidates(lying, from, list), func(ctx context.Context, c candidate) error {
		found, err := j.takeFrom(top, version, &c.item, func(dir *folder) (bool, error) {
			if c.listed {
				return true, nil
			}
			return dir.holds(ctx, c.name, c.hash)
		})
		if found {
			j.mu.Lock()
			defer j.mu.Unlock()
			j.astray--
		}
		return err
	})
}

// strays yields the items of files that were not found yet, and not looked for
// in a version.
func (j *job) strays(from uint32) iter.Seq2[item, error] {
	return items(j.aside, func(r *item) bool { return r.from != from && !j.isHere(r.number) })
}

func (j *job) isHere(number int64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.here.has(number) || j.troubled.has(number)
}

// readNames adds what lies in those folders below top in which a file is looked
// for.
func (j *job) readNames(ctx context.Context, top string, from uint32, lying *extsort.Sorter) error {
	var adding sync.Mutex
	return workers.Each(ctx, carriers, dirs(j.strays(from)), func(_ context.Context, dir string) error {
		return j.eachName(join(top, dir), func(names []string) error {
			adding.Lock()
			defer adding.Unlock()
			var key []byte
			for _, name := range names {
				key = nameKey(key[:0], dir, name)
				if err := lying.Add(key); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// dirs yields the folder of each item once.
func dirs(items iter.Seq2[item, error]) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		last, first := "", true
		for r, err := range items {
			if err == nil && r.dir == last && !first {
				continue
			}
			if last, first = r.dir, false; !yield(r.dir, err) {
				return
			}
		}
	}
}

// eachName reads a folder, which may be missing, some names at a time.
func (j *job) eachName(dir string, do func(names []string) error) error {
	d, err := j.open.get(dir, false)
	if err != nil {
		return present(err)
	}
	defer j.open.put(d)
	if _, err := d.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	for {
		names, err := d.file.Readdirnames(1024)
		if err := errors.Join(ignoreEOF(err), do(names)); err != nil {
			return err
		}
		if err == io.EOF {
			return nil
		}
	}
}

func ignoreEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// candidate is a file that may be one that is looked for.
type candidate struct {
	item
	hash   manifest.Hash
	listed bool // by the version's list
}

// candidates yields the files that are looked for, where something of their name
// lies.
func (j *job) candidates(lying *extsort.Sorter, from uint32, list *versionList) iter.Seq2[candidate, error] {
	return func(yield func(candidate, error) bool) {
		there := newCursor(lying.All())
		defer there.stop()
		var key []byte
		for r, err := range j.strays(from) {
			key = nameKey(key[:0], r.dir, r.name)
			ok := false
			if err == nil {
				ok, err = there.has(key)
			}
			var c candidate
			if ok && err == nil {
				c, err = j.candidate(r, key, list)
			}
			if (ok || err != nil) && (!yield(c, err) || err != nil) {
				return
			}
		}
	}
}

func (j *job) candidate(r item, key []byte, list *versionList) (candidate, error) {
	e, err := j.list.entry(r.offset)
	if err != nil {
		return candidate{}, err
	}
	listed, err := list.has(bytes.Join([][]byte{key, e.SealedSHA512[:]}, nil))
	return candidate{r, e.SealedSHA512, listed}, err
}

// versionList is what a version's list says, which is read when first asked.
type versionList struct {
	j       *job
	version backupname.Name
	ids     *extsort.Sorter
	cursor  *cursor
	read    bool
}

// has tells whether the list has a sealedID, which no later call may be before.
func (l *versionList) has(id []byte) (bool, error) {
	if !l.read {
		l.read = true
		if err := l.open(); err != nil {
			return false, err
		}
	}
	if l.cursor == nil {
		return false, nil
	}
	return l.cursor.has(id)
}

func (l *versionList) open() error {
	if l.version.IsZero() {
		return nil
	}
	list, err := l.j.disk.listOf(l.version)
	if err != nil || list == "" {
		return err
	}
	if l.ids, err = l.j.disk.localIDs(list); err != nil {
		// A damaged old list is no reason to stop: the hashes decide.
		l.j.Logger.Warn("list not readable", "list", list, "error", err)
		return nil
	}
	l.cursor = newCursor(l.ids.All())
	return nil
}

func (l *versionList) close() {
	if l.cursor != nil {
		l.cursor.stop()
	}
	if l.ids != nil {
		l.ids.Close()
	}
}
