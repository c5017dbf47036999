package archiver

import (
	"context"
	"path"
	"strings"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
)

// job archives one backup. Of a list it keeps the new files in memory, and of
// each other line two hashes.
type job struct {
	*run
	b        *backup
	dir      string // the version's folder
	download string // where its files arrive
	report   *Backup
	files    map[string]*file // the new ones, by sealed path
	lacking  map[string]int   // how many of them are not here yet, by package
	buffer   []byte
	made     map[string]bool // folders that are known to exist
	odd      bool            // the list names files below download/
	signed   []byte          // the list's signature; nil: there is none
	rerun    bool            // an earlier run made the folder

	folders []backupname.Name           // where carried files may lie, in the order to look
	listed  map[backupname.Name]lineSet // what the lists there say, as far as asked
	touched map[string]bool             // folders in which something changed
	emptied map[string]string           // folders that may be empty now, and the version they are of
}

// file is a new file.
type file struct {
	path    string
	size    int64
	hash    manifest.Hash
	pkg     string // the package it is in, "" where the list does not say
	have    bool   // verified, and in the version's folder or about to be
	fetched bool   // by this run
	problem string // why the copy that came was not kept
}

// archive brings one backup into the archive, and its list into the bucket.
func (r *run) archive(ctx context.Context, b *backup) (err error) {
	name := b.name.String()
	j := &job{
		run: r, b: b, dir: name, download: downloadDir + "/" + name, report: &Backup{Name: name},
		files: map[string]*file{}, lacking: map[string]int{}, made: map[string]bool{},
		listed: map[backupname.Name]lineSet{}, touched: map[string]bool{}, emptied: map[string]string{},
	}
	began := time.Now()
	defer func() {
		if err != nil {
			j.report.Error = err.Error()
		}
		j.report.Seconds = time.Since(began).Seconds()
		r.report.Backups = append(r.report.Backups, *j.report)
	}()
	j.rerun = r.disk.isDir(name)
	j.folders = searchOrder(b.name, r.local[b.name.Storage()])
	if r.DryRun {
		return j.preview(ctx)
	}
	if err := j.complete(ctx); err != nil {
		return err
	}
	j.log()
	return nil
}

// complete does what is left to do of an archiving that may have begun in an
// earlier run.
func (j *job) complete(ctx context.Context) error {
	if err := j.checkOrder(j.b.name); err != nil {
		return err
	}
	list, err := j.disk.listOf(j.b.name)
	if err != nil {
		return err
	}
	if list == "" {
		if err := j.bring(ctx); err != nil {
			return err
		}
		list = j.dir + "/" + manifest.ArchiveInfo
	} else if err := j.compare(ctx, list); err != nil {
		return err
	} else if err := j.disk.fsync(j.dir); err != nil { // what renamed it may have been killed before it did
		return err
	}
	return j.publish(ctx, list)
}

// bring fills the version's folder; its list, which makes it a version, comes
// last.
func (j *job) bring(ctx context.Context) error {
	if err := j.fetchList(ctx); err != nil {
		return err
	}
	if err := j.authenticate(ctx); err != nil {
		return err
	}
	if err := j.eachFetched(j.unique(j.note)); err != nil {
		return err
	}
	if err := j.mkdir(j.dir); err != nil {
		return err
	}
	j.know(j.b.name) // should this fail half way, the next backup's files may be there
	if err := j.resume(ctx); err != nil {
		return err
	}
	if err := j.fetchPackages(ctx); err != nil {
		return err
	}
	return j.writeList(ctx)
}

func (j *job) isNew(e *manifest.Entry) bool { return e.Backup == j.b.name }

// note counts an entry, and remembers a new file.
func (j *job) note(e *manifest.Entry) error {
	j.count(e)
	first, _, _ := strings.Cut(e.SealedPath, "/")
	j.odd = j.odd || first == "download"
	if j.isNew(e) {
		// Cloned, because a part of a line keeps all of the line in memory.
		path := strings.Clone(e.SealedPath)
		j.files[path] = &file{path: path, size: e.SealedSize, hash: e.SealedSHA512, pkg: strings.Clone(e.Package)}
		j.lacking[e.Package]++
	}
	return nil
}

func (j *job) count(e *manifest.Entry) {
	j.report.Files++
	if j.isNew(e) {
		j.report.New++
	} else {
		j.report.Carried++
	}
}

// mkdir makes a folder once.
func (j *job) mkdir(dir string) error {
	if j.made[dir] {
		return nil
	}
	if err := j.disk.mkdirAll(dir); err != nil {
		return err
	}
	j.made[dir] = true
	return nil
}

// move renames a file into the version's folder.
func (j *job) move(from, sealedPath string) error {
	to := j.dir + "/" + sealedPath
	if err := j.mkdir(path.Dir(to)); err != nil {
		return err
	}
	if err := j.disk.rename(from, to); err != nil {
		return err
	}
	for dir := path.Dir(to); dir != "." && !j.touched[dir]; dir = path.Dir(dir) {
		j.touched[dir] = true
	}
	return nil
}

// preview reports what would be done.
func (j *job) preview(ctx context.Context) error {
	list, err := j.disk.listOf(j.b.name)
	if err != nil {
		return err
	}
	if list != "" {
		return j.compare(ctx, list)
	}
	body, err := j.Store.Get(ctx, j.b.backupInfo.Key, 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	for _, p := range j.b.packages {
		j.report.Fetched += p.Size
	}
	return j.each(body, j.unique(func(e *manifest.Entry) error {
		j.count(e)
		if j.isNew(e) {
			return nil
		}
		place, err := j.find(ctx, e)
		if err == nil && !place.found {
			j.report.Missing.add(e.Path)
		}
		return err
	}))
}

func (j *job) log() {
	b := j.report
	j.Logger.Info("backup archived", "backup", b.Name, "files", b.Files, "new", b.New, "carried", b.Carried, "fetched", b.Fetched)
	for what, p := range map[string]Problems{"missing": b.Missing, "damaged": b.Damaged, "unexpected": b.Unexpected} {
		if p.Count > 0 {
			j.Logger.Error("backup incomplete", "backup", b.Name, "problem", what, "count", p.Count, "first", p.First)
		}
	}
}
