package archiver

import (
	"context"
	"strconv"

	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/workers"
)

// resume finds the new files that an earlier run brought. What it had not
// moved to the version's folder may be cut short, so the hash decides.
func (j *job) resume(ctx context.Context) error {
	came := newBits(j.list.lines)
	// The original's archiver, killed, leaves its files in a folder of its own.
	left := j.dir + "/download"
	isLeft, err := j.disk.isDir(left)
	if err != nil {
		return err
	}
	if !isLeft {
		left = ""
	}
	began, err := j.disk.isDir(j.download)
	if err != nil {
		return err
	}
	if began {
		err := j.eachName(j.download, func(names []string) error {
			for _, name := range names {
				if n, err := strconv.ParseInt(name, 10, 64); err == nil && n >= 0 && n < j.list.lines {
					came.set(n)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	looked := chunks(j.list.sealed, func(r *item) bool {
		return r.from == fromPackage && (j.rerun || came.has(r.number))
	})
	err = workers.Each(ctx, carriers, looked, forEach(func(ctx context.Context, r *item) error {
		return j.regain(ctx, r, came.has(r.number), left)
	}))
	if err != nil {
		return err
	}
	if err := j.forwardRest(); err != nil {
		return err
	}
	if err := j.open.close(); err != nil { // the folder that goes may be among them
		return err
	}
	return j.disk.removeAll(j.download)
}

// regain looks for a new file where earlier runs may have put it.
func (j *job) regain(ctx context.Context, r *item, came bool, left string) error {
	type place struct{ dir, name string }
	places := []place{{join(j.dir, r.dir), r.name}}
	if came {
		places = append(places, place{j.download, arrivalName(r.number)})
	}
	if left != "" {
		places = append(places, place{join(left, r.dir), r.name})
	}
	var e manifest.Entry
	for i, p := range places {
		ok, err := j.isAt(ctx, p.dir, p.name, r, &e)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		j.mu.Lock()
		pack := j.pack(e.Package)
		j.got(r.number, pack)
		j.mu.Unlock()
		if i == 0 {
			return nil
		}
		return j.arrive(arrival{p.dir, p.name, r.path(), r.number, pack}, r.size)
	}
	return nil
}

// isAt tells whether a file of the right size and hash lies somewhere; e is the
// file's line from then on.
func (j *job) isAt(ctx context.Context, in, name string, r *item, e *manifest.Entry) (bool, error) {
	dir, err := j.open.get(in, false)
	if err != nil {
		return false, present(err)
	}
	defer j.open.put(dir)
	size, err := dir.size(name)
	if err != nil || size != r.size {
		return false, err
	}
	if *e, err = j.list.entry(r.offset); err != nil {
		return false, err
	}
	return dir.holds(ctx, name, e.SealedSHA512)
}
