package archiver

import (
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// arrival is a file that came whole, and waits to be moved to the version's folder.
type arrival struct {
	dir, name string // where it is now
	to        string // its sealed path
	number    int64
	pack      *pkg
}

// batch is what is made safe with one sync: on a disk that turns, one takes as long
// as writing hundreds of small files.
type batch struct {
	files []arrival
	bytes int64
	began time.Time
}

// When a batch is full. What waits is lost when the power fails, and fetched again.
const (
	batchFiles = 4096
	batchBytes = 1 << 30
	batchTime  = 10 * time.Second
)

// arrivalName is what a new file is called until it is in the version's folder.
func arrivalName(number int64) string { return strconv.FormatInt(number, 10) }

// got notes that a new file is here, lost that it is not after all. With j.mu held.
func (j *job) got(number int64, p *pkg) {
	j.here.set(number)
	j.troubled.clear(number)
	delete(j.troubles, number)
	p.lacking--
}

func (j *job) lost(a *arrival, what string) {
	j.trouble(a.number, what)
	a.pack.lacking++
}

// arrive adds a file to the batch, and moves a batch that is full.
func (j *job) arrive(a arrival, size int64) error {
	j.mu.Lock()
	b := &j.arrived
	if len(b.files) == 0 {
		b.began = time.Now()
	}
	b.files = append(b.files, a)
	b.bytes += size
	var full []arrival
	if len(b.files) == batchFiles || b.bytes > batchBytes || time.Since(b.began) > batchTime {
		full, *b = b.files, batch{}
	}
	j.mu.Unlock()
	return j.forward(full)
}

// forwardRest moves the last batch. Nobody may add to it any more.
func (j *job) forwardRest() error {
	rest := j.arrived.files
	j.arrived = batch{}
	return j.forward(rest)
}

// forward moves files that arrived whole into the version's folder: from there
// on they are never fetched again.
func (j *job) forward(files []arrival) error {
	if len(files) == 0 {
		return nil
	}
	j.moving.Lock()
	defer j.moving.Unlock()
	slices.SortFunc(files, func(a, b arrival) int { return strings.Compare(a.to, b.to) })
	if j.notSafe == nil {
		j.notSafe = j.disk.sync()
	}
	if j.notSafe != nil { // a failed one covered what had come of the batches after it, too
		return j.notSafe
	}
	for i := range files {
		if err := j.moveIn(&files[i]); err != nil {
			return err
		}
	}
	return nil
}

func (j *job) moveIn(a *arrival) error {
	from, err := j.open.get(a.dir, false)
	if err != nil {
		return err
	}
	defer j.open.put(from)
	err = j.open.move(from, a.name, path.Dir(j.dir+"/"+a.to), path.Base(a.to))
	if isUnplaceable(err) {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.lost(a, err.Error())
		return nil
	}
	return err
}
