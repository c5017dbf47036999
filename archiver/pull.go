package archiver

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/signature"
)

// resume finds the new files that an earlier run brought. What it had not
// moved to the version's folder may be cut short, so the hash decides.
func (j *job) resume(ctx context.Context) error {
	// The original's archiver, killed, leaves its files in the last of these.
	places := []string{j.dir, j.download, j.dir + "/download"}
	places = slices.DeleteFunc(places, func(p string) bool { return !j.disk.isDir(p) })
	arrived := map[string][]*file{}
	for _, sealedPath := range slices.Sorted(maps.Keys(j.files)) {
		f := j.files[sealedPath]
		for _, place := range places {
			ok, err := j.disk.holds(ctx, place+"/"+f.path, f.size, f.hash)
			if err != nil {
				return err
			}
			if ok {
				j.got(f)
				arrived[place] = append(arrived[place], f)
				break
			}
		}
	}
	for _, place := range places {
		if place == j.dir {
			continue
		}
		if err := j.forward(place, arrived[place]); err != nil {
			return err
		}
	}
	return j.disk.removeAll(j.download)
}

func (j *job) got(f *file) {
	f.have, f.problem = true, ""
	j.lacking[f.pkg]--
}

func (j *job) lost(f *file, problem string) {
	f.have, f.problem = false, problem
	j.lacking[f.pkg]++
}

// fetchPackages fetches the packages that hold files which are not here yet.
func (j *job) fetchPackages(ctx context.Context) error {
	packages := slices.SortedFunc(slices.Values(j.unlisted(j.b.packages)), func(a, b objstore.Object) int { return strings.Compare(a.Key, b.Key) })
	packages = slices.DeleteFunc(packages, func(p objstore.Object) bool { return !j.wants(p.Key) })
	var total int64
	for _, p := range packages {
		total += p.Size
	}
	for _, p := range packages {
		// A list that does not say what is where is satisfied early, perhaps.
		if !j.wants(p.Key) {
			continue
		}
		if err := j.fetch(ctx, p, total); errors.Is(err, objstore.ErrNotFound) {
			j.Logger.Error("a package is not in the bucket", "package", p.Key, "error", err)
		} else if err != nil {
			return fmt.Errorf("package %s: %w", p.Key, err)
		}
	}
	for _, sealedPath := range slices.Sorted(maps.Keys(j.files)) {
		switch f := j.files[sealedPath]; {
		case f.have:
		case f.problem != "":
			j.report.Damaged.add(f.path + ": " + f.problem)
		default:
			j.report.Missing.add(f.path)
		}
	}
	return nil
}

// unlisted adds the packages that the backup's list names and the bucket's does
// not: that one may lag behind, while an object that is asked for is there.
func (j *job) unlisted(packages []objstore.Object) []objstore.Object {
	for name, lacking := range j.lacking {
		known := slices.ContainsFunc(packages, func(p objstore.Object) bool { return packageName(p.Key) == name })
		if lacking > 0 && !known && name != "" && !strings.Contains(name, "/") {
			packages = append(packages, objstore.Object{Key: j.dir + "/" + name})
		}
	}
	return packages
}

// wants tells that a package holds something that is not here. Where a list
// does not say what is in which package, as the original's do not, any may.
func (j *job) wants(key string) bool {
	return j.lacking[packageName(key)] > 0 || j.lacking[""] > 0
}

