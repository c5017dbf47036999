// Package extsort sorts more records than fit into memory: runs that do go to a
// temporary file, and are merged as they are read.
//
// It promises that memory does not grow with the number of records, that a record
// which did not reach the disk is an error and never a shorter result, and that
// nobody but this process can read the temporary file, of which nothing is left
// when the process ends, however it does.
//
// Records that come in order already, or nearly, are not merged at all: what
// follows on the last run makes it longer.
package extsort

import (
	"bufio"
	"bytes"
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// DefaultMemory is what a Sorter takes, in bytes, before it writes to disk.
const DefaultMemory = 16 << 20

const (
	slabSize    = 1 << 20
	maxRuns     = 128       // that are merged at once
	mergeMemory = 128 << 20 // for their records, where these are long
	runBuffer   = 64 << 10
)

// Sorter sorts records, which are any bytes, by their bytes. First comes Add,
// then All, and Close at last. It is not safe for concurrent use, but several
// iterations of All may go on at once.
type Sorter struct {
	memory int
	count  int64

	slabs [][]byte // of the records in memory
	refs  []ref    // those records
	used  int      // bytes of both

	file *os.File // of the runs, one behind the other; nil while all is in memory
	runs []run
	last []byte // the last record of the last run
	long int    // the length of the longest record in the file
	done bool   // nothing is added any more
	err  error  // of writing what was in memory at the end
}

// ref is a record in memory.
type ref struct {
	prefix    uint64 // its first bytes, so that most comparisons need no more
	slab, off uint32
	length    uint32
}

const refSize = 24

// run is a sorted part of the file.
type run struct{ start, end int64 }

// New returns a Sorter that takes some memory bytes, and more only for a record
// that is longer. 0 is DefaultMemory. Its temporary file is in os.TempDir.
func New(memory int) *Sorter {
	if memory <= 0 {
		memory = DefaultMemory
	}
	return &Sorter{memory: memory}
}

// Len is how many records there are.
func (s *Sorter) Len() int64 { return s.count }

// Add adds a record, which is the parts one behind the other. It keeps none of
// them.
func (s *Sorter) Add(parts ...[]byte) error {
	if s.done {
		panic("extsort: Add after All")
	}
	length := 0
	for _, p := range parts {
		length += len(p)
	}
	if s.used > 0 && s.used+length+refSize > s.memory {
		if err := s.spill(); err != nil {
			return err
		}
	}
	slab := len(s.slabs) - 1
	if slab < 0 || cap(s.slabs[slab])-len(s.slabs[slab]) < length {
		s.slabs = append(s.slabs, make([]byte, 0, max(length, min(slabSize, s.memory))))
		slab++
	}
	b := s.slabs[slab]
	off := len(b)
	for _, p := range parts {
		b = append(b, p...)
	}
	s.slabs[slab] = b
	s.refs = append(s.refs, ref{prefixOf(b[off:]), uint32(slab), uint32(off), uint32(length)})
	s.used += length + refSize
	s.count++
	return nil
}

func prefixOf(record []byte) uint64 {
	var first [8]byte
	copy(first[:], record)
	return binary.BigEndian.Uint64(first[:])
}

func (s *Sorter) record(r ref) []byte { return s.slabs[r.slab][r.off:][:r.length:r.length] }

func (s *Sorter) sort() {
	slices.SortFunc(s.refs, func(a, b ref) int {
		if c := cmp.Compare(a.prefix, b.prefix); c != 0 {
			return c
		}
		return bytes.Compare(s.record(a), s.record(b))
	})
}

// spill writes what is in memory to the file.
func (s *Sorter) spill() error {
	s.sort()
	if s.file == nil {
		file, err := TempFile()
		if err != nil {
			return err
		}
		s.file = file
	}
	if len(s.runs) >= s.fanIn() {
		if err := s.mergeRuns(); err != nil {
			return err
		}
	}
	records := func(yield func([]byte, error) bool) {
		for _, r := range s.refs {
			if !yield(s.record(r), nil) {
				return
			}
		}
	}
	follows := len(s.runs) > 0 && bytes.Compare(s.last, s.record(s.refs[0])) <= 0
	written, err := s.write(s.file, s.end(), records)
	if err != nil {
		return err
	}
	if follows {
		s.runs[len(s.runs)-1].end = written.end
	} else {
		s.runs = append(s.runs, written)
	}
	s.last = append(s.last[:0], s.record(s.refs[len(s.refs)-1])...)
	s.refs, s.used = s.refs[:0], 0
	// One slab is enough to go on with; a record may have had a long one.
	s.slabs = s.slabs[:1]
	s.slabs[0] = s.slabs[0][:0]
	return nil
}

// fanIn is how many runs may be merged at once: of each, one record is in memory.
func (s *Sorter) fanIn() int {
	for _, r := range s.refs {
		s.long = max(s.long, int(r.length))
	}
	return min(maxRuns, max(2, mergeMemory/(s.long+s.long/4+1))) // a run's buffer is a quarter longer
}

// end of what is in the file.
func (s *Sorter) end() int64 {
	if len(s.runs) == 0 {
		return 0
	}
	return s.runs[len(s.runs)-1].end
}

// TempFile makes a file in os.TempDir that has no name, so that nothing is left of
// it when the process ends.
func TempFile() (*os.File, error) {
	file, err := os.OpenFile(os.TempDir(), os.O_RDWR|os.O_EXCL|unix.O_TMPFILE, 0o600) // EXCL: it never gets a name
	if err != nil {
		file, err = briefTempFile()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make a temporary file; make room in %s, or set TMPDIR to where there is: %w", os.TempDir(), err)
	}
	return file, nil
}

// briefTempFile is for file systems where a file has to have a name at first.
func briefTempFile() (*os.File, error) {
	file, err := os.CreateTemp("", "firn-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func (s *Sorter) write(file *os.File, start int64, records iter.Seq2[[]byte, error]) (run, error) {
	at := &offsetWriter{file, start}
	out := bufio.NewWriterSize(at, 256<<10)
	var length [binary.MaxVarintLen64]byte
	for record, err := range records {
		if err != nil {
			return run{}, err
		}
		n := binary.PutUvarint(length[:], uint64(len(record)))
		out.Write(length[:n]) // its error is there at Flush
		out.Write(record)
	}
	if err := out.Flush(); err != nil {
		return run{}, fmt.Errorf("cannot sort on disk; make room in %s, or set TMPDIR to where there is: %w", os.TempDir(), err)
	}
	return run{start, at.offset}, nil
}

type offsetWriter struct {
	file   *os.File
	offset int64
}

func (w *offsetWriter) Write(p []byte) (int, error) {
	n, err := w.file.WriteAt(p, w.offset)
	w.offset += int64(n)
	return n, err
}

// mergeRuns makes one run of all.
func (s *Sorter) mergeRuns() error {
	file, err := TempFile()
	if err != nil {
		return err
	}
	merged, err := s.write(file, 0, func(yield func([]byte, error) bool) {
		for record, err := range s.merge() {
			s.last = append(s.last[:0], record...)
			if !yield(record, err) {
				return
			}
		}
	})
	if err != nil {
		return errors.Join(err, file.Close())
	}
	old := s.file
	s.file, s.runs = file, []run{merged}
	return old.Close()
}

// All yields the records in order, from the first one each time it is called; a
// record is valid until the next. An error, of the disk, ends it.
func (s *Sorter) All() iter.Seq2[[]byte, error] {
	if !s.done {
		s.done = true
		switch {
		case s.file == nil:
			s.sort()
		case s.used > 0:
			s.err = s.spill()
			fallthrough
		default:
			s.slabs, s.refs = nil, nil
		}
	}
	if s.err != nil { // each time: what did not reach the disk is not there any more
		return func(yield func([]byte, error) bool) { yield(nil, s.err) }
	}
	if s.file != nil {
		return s.merge()
	}
	return func(yield func([]byte, error) bool) {
		for _, r := range s.refs {
			if !yield(s.record(r), nil) {
				return
			}
		}
	}
}

// Close gives the memory and the disk's room back.
func (s *Sorter) Close() error {
	s.done, s.slabs, s.refs = true, nil, nil
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

func (s *Sorter) merge() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var h runHeap
		for _, r := range s.runs {
			reader := &runReader{in: bufio.NewReaderSize(io.NewSectionReader(s.file, r.start, r.end-r.start), runBuffer)}
			if err := reader.next(); err == nil {
				h = append(h, reader)
			} else if err != io.EOF {
				yield(nil, err)
				return
			}
		}
		heap.Init(&h)
		for len(h) > 0 {
			if !yield(h[0].record, nil) {
				return
			}
			switch err := h[0].next(); {
			case err == io.EOF:
				heap.Pop(&h)
			case err != nil:
				yield(nil, err)
				return
			case len(h) > 1:
				heap.Fix(&h, 0)
			}
		}
	}
}

// runReader reads a run.
type runReader struct {
	in     *bufio.Reader
	record []byte
	prefix uint64
}

func (r *runReader) next() error {
	length, err := binary.ReadUvarint(r.in)
	if err == io.EOF {
		return io.EOF
	}
	if err == nil {
		if uint64(cap(r.record)) < length {
			r.record = make([]byte, length+length/4)
		}
		r.record = r.record[:length]
		_, err = io.ReadFull(r.in, r.record)
	}
	if err != nil {
		return fmt.Errorf("cannot read what was sorted on disk: %w", err)
	}
	r.prefix = prefixOf(r.record)
	return nil
}

type runHeap []*runReader

func (h runHeap) Len() int { return len(h) }
func (h runHeap) Less(i, j int) bool {
	if h[i].prefix != h[j].prefix {
		return h[i].prefix < h[j].prefix
	}
	return bytes.Compare(h[i].record, h[j].record) < 0
}
func (h runHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *runHeap) Push(x any)   { *h = append(*h, x.(*runReader)) }
func (h *runHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
