package archiver

import (
	"context"
	"path"
	"slices"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
)

// searchOrder says where the files that a backup carries over may lie: in
// older folders, the newest first, and, where the backup is archived late, in
// newer ones.
func searchOrder(name backupname.Name, folders []backupname.Name) []backupname.Name {
	var older, newer []backupname.Name
	for _, f := range folders {
		switch c := backupname.Compare(f, name); {
		case c < 0:
			older = append(older, f)
		case c > 0:
			newer = append(newer, f)
		}
	}
	slices.Reverse(older)
	return append(older, newer...)
}

// place is where a carried file lies.
type place struct {
	found bool
	path  string
	from  backupname.Name // zero: a folder of no version
}

// find looks for a carried file: in the version's own folder, where an
// interrupted run may have put it; in the one that the list names; in all
// others, since two backups may have been made before one archiving, and then
// the file went on without the second one's list knowing.
//
// The same path can hold another file of the same size there. The folder's
// list tells; where it does not, the hash.
func (j *job) find(ctx context.Context, e *manifest.Entry) (place, error) {
	at := func(n backupname.Name) string { return n.String() + "/" + e.SealedPath }
	if j.rerun {
		if ok, err := j.disk.hasSize(at(j.b.name), e.SealedSize); ok || err != nil {
			return place{ok, at(j.b.name), j.b.name}, err
		}
	}
	if slices.Contains(j.folders, e.Backup) {
		if ok, err := j.disk.hasSize(at(e.Backup), e.SealedSize); ok || err != nil {
			return place{ok, at(e.Backup), e.Backup}, err
		}
	}
	for _, n := range j.folders {
		if n == e.Backup {
			continue
		}
		ok, err := j.disk.hasSize(at(n), e.SealedSize)
		if ok && err == nil {
			if ok, err = j.listedIn(n, e); !ok && err == nil {
				ok, err = j.disk.holds(ctx, at(n), e.SealedSize, e.SealedSHA512)
			}
		}
		if ok || err != nil {
			return place{ok, at(n), n}, err
		}
	}
	left := j.dir + "/download/" + e.SealedPath // by the original's archiver, killed
	ok, err := j.disk.holds(ctx, left, e.SealedSize, e.SealedSHA512)
	return place{ok, left, backupname.Name{}}, err
}

// listedIn tells whether a version's list has the same sealed file at the same
// place.
func (j *job) listedIn(name backupname.Name, e *manifest.Entry) (bool, error) {
	lines, ok := j.listed[name]
	if !ok {
		list, err := j.disk.listOf(name)
		if err != nil {
			return false, err
		}
		if list != "" {
			if lines, err = j.readList(list); err != nil {
				// A damaged old list is no reason to stop: the hashes decide.
				j.Logger.Warn("list not readable", "list", list, "error", err)
			}
		}
		j.listed[name] = lines
	}
	return lines.has(e), nil
}

// carry moves a file that is still current into the new version's folder, and
// tells whether it is there. From a newer version it is not taken: a file lies
// with the last version that lists it.
func (j *job) carry(ctx context.Context, e *manifest.Entry) (bool, error) {
	p, err := j.find(ctx, e)
	if err != nil || !p.found {
		return false, err
	}
	switch {
	case p.from == j.b.name:
		// An earlier run moved it, from one of these, and was stopped then.
		j.mayBeEmpty(e.Backup, e.SealedPath)
		if len(j.folders) > 0 {
			j.mayBeEmpty(j.folders[0], e.SealedPath)
		}
		return true, nil
	case backupname.Compare(p.from, j.b.name) > 0 && !p.from.IsZero():
		return true, nil
	}
	err = j.move(p.path, e.SealedPath)
	if isUnplaceable(err) {
		j.report.Damaged.add(e.Path + ": " + err.Error())
		return false, nil
	}
	if err == nil && !p.from.IsZero() {
		j.mayBeEmpty(p.from, e.SealedPath)
		j.touched[path.Dir(p.path)] = true
	}
	return err == nil, err
}

func (j *job) mayBeEmpty(version backupname.Name, sealedPath string) {
	if dir := path.Dir(sealedPath); dir != "." && slices.Contains(j.folders, version) {
		j.emptied[version.String()+"/"+dir] = version.String()
	}
}