// fetch unpacks a package. What was whole is kept, also of a damaged package;
// an error is the store's or the disk's.
func (j *job) fetch(ctx context.Context, p objstore.Object, total int64) error {
	j.step("get " + p.Key)
	body, err := j.Store.Get(ctx, p.Key, 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	from := &source{r: body, read: func(n int) {
		j.report.Fetched += int64(n)
		j.Progress(j.report.Name, j.report.Fetched, total)
	}}
	var arrived []*file
	members := tar.NewReader(bufio.NewReaderSize(from, 1<<20))
	for {
		h, err := members.Next()
		if err == nil || errors.Is(err, tar.ErrInsecurePath) {
			var f *file
			if f, err = j.member(p.Key, h, members); f != nil {
				arrived = append(arrived, f)
			}
		}
		if from.err != nil {
			return from.err
		}
		if err == io.EOF {
			break
		}
		if damage := (*damagedError)(nil); errors.As(err, &damage) || err != nil && h == nil {
			j.report.Damaged.add(fmt.Sprintf("package %s: %v", p.Key, err))
			break
		}
		if err != nil {
			return err
		}
	}
	return j.forward(j.download, arrived)
}

// source remembers an error of the store, which archive/tar would mix up with
// a package that is cut short.
type source struct {
	r    io.Reader
	read func(n int)
	err  error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.read(n)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// damagedError is one of reading a member from a package that came whole.
type damagedError struct{ err error }

func (e *damagedError) Error() string { return e.err.Error() }
func (e *damagedError) Unwrap() error { return e.err }

// member takes a member of a package, if it is what the list says; else it
// reports why not, and returns nil.
func (j *job) member(key string, h *tar.Header, data io.Reader) (*file, error) {
	f := j.files[h.Name]
	unexpected := func(what string) (*file, error) {
		j.report.Unexpected.add(fmt.Sprintf("package %s: %q: %s", key, h.Name, what))
		return nil, nil
	}
	switch {
	case strings.Trim(h.Name, "~/") == "" && h.Name != "":
		return nil, nil // an attempt that the uploader gave up
	case h.Typeflag != tar.TypeReg:
		return unexpected("not a regular file")
	case isSparse(h):
		return unexpected("a sparse file, which can be of any size")
	case f == nil:
		return unexpected("not listed")
	case f.have && f.fetched:
		return unexpected("comes twice")
	case f.have:
		return nil, nil // an earlier run brought it
	case isReserved(f.path):
		f.problem = "the archive's own list has that name"
		return nil, nil
	case h.Size != f.size:
		f.problem = fmt.Sprintf("%d bytes, listed with %d", h.Size, f.size)
		return nil, nil
	}
	return j.unpack(f, data)
}

// isSparse tells a file of which the package does not have all bytes.
func isSparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// isReserved tells sealed paths that would be taken for a version's list.
func isReserved(sealedPath string) bool {
	first, _, _ := strings.Cut(sealedPath, "/")
	return manifest.IsListName(strings.TrimSuffix(first, signature.Suffix))
}

// unpack writes one file to where files arrive, and checks it on the way.
func (j *job) unpack(f *file, data io.Reader) (*file, error) {
	to := j.download + "/" + f.path
	sum := sha512.New()
	err := j.write(to, io.TeeReader(data, sum))
	if isUnplaceable(err) {
		f.problem = err.Error()
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if manifest.Hash(sum.Sum(nil)) != f.hash {
		f.problem = "SHA-512 differs from the listed one"
		return nil, j.disk.removeAll(to)
	}
	j.got(f)
	f.fetched = true
	return f, nil
}

func (j *job) write(to string, data io.Reader) error {
	if err := j.mkdir(path.Dir(to)); err != nil {
		return err
	}
	out, err := j.disk.create(to)
	if err != nil {
		return err
	}
	if j.buffer == nil {
		j.buffer = make([]byte, 1<<20)
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{out}, &memberReader{data}, j.buffer)
	if err = errors.Join(err, out.Close()); err != nil {
		return errors.Join(err, j.disk.removeAll(to))
	}
	return nil
}

// memberReader marks the errors of reading from those of writing.
type memberReader struct{ r io.Reader }

func (r *memberReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		err = &damagedError{err}
	}
	return n, err
}

// forward moves files that arrived whole into the version's folder: from there
// on they are never fetched again.
func (j *job) forward(from string, files []*file) error {
	paths := make([]string, 0, len(files))
	for _, f := range files {
		paths = append(paths, from+"/"+f.path)
	}
	if len(files) == 0 {
		return nil
	}
	if err := j.disk.sync(paths...); err != nil {
		return err
	}
	for i, f := range files {
		err := j.move(paths[i], f.path)
		if isUnplaceable(err) {
			j.lost(f, err.Error())
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}
