package fs

import (
	"path"
	"runtime"
	"strings"
	"sync"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
)

// keysAhead gets session keys before they are needed. Each file that gpg sealed
// has its own, which costs a public-key operation of some milliseconds: more
// than all else that there is to do for a small file. While the files of a folder
// are opened one after the other, those of the next ones are got on all
// processors.
type keysAhead struct {
	count int           // names to look ahead
	slots chan struct{} // held by those who get a key

	mu      sync.Mutex
	folders map[string]*folderKeys
}

// folderKeys is how far a folder's files were opened, and looked ahead for.
type folderKeys struct {
	last    string // the name that was opened last
	row     int    // how many were opened in order
	to      string // the last name whose key was looked for
	left    int    // how many of the names up to it were not opened yet
	looking bool
}

const (
	// inRow files of a folder have to be opened in order before the next ones'
	// keys are looked for.
	inRow = 3
	// maxFolders bounds the memory that is taken by what is known of folders.
	maxFolders = 1000
	// maxKeyAhead is how large files may be. With larger ones a key's time does
	// not matter.
	maxKeyAhead = 4 << 20
)

func newKeysAhead() keysAhead {
	procs := runtime.GOMAXPROCS(0)
	return keysAhead{count: 4 * procs, slots: make(chan struct{}, procs), folders: map[string]*folderKeys{}}
}

// hasOwnKey tells that the session key of a small file is likely to be its
// alone: those of one package of firn's share theirs.
func hasOwnKey(e *manifest.Entry) bool {
	return envelope.IsEncrypted(e.SealedPath) && e.Package == "" && e.Size <= maxKeyAhead
}

// opened notes that a file is about to be opened, and has the keys of the next
// ones got. Who needs a key that is being got waits for it.
func (k *keysAhead) opened(t *tree, v catalog.Version, e *manifest.Entry) {
	if !hasOwnKey(e) {
		return
	}
	dir, name := path.Split(e.Path)
	k.mu.Lock()
	defer k.mu.Unlock()
	if f := k.note(v.Name.String()+"/"+dir, name); f != nil {
		t.wg.Go(func() { k.look(t, v, strings.TrimSuffix(dir, "/"), f) })
	}
}

// note returns the folder if it is time to look ahead.
func (k *keysAhead) note(folder, name string) *folderKeys {
	f := k.folders[folder]
	if f == nil {
		if len(k.folders) >= maxFolders {
			clear(k.folders)
		}
		f = &folderKeys{}
		k.folders[folder] = f
	}
	switch {
	case name == f.last:
		return nil
	case name > f.last && f.last != "":
		f.row++
	default:
		f.row, f.to, f.left = 1, "", 0
	}
	f.last = name
	f.left--
	if name >= f.to {
		f.to, f.left = name, 0
	}
	if f.row < inRow || f.looking || f.left > k.count/2 {
		return nil
	}
	f.looking = true
	return f
}

// look gets the keys of the files that follow in a folder, in their order.
func (k *keysAhead) look(t *tree, v catalog.Version, dir string, f *folderKeys) {
	k.mu.Lock()
	from, count := f.to, k.count-f.left
	k.mu.Unlock()
	// Where the folder cannot be read, who opens its files will hear of it.
	nodes, _ := t.catalog.Following(t.ctx, v, dir, from, count)
	for _, n := range nodes {
		select {
		case k.slots <- struct{}{}:
			if !k.begin(t, v, f, n) {
				<-k.slots
			}
		case <-t.ctx.Done():
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	f.looking = false
}

// begin begins to get the key of a file, unless the file is open by now, or has
// none of its own.
func (k *keysAhead) begin(t *tree, v catalog.Version, f *folderKeys, n catalog.Node) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if n.Name <= f.last {
		return false
	}
	f.to = max(f.to, n.Name)
	if n.Dir || !hasOwnKey(&n.Entry) {
		return false
	}
	f.left++
	t.wg.Go(func() {
		defer func() { <-k.slots }()
		k.get(t, v, &n.Entry)
	})
	return true
}

// get gets the key of one file. What fails, who opens the file will hear of.
func (k *keysAhead) get(t *tree, v catalog.Version, e *manifest.Entry) {
	sealed, of, err := t.catalog.OpenSealed(t.ctx, v, e)
	if err != nil {
		return
	}
	defer sealed.Close()
	if !hasOwnKey(of) {
		return
	}
	if t.opener.Prepare(countReads{sealed, &t.stats.sealedBytesRead}, true) == nil {
		t.stats.keysAhead.Add(1)
	}
}
