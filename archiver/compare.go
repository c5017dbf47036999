package archiver

import (
	"bytes"
	"context"
	"io"
	"iter"

	"github.com/chipster/firn/internal/extsort"
	"github.com/chipster/firn/internal/manifest"
)

// sealedIDs sorts which sealed file lies where, by the files of a list: the
// folderKey of the sealed path, its SHA-512, and the text behind that.
func sealedIDs(key string, r io.Reader, text func(*manifest.Entry) string) (*extsort.Sorter, error) {
	ids := extsort.New(sortMemory)
	var id []byte
	err := each(key, r, func(e *manifest.Entry) error {
		id = append(folderKey(id[:0], e.SealedPath), e.SealedSHA512[:]...)
		return ids.Add(append(id, text(e)...))
	})
	if err != nil {
		ids.Close()
		return nil, err
	}
	return ids, nil
}

func noText(*manifest.Entry) string { return "" }

// localIDs are the sealedIDs of one of the archive's lists.
func (d *disk) localIDs(list string) (*extsort.Sorter, error) {
	f, err := d.root.Open(list)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return sealedIDs(list, f, noText)
}

// compare reports what a list that an interrupted run wrote leaves out of the
// backup's list. The local list is the truth.
func (j *job) compare(ctx context.Context, list string) error {
	local, err := j.disk.localIDs(list)
	if err != nil {
		return err
	}
	defer local.Close()
	body, err := j.Store.Get(ctx, j.b.backupInfo.Key, 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	listed, err := sealedIDs(j.b.backupInfo.Key, body, func(e *manifest.Entry) string {
		j.count(e)
		return e.Path
	})
	if err != nil {
		return err
	}
	defer listed.Close()
	have := newCursor(local.All())
	defer have.stop()
	for id, err := range listed.All() {
		if err != nil {
			return err
		}
		end := len(keyOf(id)) + len(manifest.Hash{})
		there, err := have.has(id[:end])
		if err != nil {
			return err
		}
		if !there {
			j.report.Missing.add(string(id[end:]))
		}
	}
	return nil
}

// cursor goes through sorted records, beside others that are sorted too.
type cursor struct {
	next func() ([]byte, error, bool)
	stop func()
	now  []byte // nil: none
	err  error
}

func newCursor(records iter.Seq2[[]byte, error]) *cursor {
	c := &cursor{}
	c.next, c.stop = iter.Pull2(records)
	c.advance()
	return c
}

func (c *cursor) advance() {
	var more bool
	if c.now, c.err, more = c.next(); !more {
		c.now = nil
	}
}

// has goes on to a record, which no later call may be before, and tells whether
// there is one.
func (c *cursor) has(record []byte) (bool, error) {
	for c.err == nil && c.now != nil && bytes.Compare(c.now, record) < 0 {
		c.advance()
	}
	return c.err == nil && bytes.Equal(c.now, record), c.err
}
