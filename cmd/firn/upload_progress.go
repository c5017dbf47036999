package main

import (
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// looking shows how many files were found so far, before anybody knows how much
// work they are: a number on a terminal, a line now and then in a log, nothing
// with --quiet. It is safe for concurrent use.
type looking struct {
	log  *slog.Logger
	bars *mpb.Progress // nil: nothing is drawn
	bar  *mpb.Bar

	mu    sync.Mutex
	files int
	said  time.Time
}

func newLooking(c *cli.Context) *looking {
	l := &looking{log: logger(c), said: time.Now()}
	if !drawsBars(c) {
		return l
	}
	l.bars = mpb.New(mpb.WithOutput(os.Stderr), mpb.WithWidth(10))
	logOutput.set(l.bars)
	l.bar = l.bars.AddSpinner(0, mpb.PrependDecorators(decor.Any(func(decor.Statistics) string {
		l.mu.Lock()
		defer l.mu.Unlock()
		return "looking: " + humanize.Comma(int64(l.files)) + " files "
	})))
	return l
}

// Add tells of files that were found.
func (l *looking) Add(files int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files += files
	if l.bars == nil && time.Since(l.said) >= progressInterval {
		l.said = time.Now()
		l.log.Info("looking", "files", l.files)
	}
}

// Done takes the number away. Called again, it does nothing.
func (l *looking) Done() {
	if l.bars == nil {
		return
	}
	l.bar.Abort(true)
	l.bars.Wait()
	l.bars = nil
	logOutput.set(os.Stderr)
}
