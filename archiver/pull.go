package archiver

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/signature"
	"github.com/chipster/firn/internal/workers"
)

// fetchPackages fetches the packages that hold files which are not here yet,
// several at once.
func (j *job) fetchPackages(ctx context.Context) error {
	var total int64
	packages := j.lackedPackages()
	for p := range packages {
		total += p.Size
	}
	err := workers.Each(ctx, j.Workers, packages, func(ctx context.Context, p objstore.Object) error {
		// A list that does not say what is where is satisfied early, perhaps.
		if !j.wants(p.Key) {
			return nil
		}
		err := j.fetch(ctx, p, total)
		if errors.Is(err, objstore.ErrNotFound) {
			j.Logger.Error("a package is not in the bucket", "package", p.Key, "error", err)
			return nil
		}
		if err != nil {
			return fmt.Errorf("package %s: %w", p.Key, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return j.forwardRest()
}

// lackedPackages yields the bucket's packages that are wanted, in the order of their
// keys, and those that the backup's list names and the bucket's does not: that one
// may lag behind, while an object that is asked for is there. It has no errors.
func (j *job) lackedPackages() iter.Seq2[objstore.Object, error] {
	var unlisted []string
	for name, p := range j.packages {
		if p.lacking > 0 && !p.listed && name != "" {
			unlisted = append(unlisted, j.dir+"/"+name)
		}
	}
	slices.Sort(unlisted)
	return func(yield func(objstore.Object, error) bool) {
		for _, p := range j.b.packages {
			if j.wants(p.Key) && !yield(p, nil) {
				return
			}
		}
		for _, key := range unlisted {
			if !yield(objstore.Object{Key: key}, nil) {
				return
			}
		}
	}
}

// wants tells that a package holds something that is not here. Where a list
// does not say what is in which package, as the original's do not, any may.
func (j *job) wants(key string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	lacks := func(name string) bool { p := j.packages[name]; return p != nil && p.lacking > 0 }
	return lacks(packageName(key)) || lacks("")
}

// buffers are what fetching a package takes. They are used again for the next.
type buffers struct {
	in   *bufio.Reader
	copy []byte
	sum  hash.Hash
}

func newBuffers() *buffers {
	return &buffers{in: bufio.NewReaderSize(nil, 256<<10), copy: make([]byte, 256<<10), sum: sha512.New()}
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
	with := j.buffers.Get().(*buffers)
	defer j.buffers.Put(with)
	from := &source{r: body, read: func(n int) {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.report.Fetched += int64(n)
		j.Progress(j.report.Name, j.report.Fetched, total)
	}}
	with.in.Reset(from)
	members := tar.NewReader(with.in)
	for {
		h, err := members.Next()
		if err == nil || errors.Is(err, tar.ErrInsecurePath) {
			err = j.member(p.Key, h, members, with)
		}
		if from.err != nil {
			return from.err
		}
		if err == io.EOF {
			return nil
		}
		if damage := (*damagedError)(nil); errors.As(err, &damage) || err != nil && h == nil {
			j.problem(&j.report.Damaged, "package %s: %v", p.Key, err)
			return nil
		}
		if err != nil {
			return err
		}
	}
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

// reserved says what is wrong with a file that isReserved.
const reserved = "the archive's own list has that name"

// member takes a member of a package, if it is what the list says; else it
// reports why not.
func (j *job) member(key string, h *tar.Header, data io.Reader, with *buffers) error {
	unexpected := func(what string) error {
		j.problem(&j.report.Unexpected, "package %s: %q: %s", key, h.Name, what)
		return nil
	}
	switch {
	case strings.Trim(h.Name, "~/") == "" && h.Name != "":
		return nil // an attempt that the uploader gave up
	case h.Typeflag != tar.TypeReg:
		return unexpected("not a regular file")
	case isSparse(h):
		return unexpected("a sparse file, which can be of any size")
	}
	e, number, err := j.list.newFile(h.Name)
	if err != nil {
		return err
	}
	if e == nil {
		return unexpected("not listed")
	}
	have, fetched := j.begin(number)
	defer j.end(number)
	problem := ""
	switch {
	case have && fetched:
		return unexpected("comes twice")
	case have:
		return nil // an earlier run brought it
	case isReserved(e.SealedPath):
		problem = reserved
	case h.Size != e.SealedSize:
		problem = fmt.Sprintf("%d bytes, listed with %d", h.Size, e.SealedSize)
	default:
		problem, err = j.unpack(e, number, data, with)
	}
	if problem != "" {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.trouble(number, problem)
	}
	return err
}

// begin waits until nobody else has a member of that line at work, of another
// package, and tells whether the file is here, and whether this run brought it.
func (j *job) begin(number int64) (have, fetched bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.taking[number] {
		j.taken.Wait()
	}
	j.taking[number] = true
	return j.here.has(number), j.fetched.has(number)
}

func (j *job) end(number int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.taking, number)
	j.taken.Broadcast()
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

// unpack writes one file to where files arrive, checks it on the way, and says
// what is wrong with it.
func (j *job) unpack(e *manifest.Entry, number int64, data io.Reader, with *buffers) (problem string, err error) {
	name := arrivalName(number)
	with.sum.Reset()
	err = j.write(name, io.TeeReader(data, with.sum), with.copy)
	if isUnplaceable(err) {
		return err.Error(), nil
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", e.SealedPath, err)
	}
	if manifest.Hash(with.sum.Sum(nil)) != e.SealedSHA512 {
		return "SHA-512 differs from the listed one", j.disk.removeAll(j.download + "/" + name)
	}
	j.mu.Lock()
	pack := j.pack(e.Package)
	j.got(number, pack)
	j.fetched.set(number)
	j.mu.Unlock()
	return "", j.arrive(arrival{j.download, name, strings.Clone(e.SealedPath), number, pack}, e.SealedSize) // a part of a line keeps all of it in memory
}

func (j *job) write(name string, data io.Reader, buffer []byte) error {
	dir, err := j.open.get(j.download, true)
	if err != nil {
		return err
	}
	defer j.open.put(dir)
	out, err := j.open.create(dir, name)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{out}, &memberReader{data}, buffer)
	if err = errors.Join(err, out.Close()); err != nil {
		return errors.Join(err, j.disk.removeAll(j.download+"/"+name))
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
