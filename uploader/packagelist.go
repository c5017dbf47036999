package uploader

import (
	"context"
	"errors"
	"sync"
)

// packageLists has the bucket know which packages are whole, for a later run that
// goes on should this one be stopped. Each package is in one list; but a list for
// each of thousands of small ones would take longer than the packages, so several
// share one, until it is worth it: what a stopped run loses of its work is that.
type packageLists struct {
	*run
	files int64 // of a list that is worth it

	mu      sync.Mutex
	pending *spool // lines of packages that no list names yet; nil: there are none
	bytes   int64  // of those packages
	last    string // of them
}

const (
	// listsPerRun is about how many lists there are of very many small packages.
	listsPerRun = 1000
	// listedBytes of packages are worth a list, however few files those are: what
	// is sealed in a second.
	listedBytes = 64 << 20
)

// add lists the files of a package that is whole.
func (l *packageLists) add(ctx context.Context, p *packing) error {
	full, key, err := l.collect(p)
	if err != nil || full == nil {
		return err
	}
	return l.put(ctx, key, full)
}

// collect lists the files for the backup, and returns the lines that are worth a
// list of packages, once there are so many.
func (l *packageLists) collect(p *packing) (full *spool, key string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pending == nil {
		l.pending, l.bytes = newSpool(), 0
	}
	for record, err := range p.lines.records() {
		if err == nil {
			err = l.pending.add(record)
		}
		if err == nil {
			err = l.list.Add(record)
		}
		if err != nil {
			return nil, "", err
		}
	}
	l.last = l.key(p.pkg)
	l.list.keys[l.last] = true
	l.report.Packages++
	l.report.New += int(p.lines.Len())
	l.report.NewSize += p.size
	l.report.Size += p.size
	l.report.Sealed += p.sealed
	if l.bytes += p.out.offset; l.bytes < listedBytes && l.pending.Len() < l.files {
		return nil, "", nil
	}
	full, key = l.take()
	return full, key, nil
}

// take returns what is pending, and the key of its list.
func (l *packageLists) take() (full *spool, key string) {
	full, key = l.pending, l.last+packageListSuffix
	l.pending = nil
	l.list.keys[key] = true
	return full, key
}

func (l *packageLists) put(ctx context.Context, key string, lines *spool) error {
	return errors.Join(l.putList(ctx, key, linesOf(lines.records())), lines.Close())
}

// end lists what is left where a run was not stopped, and frees it otherwise.
func (l *packageLists) end(ctx context.Context, err error) error {
	if l.pending == nil {
		return err
	}
	full, key := l.take()
	if err != nil {
		return errors.Join(err, full.Close())
	}
	return l.put(ctx, key, full)
}
