package main

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/chipster/firn/archiver"
	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/verify"
)

// repaired is what was done about one storage.
type repaired struct {
	Storage string `json:"storage"`
	*archiver.RepairReport
}

// lostFiles are the files of a version that no backup is going to bring.
type lostFiles struct {
	Version string   `json:"version"`
	Files   []string `json:"files"`
}

// verified is the report of a whole verify.
type verified struct {
	*verify.Report
	Finished bool        `json:"finished"` // else something ended it early
	Lost     []lostFiles `json:"lost"`     // by version: what no backup is going to bring
	Repairs  []repaired  `json:"repairs,omitempty"`
}

// isDamage tells problems that to set the file aside may help with.
func isDamage(p *verify.Problem) bool {
	return p.Entry != nil && p.Kind != verify.NotOpenable
}

// lostByVersion lists what is damaged and not on the newest list: the storage
// does not have it any more, or has another file there.
func lostByVersion(versions []catalog.Version, problems []verify.Problem) []lostFiles {
	lost := []lostFiles{}
	for _, v := range versions {
		var files []string
		for i := range problems {
			p := &problems[i]
			if isDamage(p) && !p.Newest && p.Storage == v.Name.Storage() && isWithin(v.Name, p.First, p.Last) {
				files = append(files, p.Path)
			}
		}
		if len(files) > 0 {
			lost = append(lost, lostFiles{v.Name.String(), files})
		}
	}
	return lost
}

func isWithin(name backupname.Name, first, last string) bool {
	a, errA := backupname.Parse(first)
	b, errB := backupname.Parse(last)
	return errA == nil && errB == nil && backupname.Compare(a, name) <= 0 && backupname.Compare(name, b) <= 0
}

// repair sets damaged files aside, storage by storage.
func repair(c *cli.Context, root string, problems []verify.Problem) (done []repaired, err error) {
	byStorage := map[string][]archiver.Damaged{}
	for i := range problems {
		if p := &problems[i]; isDamage(p) {
			folder, err := backupname.Parse(p.Folder)
			if err != nil {
				return nil, err
			}
			byStorage[p.Storage] = append(byStorage[p.Storage], archiver.Damaged{
				Folder: folder, SealedPath: p.Entry.SealedPath, SealedSHA512: p.Entry.SealedSHA512, SealedSize: p.Entry.SealedSize,
			})
		}
	}
	o := archiver.RepairOptions{Root: root, DryRun: c.Bool("dry-run"), Logger: logger(c)}
	cfg, err := configOf(c)
	if err != nil {
		return nil, err
	}
	if o.Store, err = openConfiguredStore(c, cfg, ""); err != nil {
		return nil, err
	}
	for storage, damaged := range byStorage {
		o.Damaged = damaged
		report, err := archiver.Repair(c.Context, o)
		if report != nil {
			done = append(done, repaired{storage, report})
		}
		if err != nil {
			return done, fmt.Errorf("repair: %w", err)
		}
	}
	slices.SortFunc(done, func(a, b repaired) int { return cmp.Compare(a.Storage, b.Storage) })
	return done, nil
}

func printRepairs(out lines, v *verified) {
	for _, r := range v.Repairs {
		did, took := "set aside", "taken off the newest list"
		if r.DryRun {
			did, took = "would be set aside", "would be taken off the newest list"
		}
		for _, s := range r.SetAside {
			fmt.Fprintf(out, "%s: %s as %s\n", printable(s.Folder+"/"+s.SealedPath), did, printable(s.To))
		}
		for _, s := range r.Sound {
			fmt.Fprintf(out, "%s: sound after all, or nothing that a repair can mend; left alone\n", printable(s.Folder+"/"+s.SealedPath))
		}
		if len(r.Unlisted) > 0 {
			fmt.Fprintf(out, "%s: %d files %s: the next backup brings those that the storage still has\n", r.Storage, len(r.Unlisted), took)
		}
		for _, reason := range r.NotTold {
			fmt.Fprintf(out, "%s: the bucket was not told: %s\n", r.Storage, printable(reason))
		}
	}
	for _, l := range v.Lost {
		fmt.Fprintf(out, "%s: %d damaged files that no later backup brings:\n", l.Version, len(l.Files))
		for _, f := range l.Files[:min(len(l.Files), maxShown)] {
			fmt.Fprintf(out, "  %s\n", printable(f))
		}
		if more := len(l.Files) - maxShown; more > 0 {
			fmt.Fprintf(out, "  and %d more\n", more)
		}
	}
}
