package restore

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
)

// maxListed is how many problems of one kind a report names.
const maxListed = 100

// Report is what a run did. It can be read when Run has returned.
type Report struct {
	Version  string `json:"version"`
	To       string `json:"to"`
	Shard    string `json:"shard,omitempty"` // the part that was to be restored: 2/4
	DryRun   bool   `json:"dryRun"`
	Restored Tally  `json:"restored"` // in a dry run: would be
	Skipped  Tally  `json:"skipped"`  // were there already

	Conflicts Problems `json:"conflicts"` // something else is in the way
	Damaged   Problems `json:"damaged"`   // the sealed file is not what the list says
	Missing   Problems `json:"missing"`   // the archive does not have the sealed file
	Locked    Problems `json:"locked"`    // no key given opens it
	Failed    Problems `json:"failed"`    // could not be read or written

	mu     sync.Mutex
	keyErr error // the first of those in Locked
}

// Tally counts files and their plain bytes.
type Tally struct {
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
}

// Problems are a count and the first hundred.
type Problems struct {
	Count int64     `json:"count"`
	First []Problem `json:"first,omitempty"`
}

// Problem is why a file was not restored. Path is written as in the lists:
// control characters and what is no UTF-8 as %XX.
type Problem struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

func newReport(o *Options) *Report {
	return &Report{Version: o.Version.Name.String(), To: o.To, Shard: o.Shard.String(), DryRun: o.DryRun}
}

func (r *Report) done(t *Tally, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t.Files++
	t.Bytes += bytes
}

// enoughLocked is after how many files that no key opens, and none that one
// does, nobody expects others.
const enoughLocked = 20

// problem notes why a file was not restored. The error ends the run.
func (r *Report) problem(path string, why error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &r.Failed
	switch {
	case errors.Is(why, errConflict):
		p = &r.Conflicts
	case errors.Is(why, catalog.ErrMissing):
		p = &r.Missing
	case errors.Is(why, envelope.ErrDamaged), errors.Is(why, envelope.ErrUnsupported):
		p = &r.Damaged
	case errors.Is(why, envelope.ErrKey):
		p = &r.Locked
		r.keyErr = cmp.Or(r.keyErr, why)
	}
	p.Count++
	if len(p.First) < maxListed {
		p.First = append(p.First, Problem{manifest.EscapePath(path), why.Error()})
	}
	if r.Locked.Count >= enoughLocked && r.nothingOpened() {
		return r.keyErr
	}
	return nil
}

func (r *Report) nothingOpened() bool {
	return r.Restored.Files == 0 && r.Skipped.Files == 0 && r.Damaged.Count == 0
}

// verdict is nil when everything is there.
func (r *Report) verdict() error {
	if r.keyErr != nil && r.nothingOpened() {
		return r.keyErr
	}
	var parts []string
	for _, p := range []struct {
		count int64
		what  string
	}{
		{r.Conflicts.Count, "in conflict with what is there"}, {r.Damaged.Count, "damaged"}, {r.Missing.Count, "missing"},
		{r.Locked.Count, "sealed for another key"}, {r.Failed.Count, "failed"},
	} {
		if p.count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.count, p.what))
		}
	}
	if parts == nil {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrIncomplete, strings.Join(parts, ", "))
}
