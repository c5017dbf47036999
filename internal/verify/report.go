package verify

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
)

// Report is what a run found. It can be read when Run has returned.
type Report struct {
	Shard    string `json:"shard,omitempty"` // the part of the files that was looked at: 2/4
	Storages int    `json:"storages"`
	Versions int    `json:"versions"` // with those in Lists
	Files    int64  `json:"files"`    // sealed files that were looked at
	Bytes    int64  `json:"bytes"`    // that they should have
	Read     Tally  `json:"read"`     // of them, those that were read to the end; the bytes of all

	Problems []Problem      `json:"problems"`        // the first ten thousand, ordered by path and version
	Count    int64          `json:"count"`           // of all problems
	Kinds    map[Kind]int64 `json:"kinds,omitempty"` // how many of each
	Lists    []List         `json:"lists"`           // that cannot be read: what only they list is not known

	Extra      int64    `json:"extra"`                // files that no list names; they are in Problems too
	Misplaced  int64    `json:"misplaced"`            // in another folder than the lists say, where they are found all the same
	Healed     int64    `json:"healed"`               // missing, and another version has the same plain file sealed anew
	Unfinished []string `json:"unfinished,omitempty"` // folders without a list: arriving, or left behind

	mu        sync.Mutex
	locked    int64 // problems that are a want of the right key, and no damage
	keyErr    error // the first of these
	untrusted int   // lists that nobody trusted signed, which may be no damage
	trustErr  error // the first of these
}

// Tally counts files and their sealed bytes.
type Tally struct {
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
}

// List is a version whose list cannot be read.
type List struct {
	Version   string `json:"version"`
	Reason    string `json:"reason"`
	Untrusted bool   `json:"untrusted,omitempty"` // nobody trusted has signed it
}

// Kind is what is wrong with a file.
type Kind string

const (
	Missing     Kind = "missing"      // none of the archive's folders has it
	Truncated   Kind = "truncated"    // shorter than listed
	Longer      Kind = "longer"       // longer than listed
	Changed     Kind = "changed"      // of the right size, and other bytes
	Swapped     Kind = "swapped"      // it is another one of the listed sealed files
	Extra       Kind = "extra"        // no list names it
	Unreadable  Kind = "unreadable"   // the disk or the system does not let it be read
	NotOpenable Kind = "not-openable" // its bytes are those of the list, but not what was backed up; or no key fits
)

// Problem is what is wrong with one sealed file. Path, and what is extra, are
// written as in the lists: control characters and what is no UTF-8 as %XX.
type Problem struct {
	Kind       Kind             `json:"kind"`
	Storage    string           `json:"storage"`
	Path       string           `json:"path,omitempty"` // of the plain file; "" where none is known
	SealedPath string           `json:"sealedPath"`
	Folder     string           `json:"folder"`          // the version's in which it lies or should lie
	First      string           `json:"first,omitempty"` // the first and the last version that list it: those between do too
	Last       string           `json:"last,omitempty"`
	Newest     bool             `json:"newest,omitempty"` // Last is the newest readable version
	Ranges     []envelope.Range `json:"ranges,omitempty"` // the sealed bytes that are wrong are in these
	Detail     string           `json:"detail,omitempty"`

	Entry  *manifest.Entry `json:"-"` // as the list has it; nil for what is extra
	actual *manifest.Hash  // of what lies there, where all of it was read
	size   int64           // of what lies there
	key    error           // why no key fits, where that is all
}

// maxProblems bounds the memory that a report takes.
const maxProblems = 10_000

func newReport(o *Options) *Report {
	return &Report{Shard: o.Shard.String(), Problems: []Problem{}, Lists: []List{}, Kinds: map[Kind]int64{}}
}

// looked notes that a file was looked at.
func (r *Report) looked(bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Files++
	r.Bytes += bytes
}

// read notes that bytes of a file were read, all that there are or not.
func (r *Report) read(bytes int64, all bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Read.Bytes += bytes
	if all {
		r.Read.Files++
	}
}

func (r *Report) count(n *int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*n++
}

func (r *Report) addList(v catalog.Version, why error) {
	r.Lists = append(r.Lists, List{v.Name.String(), v.Damaged, v.Untrusted})
	if v.Untrusted {
		r.untrusted++
		r.trustErr = cmp.Or(r.trustErr, why)
	}
}

// add tells whether the problem is kept, or only counted.
func (r *Report) add(p *Problem) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Count++
	r.Kinds[p.Kind]++
	switch {
	case p.Kind == Extra:
		r.Extra++
	case p.key != nil:
		r.locked++
		r.keyErr = cmp.Or(r.keyErr, p.key)
	}
	if len(r.Problems) == maxProblems {
		return false
	}
	r.Problems = append(r.Problems, *p)
	return true
}

// swap makes another kind of a problem with a file that was read.
func (r *Report) swap(p *Problem, detail string) {
	if r.Kinds[p.Kind]--; r.Kinds[p.Kind] == 0 {
		delete(r.Kinds, p.Kind)
	}
	r.Kinds[Swapped]++
	p.Kind, p.Detail = Swapped, detail
	p.Ranges = []envelope.Range{{Offset: 0, Length: max(p.size, p.Entry.SealedSize)}}
}

// finish puts the problems into an order that does not depend on chance.
func (r *Report) finish() {
	slices.SortFunc(r.Problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Storage, b.Storage), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Folder, b.Folder), cmp.Compare(a.SealedPath, b.SealedPath))
	})
}

// verdict is nil when all is well.
func (r *Report) verdict() error {
	if r.Count == r.locked && len(r.Lists) == r.untrusted {
		switch {
		case r.trustErr != nil:
			return fmt.Errorf("%d versions are not signed as they should be: %w", r.untrusted, r.trustErr)
		case r.keyErr != nil:
			return fmt.Errorf("%d files cannot be opened: %w", r.locked, r.keyErr)
		}
		return nil
	}
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(r.Kinds)) {
		parts = append(parts, fmt.Sprintf("%d %s", r.Kinds[kind], kind))
	}
	if len(r.Lists) > 0 {
		parts = append(parts, fmt.Sprintf("%d versions' lists cannot be read", len(r.Lists)))
	}
	return fmt.Errorf("%w: %s", ErrDamaged, strings.Join(parts, ", "))
}

// keyError is the error where it says that no key fits, else nil.
func keyError(err error) error {
	if errors.Is(err, envelope.ErrKey) {
		return err
	}
	return nil
}
