package catalog

import (
	"context"
	"errors"
	"path"
	"strings"

	"github.com/chipster/firn/internal/extsort"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/signature"
)

// damage says why the list of a version is of no use.
type damage struct {
	err   error
	retry bool // the list may be fine, and the disk or the network not
}

func (d *damage) untrusted() bool { return errors.Is(d.err, signature.ErrUntrusted) }

func (d *damage) Error() string { return d.err.Error() }
func (d *damage) Unwrap() error { return d.err }

// progressLines is how many lines are read, or rows written, between two looks
// whether to go on.
const progressLines = 1000

// load reads the list of a version into a sorter. Its error is a *damage where
// the list is at fault. The stamp is that of the file that was read.
func (c *Catalog) load(ctx context.Context, s stamp, into *extsort.Sorter, p *Progress) (Version, stamp, error) {
	v := Version{Name: s.name}
	file, s, err := openList(c.root, s)
	if err != nil {
		return v, s, &damage{err, true}
	}
	defer file.Close()
	// A folder is kept by its whole path. Lists that people make take a tenth.
	l := &loader{sorter: into, seen: map[string]bool{}, room: 64<<20 + 20*s.size}
	for e, err := range c.entries(p.read(s, file), s.name) {
		if err != nil {
			for _, final := range []error{manifest.ErrInvalid, manifest.ErrTruncated, signature.ErrUntrusted} {
				if errors.Is(err, final) {
					return v, s, &damage{err: err}
				}
			}
			return v, s, &damage{err, true}
		}
		if err := l.addFile(&e); err != nil {
			return v, s, err
		}
		v.Files, v.Size, v.SealedSize = v.Files+1, v.Size+e.Size, v.SealedSize+e.SealedSize
		if v.Files%progressLines == 0 {
			if err := ctx.Err(); err != nil {
				return v, s, err
			}
			p.Lines = v.Files
			c.progress(*p)
		}
	}
	return v, s, nil
}

// loader makes records of lines.
type loader struct {
	sorter *extsort.Sorter
	record []byte // of which the memory is used again

	seen  map[string]bool // folders of which there is a record
	bytes int             // that seen takes
	room  int64           // for the paths of folders
}

// maxSeen bounds what the paths of folders take in memory. A folder that was
// forgotten has one more record.
const maxSeen = 8 << 20

func (l *loader) addFile(e *manifest.Entry) error {
	dir, name := path.Split(e.Path)
	dir = strings.TrimSuffix(dir, "/")
	if err := l.addFolder(dir); err != nil {
		return err
	}
	f := fileRecord{e.Size, e.SealedSize, e.SHA512[:], e.SealedSHA512[:], []byte(e.SealedPath), []byte(e.ExtraColumns())}
	l.record = f.append(appendRecord(l.record[:0], dir, name, isFile))
	return l.sorter.Add(l.record)
}

// addFolder adds a folder and all above it.
func (l *loader) addFolder(dir string) error {
	for dir != "" && !l.seen[dir] {
		if l.room -= int64(len(dir)); l.room < 0 {
			return &damage{err: errors.New("its folders lie so deep in one another that their paths are far longer than the list")}
		}
		if l.bytes += len(dir) + 64; l.bytes > maxSeen { // 64 are those of the map
			clear(l.seen)
			l.bytes = 0
		}
		l.seen[strings.Clone(dir)] = true // dir is a part of a whole line
		parent, name := path.Split(dir)
		dir = strings.TrimSuffix(parent, "/")
		l.record = appendRecord(l.record[:0], dir, name, isFolder)
		if err := l.sorter.Add(l.record); err != nil {
			return err
		}
	}
	return nil
}
