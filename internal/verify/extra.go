package verify

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/extsort"
	"github.com/chipster/firn/internal/manifest"
)

// signatureSuffix ends the name of a list's signature.
const signatureSuffix = ".sig"

// isList tells that a file in a version's folder is a list, or its signature.
func isList(name string) bool {
	for _, list := range slices.Concat(manifest.ArchiveInfoNames, manifest.BackupInfoNames) {
		if name == list || name == list+signatureSuffix {
			return true
		}
	}
	return false
}

// extras finds the files in the folders of versions that no list names, and the
// folders that are no versions. In the folder of a version whose list cannot be
// read, nobody knows what is extra.
//
// An archiver takes files out of a version's folder and brings none, so what is
// found there was there when the versions were listed.
func (r *run) extras(ctx context.Context, versions []catalog.Version) error {
	present := extsort.New(sortMemory)
	defer present.Close()
	for _, v := range versions {
		if v.Damaged != "" {
			continue
		}
		if err := r.walk(ctx, v.Name, present); err != nil {
			return err
		}
	}
	if err := r.compare(ctx, present); err != nil {
		return err
	}
	if !r.Shard.First() {
		return nil
	}
	return r.unfinished(storagesOf(versions))
}

// compare goes through the places where something is and those where something
// should be, in one order.
func (r *run) compare(ctx context.Context, present *extsort.Sorter) error {
	next, stop := iter.Pull2(r.expected.All())
	defer stop()
	expected, err, more := next()
	for place, perr := range present.All() {
		for more && err == nil && bytes.Compare(expected, place) < 0 {
			expected, err, more = next()
		}
		if err := cmp.Or(perr, err, ctx.Err()); err != nil {
			return err
		}
		if !more || !bytes.Equal(expected, place) {
			if err := r.isExtra(string(place)); err != nil {
				return err
			}
		}
	}
	return nil
}

const (
	walkBatch  = 1000    // names of a folder that are held at once
	walkMemory = 1 << 20 // for the folders that wait to be looked through, in bytes
)

// walk looks through the folder of a version, and those below it, and notes the
// places of what is this shard's.
func (r *run) walk(ctx context.Context, version backupname.Name, present *extsort.Sorter) error {
	level := extsort.New(walkMemory) // folders equally deep
	if err := level.Add([]byte{}); err != nil {
		return err
	}
	for level.Len() > 0 {
		below, err := r.walkLevel(ctx, version, level, present)
		if err = errors.Join(err, level.Close()); err != nil {
			return errors.Join(err, below.Close())
		}
		level = below
	}
	return level.Close()
}

func (r *run) walkLevel(ctx context.Context, version backupname.Name, level, present *extsort.Sorter) (below *extsort.Sorter, err error) {
	below = extsort.New(walkMemory)
	for name, err := range level.All() {
		if err != nil {
			return below, err
		}
		dir := string(name)
		var failed error // of the sorters
		err = r.entries(path.Join(version.String(), dir), func(e fs.DirEntry) error {
			sealedPath := path.Join(dir, e.Name())
			if e.IsDir() {
				failed = below.Add([]byte(sealedPath))
			} else if (dir != "" || !isList(e.Name())) && r.Shard.Has(sealedPath) {
				failed = present.Add(placeKey(version, sealedPath))
			}
			return cmp.Or(failed, ctx.Err())
		})
		if err := cmp.Or(failed, ctx.Err()); err != nil {
			return below, err
		}
		if err != nil && !isAbsent(err) && r.Shard.Has(dir) { // absent: pruned, or emptied by the archiver
			r.problem(&Problem{Kind: Unreadable, Storage: version.Storage(), SealedPath: manifest.EscapePath(dir), Folder: version.String(), Detail: err.Error()})
		}
	}
	return below, nil
}

// entries calls do for what is in a folder, in no order.
func (r *run) entries(dir string, do func(fs.DirEntry) error) error {
	f, err := r.root.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		entries, err := f.ReadDir(walkBatch)
		for _, e := range entries {
			if err := do(e); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *run) isExtra(place string) error {
	sealedPath, folder, _ := strings.Cut(place, "\x00")
	version, err := backupname.Parse(folder)
	if err != nil {
		return err
	}
	info, err := r.root.Lstat(folder + "/" + sealedPath)
	if err != nil {
		return nil // it went away
	}
	detail := "no version lists it"
	if !info.Mode().IsRegular() {
		detail = kindOf(info) + "; " + detail
	}
	r.problem(&Problem{
		Kind: Extra, Storage: version.Storage(), SealedPath: manifest.EscapePath(sealedPath), Folder: folder, Detail: detail, size: info.Size(),
	})
	return nil
}

func kindOf(info fs.FileInfo) string {
	switch {
	case info.IsDir():
		return "a folder"
	case info.Mode()&fs.ModeSymlink != 0:
		return "a symbolic link"
	}
	return "a special file, " + info.Mode().String()
}

// unfinished notes the folders that are named as versions and have no list. Their
// files are found if a list names them.
func (r *run) unfinished(storages []string) error {
	err := r.entries(".", func(e fs.DirEntry) error {
		name, err := backupname.Parse(e.Name())
		if err == nil && e.IsDir() && slices.Contains(storages, name.Storage()) && !r.hasList(e.Name()) {
			r.report.Unfinished = append(r.report.Unfinished, e.Name())
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot read the archive: %w", err)
	}
	slices.Sort(r.report.Unfinished)
	return nil
}

func (r *run) hasList(folder string) bool {
	return slices.ContainsFunc(manifest.ArchiveInfoNames, func(list string) bool {
		_, err := r.root.Lstat(folder + "/" + list)
		return err == nil
	})
}

// swapped finds out which of the files that are wrong are others of the archive.
func (r *run) swapped(ctx context.Context) error {
	wrong := map[manifest.Hash][]*Problem{}
	for i := range r.report.Problems {
		if p := &r.report.Problems[i]; p.actual != nil {
			wrong[*p.actual] = append(wrong[*p.actual], p)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	all, err := r.Catalog.Versions(ctx, "")
	if err != nil {
		return err
	}
	for _, storage := range storagesOf(all) {
		for s, err := range r.Catalog.AllSealed(ctx, storage) {
			if err != nil {
				return err
			}
			for _, p := range wrong[s.SealedSHA512] {
				r.report.swap(p, fmt.Sprintf("it is another sealed file: %s of %s", s.SealedPath, s.Last))
			}
			delete(wrong, s.SealedSHA512)
		}
	}
	return nil
}
