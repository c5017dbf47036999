package archiver

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/extsort"
	"github.com/chipster/firn/internal/manifest"
)

// job archives one backup. Of a line of its list it keeps some bits in memory, and
// of each package how many of its files are not here yet.
type job struct {
	*run
	b        *backup
	dir      string // the version's folder
	download string // where its files arrive, each by the number of its line
	list     *backupList
	open     *folders
	odd      bool   // the list names files below download/
	signed   []byte // the list's signature; nil: there is none
	rerun    bool   // an earlier run made the folder

	folders []backupname.Name // where carried files may lie, in the order to look
	ordinal map[backupname.Name]uint32
	buffers sync.Pool // of *buffers

	mu       sync.Mutex // for what is below
	report   *Backup
	here     bits             // in the version's folder, or about to be
	fetched  bits             // by this run
	troubled bits             // came, or lies, as it should not
	troubles map[int64]string // what is wrong with the first ones of these
	packages map[string]*pkg  // by name, "" for where the list does not say
	taking   map[int64]bool   // lines of which a member of a package is at work
	taken    *sync.Cond       // one of them no longer
	arrived  batch            // what waits to be moved to the version's folder
	vacated  map[uint32]bool  // folders that an earlier run took files from
	aside    *extsort.Sorter  // items of files that are not where the list says
	astray   int64            // how many of these were not found yet

	moving  sync.Mutex // one batch is moved at a time
	notSafe error      // a failed sync, after which no batch is moved any more
}

// pkg is what the list says of a package.
type pkg struct {
	lacking int  // how many of its files are not here yet
	listed  bool // by the bucket
}

func (r *run) newJob(b *backup) *job {
	name := b.name.String()
	began, err := r.disk.isDir(name)
	j := &job{
		run: r, b: b, dir: name, download: downloadDir + "/" + name, report: &Backup{Name: name},
		rerun: began || err != nil, folders: searchOrder(b.name, r.local[b.name.Storage()]), ordinal: map[backupname.Name]uint32{},
		open: newFolders(r.disk), aside: extsort.New(sortMemory),
		troubles: map[int64]string{}, packages: map[string]*pkg{}, taking: map[int64]bool{}, vacated: map[uint32]bool{},
	}
	j.taken = sync.NewCond(&j.mu)
	j.buffers.New = func() any { return newBuffers() }
	for i, n := range j.folders {
		j.ordinal[n] = fromFolder + uint32(i)
	}
	for _, p := range b.packages {
		j.packages[packageName(p.Key)] = &pkg{listed: true}
	}
	return j
}

func (j *job) close() {
	j.open.abandon()
	j.aside.Close()
	if j.list != nil {
		j.list.close()
	}
}

// archive brings one backup into the archive, and its list into the bucket.
func (r *run) archive(ctx context.Context, b *backup) (err error) {
	j := r.newJob(b)
	defer j.close()
	began := time.Now()
	defer func() {
		if err != nil {
			j.report.Error = err.Error()
		}
		j.report.Seconds = time.Since(began).Seconds()
		r.report.Backups = append(r.report.Backups, *j.report)
	}()
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
			return j.disk.distrust(err)
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
	if err := j.index(ctx); err != nil {
		return err
	}
	if err := j.disk.mkdirAll(j.dir); err != nil {
		return err
	}
	j.know(j.b.name) // should this fail half way, the next backup's files may be there
	if err := j.resume(ctx); err != nil {
		return err
	}
	if err := j.fetchPackages(ctx); err != nil {
		return err
	}
	if err := j.carryAll(ctx); err != nil {
		return err
	}
	return j.writeList(ctx)
}

func (j *job) isNew(e *manifest.Entry) bool { return e.Backup == j.b.name }

// whence says where a line says that its file lies.
func (j *job) whence(e *manifest.Entry) uint32 {
	if j.isNew(e) {
		return fromPackage
	}
	if i, ok := j.ordinal[e.Backup]; ok {
		return i
	}
	return fromElsewhere
}

// note counts an entry, and what its package lacks.
func (j *job) note(e *manifest.Entry) {
	j.count(e)
	first, _, _ := strings.Cut(e.SealedPath, "/")
	j.odd = j.odd || first == "download"
	if j.isNew(e) {
		j.pack(e.Package).lacking++
	}
}

func (j *job) count(e *manifest.Entry) {
	j.report.Files++
	if j.isNew(e) {
		j.report.New++
	} else {
		j.report.Carried++
	}
}

// maxUnlisted is how many packages of which the bucket knows nothing are told
// apart: a list can name any number.
const maxUnlisted = 10_000

// pack finds a package by its name. What cannot be one's name, and what is too
// much, counts as not said.
func (j *job) pack(name string) *pkg {
	p := j.packages[name]
	if p == nil {
		if len(name) > 255 || strings.Contains(name, "/") || len(j.packages) > len(j.b.packages)+maxUnlisted {
			name = ""
		}
		if p = j.packages[name]; p == nil {
			p = &pkg{}
			j.packages[strings.Clone(name)] = p // a part of a line keeps all of it in memory
		}
	}
	return p
}

// maxTroubles is of how many files it is kept what is wrong with them.
const maxTroubles = 10 * maxProblems

// trouble notes why a file cannot be had. With j.mu held.
func (j *job) trouble(number int64, what string) {
	j.here.clear(number)
	j.troubled.set(number)
	if len(j.troubles) < maxTroubles {
		j.troubles[number] = shortened(what)
	}
}

// blame reports a file that is not here, by the path that people know it by.
func (j *job) blame(number int64, e *manifest.Entry) {
	path := e.Path
	if j.isNew(e) {
		path = e.SealedPath
	}
	what, known := j.troubles[number]
	switch {
	case known:
		j.report.Damaged.add(path + ": " + what)
	case j.troubled.has(number):
		j.report.Damaged.add(path)
	default:
		j.report.Missing.add(path)
	}
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
	copied, err := extsort.TempFile()
	if err != nil {
		return err
	}
	if err := j.copyList(ctx, copied); err != nil {
		return err
	}
	for _, p := range j.b.packages {
		j.report.Fetched += p.Size
	}
	if err := j.index(ctx); err != nil {
		return err
	}
	if err := j.carryAll(ctx); err != nil {
		return err
	}
	number := int64(-1)
	return each(j.list.key, j.list.reader(), func(e *manifest.Entry) error {
		if number++; !j.isNew(e) && !j.here.has(number) {
			j.blame(number, e)
		}
		return ctx.Err()
	})
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

// problem adds one to those of the report.
func (j *job) problem(p *Problems, format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	p.add(fmt.Sprintf(format, args...))
}

// versionOf is the folder that a item's from stands for.
func (j *job) versionOf(from uint32) (backupname.Name, bool) {
	if i := int(from) - fromFolder; i >= 0 {
		return j.folders[i], true
	}
	return backupname.Name{}, false
}

// searchOrder says where the files that a backup carries over may lie: in
// older folders, the newest first, and, where the backup is archived late, in
// newer ones.
func searchOrder(name backupname.Name, folders []backupname.Name) []backupname.Name {
	var older, newer []backupname.Name
	for _, f := range folders {
		switch c := backupname.Compare(f, name); {
		case c < 0:
			older = append(older, f)
		case c > 0:
			newer = append(newer, f)
		}
	}
	slices.Reverse(older)
	return append(older, newer...)
}
