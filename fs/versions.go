package fs

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/chipster/firn/internal/catalog"
)

const (
	// refreshInterval is how long the list of versions counts as up to date, in
	// the kernel's caches too.
	refreshInterval = time.Second
	// refreshPatience is how long whoever looks waits for the catalog. A new
	// version of millions of files takes longer: it appears when it is read,
	// and does not keep anyone from the others.
	refreshPatience = 2 * time.Second
)

// versionList is the list of versions, brought up to date when it is asked for.
type versionList struct {
	ctx     context.Context // ends with the mount
	catalog *catalog.Catalog
	storage string // list only this one, or ""
	log     *slog.Logger

	mu      sync.Mutex
	all     []catalog.Version
	at      time.Time
	running chan struct{} // closed when the refresh under way has ended
	failed  string        // the last refresh's error
	wg      sync.WaitGroup
}

// load reads the list as the catalog has it.
func (l *versionList) load() error {
	all, err := l.catalog.Versions(l.ctx, l.storage)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all, l.at = all, time.Now()
	return nil
}

// get returns the versions, ordered by storage and time.
func (l *versionList) get(ctx context.Context) []catalog.Version {
	l.mu.Lock()
	if l.running == nil && time.Since(l.at) >= refreshInterval {
		l.running = make(chan struct{})
		l.wg.Go(l.refresh)
	}
	running := l.running
	l.mu.Unlock()
	if running != nil {
		patience := time.NewTimer(refreshPatience)
		defer patience.Stop()
		select {
		case <-running:
		case <-patience.C:
		case <-ctx.Done():
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all
}

func (l *versionList) refresh() {
	_, err := l.catalog.Refresh(l.ctx)
	if err == nil {
		err = l.load()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	text := ""
	if err != nil && l.ctx.Err() == nil {
		text = err.Error()
	}
	if text != "" && text != l.failed {
		l.log.Warn("cannot look for new versions; showing those known", "error", err)
	}
	l.failed, l.at = text, time.Now()
	close(l.running)
	l.running = nil
}

// of returns the versions of one storage.
func (l *versionList) of(ctx context.Context, storage string) []catalog.Version {
	var found []catalog.Version
	for _, v := range l.get(ctx) {
		if v.Name.Storage() == storage {
			found = append(found, v)
		}
	}
	return found
}
