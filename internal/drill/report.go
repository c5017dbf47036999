package drill

import (
	"errors"
	"fmt"
	"time"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/postgres"
	"github.com/chipster/firn/internal/restore"
	"github.com/chipster/firn/internal/signature"
)

// maxListed is how many problems of one version a report names.
const maxListed = 100

// Verdict is what a drill comes to.
type Verdict string

// The verdicts.
const (
	Good       Verdict = "good"
	Bad        Verdict = "problems"
	Locked     Verdict = "locked"     // all problems are of files that no key given opens
	Unfinished Verdict = "unfinished" // it ended early
)

// Report is what a drill did. It can be read when Run has returned.
type Report struct {
	Verdict   Verdict       `json:"verdict"`
	Started   time.Time     `json:"started"`
	Seconds   float64       `json:"seconds"`
	Trials    []*Trial      `json:"trials"`
	Chosen    restore.Tally `json:"chosen"` // of all trials
	Right     restore.Tally `json:"right"`
	Problems  int64         `json:"problems"`
	Kept      []string      `json:"kept,omitempty"`      // the folder and the databases that were to be left
	Leftovers []string      `json:"leftovers,omitempty"` // those of drills that ended more than a day ago
}

// Trial is what became of one version.
type Trial struct {
	Storage    string        `json:"storage"`
	Version    string        `json:"version"`
	AgeSeconds int64         `json:"ageSeconds"`
	Database   bool          `json:"database"`
	Listed     restore.Tally `json:"listed"`  // files of the version
	Chosen     restore.Tally `json:"chosen"`  // of those, tried
	LeftOut    restore.Tally `json:"leftOut"` // drawn, and left out since there was no room for them
	Right      restore.Tally `json:"right"`   // of those chosen, restored and found right

	Seconds        float64 `json:"seconds"` // of restoring, without what comes before and after
	BytesPerSecond float64 `json:"bytesPerSecond"`
	WholeSeconds   float64 `json:"wholeSeconds"` // estimate: the whole version, at this speed; 0: none

	// Of databases only. Server tells that the dump was restored in one, and Rows
	// what was in it then; else Format is that of the dump whose end, or list of
	// contents, was looked at.
	Server       bool            `json:"server,omitempty"`
	Rows         *postgres.Total `json:"rows,omitempty"`
	RowsCompared bool            `json:"rowsCompared,omitempty"` // the list has numbers to compare with
	Format       string          `json:"format,omitempty"`

	Problems restore.Problems `json:"problems"` // without a path: of the version

	locked    int64 // of the problems
	untrusted bool
}

// problem notes what is wrong with a file, or with the version where path is "".
func (t *Trial) problem(path string, why error) {
	if errors.Is(why, envelope.ErrKey) {
		t.locked++
	}
	t.untrusted = t.untrusted || errors.Is(why, signature.ErrUntrusted)
	t.Problems.Count++
	if len(t.Problems.First) < maxListed {
		t.Problems.First = append(t.Problems.First, restore.Problem{Path: manifest.EscapePath(path), Reason: why.Error()})
	}
}

func (r *Report) add(t *Trial) {
	r.Trials = append(r.Trials, t)
	r.Problems += t.Problems.Count
	for _, sum := range []struct {
		to   *restore.Tally
		more restore.Tally
	}{{&r.Chosen, t.Chosen}, {&r.Right, t.Right}} {
		sum.to.Files += sum.more.Files
		sum.to.Bytes += sum.more.Bytes
	}
}

// conclude gives the verdict.
func (r *Report) conclude() error {
	var locked, versions int64
	var untrusted bool
	for _, t := range r.Trials {
		locked += t.locked
		untrusted = untrusted || t.untrusted
		if t.Problems.Count > 0 {
			versions++
		}
	}
	switch {
	case r.Problems == 0:
		r.Verdict = Good
		return nil
	case locked == r.Problems:
		r.Verdict = Locked
		return fmt.Errorf("%d files of %d versions: %w", locked, versions, envelope.ErrKey)
	}
	r.Verdict = Bad
	err := fmt.Errorf("%w: %d problems in %d of %d versions", restore.ErrIncomplete, r.Problems, versions, len(r.Trials))
	if untrusted {
		err = fmt.Errorf("%w: %w", err, signature.ErrUntrusted)
	}
	return err
}
