package admin

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chipster/firn/internal/runs"
	"github.com/chipster/firn/service"
)

// holdingsView is what is on the disk of this host.
type holdingsView struct {
	Folder   string
	Disk     *diskView
	Catalog  string
	Storages []storageView
	Findings *findingsView
}

// diskView is how full a disk is.
type diskView struct {
	Used        string // for the bar, of 100
	Free, Total string
	Level       string
}

// storageView is what an archive has of one storage or database.
type storageView struct {
	Name   string
	Count  string
	Newest []versionRow
	Older  []versionRow
}

type versionRow struct {
	Name, Files, Size, Sealed, Damaged string
	Time                               *when
}

// versionsShown of each storage are not hidden.
const versionsShown = 5

func holdingsOf(s service.State) *holdingsView {
	d := s.Holdings
	if d == nil {
		return nil
	}
	v := &holdingsView{Folder: visible(d.Folder), Disk: diskOf(d), Storages: storagesOf(d.Versions, s.Now)}
	if d.Catalog > 0 {
		v.Catalog = size(d.Catalog)
	}
	for _, j := range s.Jobs {
		if j.Kind == service.Verify {
			v.Findings = findingsOf(j.LastDone, s.Now)
		}
	}
	return v
}

func diskOf(d *service.Holdings) *diskView {
	if d.DiskTotal <= 0 {
		return nil
	}
	free := float64(d.DiskFree) / float64(d.DiskTotal)
	v := &diskView{Free: size(d.DiskFree), Total: size(d.DiskTotal), Used: number(100 * (1 - free)), Level: "good"}
	switch {
	case free < 0.05:
		v.Level = "bad"
	case free < 0.1:
		v.Level = "warn"
	}
	return v
}

// storagesOf groups versions, newest first.
func storagesOf(versions []service.Version, now time.Time) (list []storageView) {
	at := map[string]int{}
	versions = slices.Clone(versions) // they are the service's
	slices.SortStableFunc(versions, func(a, b service.Version) int {
		return cmp.Or(strings.Compare(a.Storage, b.Storage), b.Time.Compare(a.Time))
	})
	for _, version := range versions {
		i, known := at[version.Storage]
		if !known {
			i = len(list)
			at[version.Storage] = i
			list = append(list, storageView{Name: visible(version.Storage)})
		}
		row := versionRow{
			Name: visible(version.Name), Time: moment(version.Time, now), Files: count(version.Files),
			Size: size(version.Size), Sealed: size(version.Sealed), Damaged: visible(version.Damaged),
		}
		if s := &list[i]; len(s.Newest) < versionsShown {
			s.Newest = append(s.Newest, row)
		} else {
			s.Older = append(s.Older, row)
		}
	}
	for i := range list {
		list[i].Count = counted(int64(len(list[i].Newest)+len(list[i].Older)), "version")
	}
	return list
}

// findingsView is what the last verification found.
type findingsView struct {
	RunID    string
	When     *when
	Badge    badge
	Checked  string
	Kinds    []countRow
	Problems []string
	More     string
}

// problemsShown are on the first page; the run's page has them all.
const problemsShown = 8

func findingsOf(r *runs.Run, now time.Time) *findingsView {
	if r == nil {
		return nil
	}
	v := &findingsView{RunID: r.ID, When: moment(r.Ended, now), Badge: badge{"✓", "nothing was wrong", "good"}}
	v.Checked = counted(r.Files["checked"], "file") + ", " + size(r.Bytes["read"]) + " read"
	if r.Result != runs.Succeeded {
		v.Badge = badge{"✗", "problems were found", "bad"}
	}
	for _, row := range countRows(*r) {
		if row.State != "checked" && row.State != "read" && row.State != "total" && row.Files != "0" {
			v.Kinds = append(v.Kinds, row)
		}
	}
	for i, p := range r.Problems {
		if i == problemsShown {
			v.More = fmt.Sprintf("and %d more", len(r.Problems)-i)
			break
		}
		v.Problems = append(v.Problems, visible(p))
	}
	return v
}
