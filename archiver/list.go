package archiver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/chipster/firn/internal/extsort"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/workers"
)

// sortMemory is what each sorting takes while it is added to, of which a job does
// up to four at once. Reading what is in a temporary file takes 64 KiB for each of
// its runs, of which there are up to 128.
const sortMemory = 4 << 20

// backupList is the backup's list, of which nothing is in memory but where its
// lines are. After index all may be called at once.
type backupList struct {
	key    string // in the bucket
	file   *os.File
	lines  int64
	sealed *extsort.Sorter // a item for each line
	fresh  *lookup         // the lines of new files, by sealed path
}

// fetchList keeps a copy of the backup's list, which is read more than once.
func (j *job) fetchList(ctx context.Context) error {
	if err := j.disk.removeAll(fetchedList); err != nil {
		return err
	}
	f, err := j.disk.create(fetchedList)
	if err != nil {
		return err
	}
	if err := errors.Join(j.copyList(ctx, f), f.Close()); err != nil {
		return err
	}
	j.list.file, err = j.disk.root.Open(fetchedList)
	return err
}

func (j *job) copyList(ctx context.Context, to *os.File) error {
	j.list = &backupList{key: j.b.backupInfo.Key, file: to, sealed: extsort.New(sortMemory), fresh: newLookup()}
	body, err := j.Store.Get(ctx, j.list.key, 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	if _, err := io.Copy(to, body); err != nil {
		return fmt.Errorf("fetching %s: %w", j.list.key, err)
	}
	return nil
}

func (l *backupList) close() {
	l.file.Close()
	l.sealed.Close()
	l.fresh.close()
}

// reader reads the list from its beginning.
func (l *backupList) reader() io.Reader { return io.NewSectionReader(l.file, 0, 1<<62) }

// each reads a list's lines in their order.
func each(key string, r io.Reader, do func(*manifest.Entry) error) error {
	for e, err := range manifest.Read(r) {
		if err == nil {
			err = do(&e)
		}
		if err != nil {
			return fmt.Errorf("the list %s: %w", key, err)
		}
	}
	return nil
}

// index reads the list, counts what it holds, and refuses one that cannot be
// right.
func (j *job) index(ctx context.Context) error {
	l := j.list
	paths := extsort.New(sortMemory)
	defer paths.Close()
	starts := newLineStarts(l.reader())
	var key []byte
	err := each(l.key, starts, func(e *manifest.Entry) error {
		at := line{l.lines, starts.next()}
		l.lines++
		j.note(e)
		if j.isNew(e) {
			if err := l.fresh.add(e.SealedPath, at); err != nil {
				return err
			}
		}
		r := item{number: at.number, offset: at.offset, size: e.SealedSize, from: j.whence(e)}
		key = r.appendTo(key[:0], e.SealedPath)
		if err := l.sealed.Add(key); err != nil {
			return err
		}
		key = treeKey(key[:0], e.Path)
		return errors.Join(paths.Add(key), ctx.Err())
	})
	if err != nil {
		return err
	}
	if err := errors.Join(unique(paths), uniqueSealed(l.sealed)); err != nil {
		return fmt.Errorf("the list %s: %w", l.key, err)
	}
	j.here, j.fetched, j.troubled = newBits(l.lines), newBits(l.lines), newBits(l.lines)
	return l.fresh.build()
}

// unique refuses a list in which a path comes twice, or is a folder of others:
// which line would hold?
func unique(paths *extsort.Sorter) error {
	var last []byte
	for key, err := range paths.All() {
		switch {
		case err != nil:
			return err
		case last == nil || !bytes.HasPrefix(key, last):
		case len(key) == len(last):
			return fmt.Errorf("%w: the path %.1000q is listed twice", manifest.ErrInvalid, pathOfTreeKey(last))
		default:
			return fmt.Errorf("%w: the path %.1000q is a file and a folder", manifest.ErrInvalid, pathOfTreeKey(last))
		}
		last = append(last[:0], key...)
	}
	return nil
}

func pathOfTreeKey(key []byte) string {
	return string(bytes.ReplaceAll(key[:len(key)-1], []byte{0}, []byte("/")))
}

func uniqueSealed(items *extsort.Sorter) error {
	var last []byte
	for b, err := range items.All() {
		if err != nil {
			return err
		}
		if bytes.Equal(keyOf(b), last) {
			r := new(decoder).item(b)
			return fmt.Errorf("%w: the sealed path %.1000q is listed twice", manifest.ErrInvalid, r.path())
		}
		last = append(last[:0], keyOf(b)...)
	}
	return nil
}

// entry reads a line.
func (l *backupList) entry(offset int64) (manifest.Entry, error) {
	for size := 2 << 10; ; size *= 8 {
		b := make([]byte, size)
		n, err := l.file.ReadAt(b, offset)
		if end := bytes.IndexByte(b[:n], '\n'); end >= 0 {
			return manifest.ParseLine(string(b[:end]))
		}
		if err != nil { // also the end: the list was read before, and had a line there
			return manifest.Entry{}, fmt.Errorf("reading the list %s again: %w", l.key, err)
		}
	}
}

// newFile finds a new file by its sealed path.
func (l *backupList) newFile(sealedPath string) (*manifest.Entry, int64, error) {
	lines, err := l.fresh.find(sealedPath)
	if err != nil {
		return nil, 0, err
	}
	for _, at := range lines {
		e, err := l.entry(at.offset)
		if err != nil {
			return nil, 0, err
		}
		if e.SealedPath == sealedPath {
			return &e, at.number, nil
		}
	}
	return nil, 0, nil
}

// items yields the items of a sorter that want wants, in their order.
func items(s *extsort.Sorter, want func(*item) bool) iter.Seq2[item, error] {
	return func(yield func(item, error) bool) {
		var d decoder
		for b, err := range s.All() {
			if err != nil {
				yield(item{}, err)
				return
			}
			if r := d.item(b); want(&r) && !yield(r, nil) {
				return
			}
		}
	}
}

// chunks are such items, as many together as a goroutine is given at once.
func chunks(s *extsort.Sorter, want func(*item) bool) iter.Seq2[[]item, error] {
	size := func(r *item) int64 { return int64(len(r.dir) + len(r.name)) }
	return workers.Batches(items(s, want), size, func(_, _ *item) bool { return true })
}

// forEach has goroutines do something for each item.
func forEach(do func(context.Context, *item) error) func(context.Context, []item) error {
	return func(ctx context.Context, chunk []item) error {
		for i := range chunk {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := do(ctx, &chunk[i]); err != nil {
				return err
			}
		}
		return nil
	}
}
