package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/catalog"
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
	slices.SortFunc(r.expected, func(a, b placeKey) int { return bytes.Compare(a[:], b[:]) })
	for _, v := range versions {
		if v.Damaged != "" {
			continue
		}
		if err := r.walk(ctx, v.Name, ""); err != nil {
			return err
		}
	}
	r.expected = nil
	return r.unfinished(storagesOf(versions))
}

// walkBatch is how many names of a folder are held at once.
const walkBatch = 1000

// walk looks through a folder of a version, and then those below it.
func (r *run) walk(ctx context.Context, version backupname.Name, dir string) error {
	var below []string
	err := r.entries(path.Join(version.String(), dir), func(e fs.DirEntry) error {
		sealedPath := path.Join(dir, e.Name())
		if e.IsDir() {
			below = append(below, sealedPath)
		} else if dir != "" || !isList(e.Name()) {
			r.isExtra(version, sealedPath, e)
		}
		return ctx.Err()
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && !isAbsent(err) { // absent: pruned, or emptied by the archiver
		r.problem(&Problem{Kind: Unreadable, Storage: version.Storage(), SealedPath: manifest.EscapePath(dir), Folder: version.String(), Detail: err.Error()})
	}
	for _, dir := range below {
		if err := r.walk(ctx, version, dir); err != nil {
			return err
		}
	}
	return nil
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

func (r *run) isExtra(version backupname.Name, sealedPath string, e fs.DirEntry) {
	key := keyOf(version, sealedPath)
	_, ok := slices.BinarySearchFunc(r.expected, key, func(a, b placeKey) int { return bytes.Compare(a[:], b[:]) })
	if ok {
		return
	}
	info, err := e.Info()
	if err != nil {
		return // it went away
	}
	detail := "no version lists it"
	if !info.Mode().IsRegular() {
		detail = kindOf(info) + "; " + detail
	}
	r.problem(&Problem{
		Kind: Extra, Storage: version.Storage(), SealedPath: manifest.EscapePath(sealedPath), Folder: version.String(), Detail: detail, size: info.Size(),
	})
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
