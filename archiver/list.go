package archiver

import (
	"bufio"
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"path"

	"github.com/chipster/firn/internal/manifest"
)

// fetchList keeps a copy of the backup's list, which is read twice.
func (j *job) fetchList(ctx context.Context) error {
	body, err := j.Store.Get(ctx, j.b.backupInfo.Key, 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := j.disk.removeAll(fetchedList); err != nil {
		return err
	}
	f, err := j.disk.create(fetchedList)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, body); err != nil {
		return fmt.Errorf("fetching %s: %w", j.b.backupInfo.Key, err)
	}
	return f.Close()
}

func (j *job) eachFetched(do func(*manifest.Entry) error) error {
	f, err := j.disk.root.Open(fetchedList)
	if err != nil {
		return err
	}
	defer f.Close()
	return j.each(f, do)
}

// each reads the backup's list.
func (j *job) each(r io.Reader, do func(*manifest.Entry) error) error {
	for e, err := range manifest.Read(r) {
		if err == nil {
			err = do(&e)
		}
		if err != nil {
			return fmt.Errorf("the list %s: %w", j.b.backupInfo.Key, err)
		}
	}
	return nil
}

// unique refuses a list in which a path comes twice, or is a folder of others:
// which line would hold?
func (j *job) unique(do func(*manifest.Entry) error) func(*manifest.Entry) error {
	paths, folders, sealed := textSet{}, textSet{}, textSet{}
	return func(e *manifest.Entry) error {
		if !paths.add(e.Path) {
			return fmt.Errorf("%w: the path %q is listed twice", manifest.ErrInvalid, e.Path)
		}
		for dir := path.Dir(e.Path); dir != "." && folders.add(dir); dir = path.Dir(dir) {
			if paths.has(dir) {
				return fmt.Errorf("%w: the path %q is a file and a folder", manifest.ErrInvalid, dir)
			}
		}
		if folders.has(e.Path) {
			return fmt.Errorf("%w: the path %q is a file and a folder", manifest.ErrInvalid, e.Path)
		}
		if !sealed.add(e.SealedPath) {
			return fmt.Errorf("%w: the sealed path %q is listed twice", manifest.ErrInvalid, e.SealedPath)
		}
		return do(e)
	}
}

// compare reports what a list that an interrupted run wrote leaves out of the
// backup's list. The local list is the truth.
func (j *job) compare(ctx context.Context, list string) error {
	have, err := j.readList(list)
	if err != nil {
		return err
	}
	body, err := j.Store.Get(ctx, j.b.backupInfo.Key, 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	return j.each(body, func(e *manifest.Entry) error {
		j.count(e)
		if !have.has(e) {
			j.report.Missing.add(e.Path)
		}
		return nil
	})
}

// textSet holds texts as hashes of 128 bits, to be small.
type textSet map[[2]uint64]struct{}

var seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

func textKey(s string) [2]uint64 {
	return [2]uint64{maphash.String(seeds[0], s), maphash.String(seeds[1], s)}
}

func (t textSet) add(s string) (isNew bool) {
	n := len(t)
	t[textKey(s)] = struct{}{}
	return len(t) > n
}

func (t textSet) has(s string) bool {
	_, ok := t[textKey(s)]
	return ok
}

// lineSet holds which sealed file lies at which sealed path.
type lineSet struct{ set textSet }

func lineText(e *manifest.Entry) string { return string(e.SealedSHA512[:]) + e.SealedPath }

func (l lineSet) has(e *manifest.Entry) bool {
	return l.set.has(lineText(e))
}

func (j *job) readList(list string) (lineSet, error) {
	f, err := j.disk.root.Open(list)
	if err != nil {
		return lineSet{}, err
	}
	defer f.Close()
	set := textSet{}
	for e, err := range manifest.Read(bufio.NewReader(f)) {
		if err != nil {
			return lineSet{}, fmt.Errorf("the list %s: %w", list, err)
		}
		set.add(lineText(&e))
	}
	return lineSet{set}, nil
}
