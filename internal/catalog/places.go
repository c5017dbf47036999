package catalog

import (
	"context"
	"crypto/sha512"
	"os"
	"sync"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
)

// patience is how long to wait before each further search, for an archiver that
// was faster than the last one.
var patience = []time.Duration{10 * time.Millisecond, 50 * time.Millisecond, 250 * time.Millisecond}

// vainFor is for how long nobody waits after a search that waited in vain: who
// copies a folder of which a thousand files are lost would wait for minutes. The
// searches themselves are as many.
const vainFor = 10 * time.Second

// maxPlaces bounds the memory that places take to a few megabytes.
const maxPlaces = 1 << 14

// place is where a file was found that was not where the catalog says.
type place struct {
	folder backupname.Name
	info   os.FileInfo
}

type placeKey [sha512.Size256]byte

func keyOf(v Version, e *manifest.Entry) placeKey {
	return sha512.Sum512_256([]byte(v.Name.Storage() + "/" + e.SealedPath + "\x00" + string(e.SealedSHA512[:])))
}

// places remembers what had to be searched for.
type places struct {
	mu       sync.Mutex
	m        map[placeKey]place
	told     map[placeKey]bool // of which the log says that another sealed file took their place
	lastVain time.Time
}

func (p *places) get(k placeKey) (place, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	found, ok := p.m[k]
	return found, ok
}

func (p *places) put(k placeKey, at place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.m == nil || len(p.m) >= maxPlaces {
		p.m = map[placeKey]place{}
	}
	p.m[k] = at
}

// tell is true once a file, more or less.
func (p *places) tell(k placeKey) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.told[k] {
		return false
	}
	if p.told == nil || len(p.told) >= maxPlaces {
		p.told = map[placeKey]bool{}
	}
	p.told[k] = true
	return true
}

// vain notes that a file was searched for in vain.
func (p *places) vain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastVain = time.Now()
}

// wait waits before another search.
func (p *places) wait(ctx context.Context, d time.Duration) error {
	p.mu.Lock()
	since := time.Since(p.lastVain)
	p.mu.Unlock()
	if since < vainFor {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
