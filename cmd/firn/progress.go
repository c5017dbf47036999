package main

import (
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/urfave/cli/v2"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/chipster/firn/internal/runs"
)

// logOutput is standard error, or the place above the bar while there is one.
var logOutput = &switchWriter{w: os.Stderr}

type switchWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *switchWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

func (s *switchWriter) set(w io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w = w
}

// progressInterval is how often a log tells of long work.
const progressInterval = 30 * time.Second

// progress shows how far long work is: a bar on a terminal, a line now and
// then in a log, nothing with --quiet. It is safe for concurrent use.
type progress struct {
	total int64
	run   *runs.Active // told too; may be nil
	log   *slog.Logger
	bars  *mpb.Progress
	bar   *mpb.Bar

	mu    sync.Mutex
	what  string
	files int
	bytes int64
	said  time.Time
}

// unknownSize is the total of work that nobody can tell before it is done.
const unknownSize = runs.Unknown

// drawsBars tells that somebody looks at a terminal. A service draws none.
func drawsBars(c *cli.Context) bool {
	return !c.Bool("quiet") && isTerminal(os.Stderr) && c.String("log-format") != "json" && c.Command.Name != serveName
}

// newProgress begins to show work on so many bytes.
func newProgress(c *cli.Context, what string, totalBytes int64) *progress {
	p := &progress{what: what, total: totalBytes, log: logger(c), said: time.Now()}
	if !drawsBars(c) {
		return p
	}
	p.bars = mpb.New(mpb.WithOutput(os.Stderr), mpb.WithWidth(60))
	logOutput.set(p.bars)
	name := decor.Any(func(decor.Statistics) string { return p.name() + " " })
	speed := decor.AverageSpeed(decor.SizeB1024(0), "% .1f")
	if totalBytes == unknownSize {
		p.bar = p.bars.AddSpinner(0, mpb.PrependDecorators(name, decor.CurrentKibiByte("% .1f ")), mpb.AppendDecorators(speed))
		return p
	}
	p.bar = p.bars.AddBar(max(totalBytes, 1),
		mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(name, decor.CountersKibiByte("% .1f / % .1f")),
		mpb.AppendDecorators(decor.Percentage(), decor.Name(" "), speed, decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO)))
	return p
}

// ofRun has the run's record tell how far the work is, too.
func (p *progress) ofRun(run *runs.Active, files int) *progress {
	p.run = run
	run.Plan(int64(files), p.total)
	return p
}

func (p *progress) name() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.what
}

// Rename says what the work is by now.
func (p *progress) Rename(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what = what
}

// Add tells of work done.
func (p *progress) Add(files int, bytes int64) {
	if p.run != nil {
		p.run.Add(int64(files), bytes)
	}
	if p.bar != nil {
		p.bar.IncrInt64(bytes)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files += files
	p.bytes += bytes
	if time.Since(p.said) < progressInterval {
		return
	}
	p.said = time.Now()
	if p.total == unknownSize {
		p.log.Info(p.what, "bytes", p.bytes)
		return
	}
	percent := 100 * float64(p.bytes) / float64(max(p.total, 1))
	p.log.Info(p.what, "files", p.files, "bytes", p.bytes, "of", p.total, "percent", int(percent))
}

// Done takes the bar away.
func (p *progress) Done() {
	if p.bar == nil {
		return
	}
	p.bar.Abort(true)
	p.bars.Wait()
	logOutput.set(os.Stderr)
}
