package drill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/catalog"
)

// ErrNoRoom says that the folder to restore into has not enough room.
var ErrNoRoom = errors.New("not enough room to restore into")

// room is how many bytes may be written. A tenth of what is free is left to
// others.
func (r *run) room() (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(r.Scratch, &s); err != nil {
		return 0, &os.PathError{Op: "restore into", Path: r.Scratch, Err: err}
	}
	free := int64(s.Bavail) * s.Bsize
	return free - free/10, nil
}

// onDisk is what a file takes at most, with its name and its folder.
func onDisk(size int64) int64 {
	const block = 4096
	return (size+block-1)/block*block + 2*block
}

// What drills make is named after the time, so that what a killed one left can be
// told from what another is working with.
const (
	folderPrefix   = "firn-drill-"
	databasePrefix = "firn_drill_"
	stampLayout    = "20060102150405"
	leftAfter      = 24 * time.Hour
)

func stamp(t time.Time) string { return t.UTC().Format(stampLayout) }

// isLeftover tells whether a drill made what has this name, more than a day ago.
func isLeftover(name, prefix string, now time.Time) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok || len(rest) < len(stampLayout) {
		return false
	}
	made, err := time.Parse(stampLayout, rest[:len(stampLayout)])
	return err == nil && now.Sub(made) > leftAfter
}

// findLeftovers looks for what drills before this one left. They are not
// removed: their names prove nothing, and somebody may have kept them. To look
// into the server also tells at once when it lets nobody in.
func (r *run) findLeftovers(ctx context.Context, versions []catalog.Version) error {
	entries, err := os.ReadDir(r.Scratch)
	if err != nil {
		return fmt.Errorf("folder to restore into: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() && isLeftover(e.Name(), folderPrefix, r.started) {
			r.report.Leftovers = append(r.report.Leftovers, filepath.Join(r.Scratch, e.Name()))
		}
	}
	if r.Server == nil || !slices.ContainsFunc(versions, func(v catalog.Version) bool { return v.Name.IsDatabase() }) {
		return nil
	}
	names, err := r.Server.DatabaseNames(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if isLeftover(name, databasePrefix, r.started) {
			r.report.Leftovers = append(r.report.Leftovers, "database "+name)
		}
	}
	return nil
}
