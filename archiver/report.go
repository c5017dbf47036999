package archiver

import "strings"

// Report is what a run did, or in a dry run would do.
type Report struct {
	DryRun  bool      `json:"dryRun,omitempty"`
	Backups []Backup  `json:"backups"`
	Pruned  []Removal `json:"pruned"`  // versions deleted from the archive
	Cleaned []Removal `json:"cleaned"` // backups deleted from the bucket
	Skipped []Skip    `json:"skipped"`
}

// newReport makes lists that JSON shows as empty ones.
func newReport(dryRun bool) *Report {
	return &Report{DryRun: dryRun, Backups: []Backup{}, Pruned: []Removal{}, Cleaned: []Removal{}, Skipped: []Skip{}}
}

// Backup is what became of one backup.
type Backup struct {
	Name       string   `json:"name"`
	Files      int      `json:"files"`   // lines of its list
	New        int      `json:"new"`     // of these, brought by its own packages
	Carried    int      `json:"carried"` // of these, in the archive before
	Fetched    int64    `json:"fetchedBytes"`
	Missing    Problems `json:"missing"`         // listed, but found nowhere
	Damaged    Problems `json:"damaged"`         // files and packages with other bytes than listed
	Unexpected Problems `json:"unexpected"`      // members of packages that no list allows
	Error      string   `json:"error,omitempty"` // why it was not archived
	Seconds    float64  `json:"durationSeconds"`
}

// Removal is a version or a backup that was deleted.
type Removal struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// Skip is something that was not done, though nothing failed.
type Skip struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// Problems counts, and describes the first ones.
type Problems struct {
	Count int      `json:"count"`
	First []string `json:"first,omitempty"` // at most 100
}

const maxProblems = 100

// maxProblem bounds what one of them takes: names can be of any length.
const maxProblem = 1000

func (p *Problems) add(what string) {
	if p.Count++; len(p.First) < maxProblems {
		p.First = append(p.First, shortened(what))
	}
}

// shortened is a text of its own, which keeps no other in memory.
func shortened(what string) string {
	if len(what) > maxProblem {
		what = what[:maxProblem] + "…"
	}
	return strings.Clone(what)
}

func (r *Report) incomplete() bool {
	for i := range r.Backups {
		b := &r.Backups[i]
		if b.Missing.Count+b.Damaged.Count+b.Unexpected.Count > 0 {
			return true
		}
	}
	return false
}
