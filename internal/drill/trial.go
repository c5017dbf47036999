package drill

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/postgres"
	"github.com/chipster/firn/internal/restore"
)

// trial is the try to restore a version, or some of its files.
type trial struct {
	Trial
	r       *run
	of      catalog.Version
	entries []manifest.Entry
}

func newTrial(r *run, v catalog.Version) *trial {
	t := &trial{r: r, of: v, Trial: Trial{
		Storage: v.Name.Storage(), Version: v.Name.String(), AgeSeconds: int64(r.started.Sub(v.Name.Time()).Seconds()),
		Database: v.Name.IsDatabase(), Listed: restore.Tally{Files: v.Files, Bytes: v.Size},
	}}
	t.Server = t.Database && r.Server != nil
	return t
}

// choose chooses files for which there is room. What is wrong with the list of
// the version is found here.
func (t *trial) choose(ctx context.Context, room int64) error {
	if err := t.of.Readable(); err != nil {
		t.problem("", err)
		return nil
	}
	s := sample{most: room, size: t.r.Files}
	switch {
	case t.Server:
		s.most = math.MaxInt64
	case !t.Database && t.r.MaxBytes > 0:
		s.most = min(room, t.r.MaxBytes)
	}
	for e, err := range t.r.Catalog.Files(ctx, t.of, "") {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil { // such as that it was removed since
			t.problem("", err)
			return nil
		}
		s.add(e)
	}
	if t.Database && s.seen != 1 {
		t.problem("", fmt.Errorf("%w: it has %d files, not one", restore.ErrNotDatabase, s.seen))
		return nil
	}
	chosen, leftOut := s.fit()
	if s.seen > 0 && len(chosen) == 0 || t.Database && len(leftOut) > 0 {
		return t.noRoom(&s)
	}
	t.entries, t.Chosen, t.LeftOut = chosen, tally(chosen), tally(leftOut)
	return nil
}

func tally(entries []manifest.Entry) (t restore.Tally) {
	for _, e := range entries {
		t.Files++
		t.Bytes += e.Size
	}
	return t
}

func (t *trial) noRoom(s *sample) error {
	what, where, do := "the smallest file", t.r.Scratch, "choose a folder with more room"
	switch {
	case t.Database:
		what, do = "the dump", do+", or restore it in a server"
	case s.most == t.r.MaxBytes:
		where, do = "the sample", "allow more"
	}
	return fmt.Errorf("%w: %s of %s has %d bytes, %s has room for %d: %s", ErrNoRoom, what, t.Version, s.smallest.Size, where, max(s.most, 0), do)
}

// need is the room that the chosen files take.
func (t *trial) need() (n int64) {
	for _, e := range t.entries {
		if !t.Server {
			n += onDisk(e.Size)
		}
	}
	return n
}

// work is how many bytes are restored and read again.
func (t *trial) work() int64 {
	if t.Server {
		return t.Chosen.Bytes
	}
	return 2 * t.Chosen.Bytes
}

// try restores what was chosen. An error is one that ends the drill.
func (t *trial) try(ctx context.Context) error {
	switch {
	case len(t.entries) == 0:
		return nil
	case t.Server:
		return t.inServer(ctx)
	}
	to := filepath.Join(t.r.folder, t.Version)
	err := t.inFolder(ctx, to)
	if err == nil && t.Database && t.Problems.Count == 0 {
		err = t.lookInto(ctx, filepath.Join(to, t.entries[0].Path))
	}
	if t.r.Keep {
		return err
	}
	// The next version may need the room.
	return errors.Join(err, os.RemoveAll(to))
}

func (t *trial) inFolder(ctx context.Context, to string) error {
	start := time.Now()
	report, err := restore.Run(ctx, restore.Options{
		Catalog: t.r.Catalog, Opener: t.r.Opener, Version: t.of, To: to, Entries: t.entries, Logger: t.r.Logger,
		Progress: func(_ int, n int64) { t.r.Progress(0, n) },
	})
	if report != nil {
		t.measured(report.Restored.Bytes, time.Since(start))
		t.absorb(report)
	}
	switch {
	case err == nil, errors.Is(err, restore.ErrIncomplete):
		return t.compare(ctx, to)
	case endsAll(ctx, err):
		return err
	case t.Problems.Count == 0: // else it is what they are
		t.problem("", err)
	}
	return nil
}

// endsAll tells of errors after which nothing else can be restored either.
func endsAll(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EROFS)
}

// absorb takes over what package restore found to be wrong.
func (t *trial) absorb(r *restore.Report) {
	for _, p := range []restore.Problems{r.Conflicts, r.Damaged, r.Missing, r.Locked, r.Failed} {
		t.Problems.Count += p.Count
		t.Problems.First = append(t.Problems.First, p.First...)
	}
	t.Problems.First = t.Problems.First[:min(len(t.Problems.First), maxListed)]
	t.locked += r.Locked.Count
}

// measured tells of the speed, and how long the whole version would take.
func (t *trial) measured(bytes int64, took time.Duration) {
	t.Seconds = took.Seconds()
	if bytes > 0 && t.Seconds > 0 {
		t.BytesPerSecond = float64(bytes) / t.Seconds
		t.WholeSeconds = float64(t.of.Size) / t.BytesPerSecond
	}
}

// lookInto looks whether the dump that was restored as a file is one.
func (t *trial) lookInto(ctx context.Context, dump string) error {
	format, err := t.r.Tools.CheckDump(ctx, dump)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, postgres.ErrTool):
		t.r.Logger.Warn("the dump is as it was backed up, but nothing can look into it", "version", t.Version, "error", err)
	case err != nil:
		t.Format, t.Right = string(format), restore.Tally{}
		t.problem(t.entries[0].Path, err)
	default:
		t.Format = string(format)
	}
	return nil
}
