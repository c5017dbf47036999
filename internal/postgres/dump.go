package postgres

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
)

// Format is the form of a dump.
type Format string

const (
	Plain  Format = "plain"  // SQL, for psql
	Custom Format = "custom" // pg_dump's own, for pg_restore; not compressed
)

// DumpOptions says what Dump writes.
type DumpOptions struct {
	Tools    Tools
	Server   Version // of Conn.Version
	Snapshot string  // of Conn.Snapshot, whose Conn must stay open; "": as the database is now
	Format   Format  // "": Plain
	Clean    bool    // begin with DROP … IF EXISTS; Plain only
	Logger   *slog.Logger
}

// Dump writes a dump of the database. The dump is whole if and only if the error
// is nil; w may have got a part otherwise. An error of w is returned as it is.
func (d *Database) Dump(ctx context.Context, w io.Writer, o DumpOptions) error {
	arguments, err := o.arguments()
	if err != nil {
		return err
	}
	t, err := o.Tools.find(ctx, "pg_dump", o.Server)
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	p := d.program(running, t, o.Logger, append(arguments, "--dbname="+d.conninfo())...)
	out := &output{w: w, stop: stop}
	p.Stdout = out
	err = p.Run()
	switch {
	case out.err != nil: // pg_dump's own failure is a consequence
		return out.err
	case ctx.Err() != nil:
		return fmt.Errorf("dump of %s: %w", d, context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("dump of %s: %w", d, p.failure(err))
	case !out.complete(o.Format):
		// A wrapper of pg_dump may not pass on how that ended.
		return fmt.Errorf("dump of %s: %s ended well, and yet the dump has no end", d, t.path)
	}
	return nil
}

func (o DumpOptions) arguments() ([]string, error) {
	arguments := []string{"--no-password"}
	switch o.Format {
	case "", Plain:
		arguments = append(arguments, "--format=plain")
		if o.Clean {
			arguments = append(arguments, "--clean", "--if-exists")
		}
	case Custom:
		arguments = append(arguments, "--format=custom", "--compress=0")
	default:
		return nil, fmt.Errorf("there is no format %q of a dump: choose plain or custom", o.Format)
	}
	if o.Snapshot != "" {
		arguments = append(arguments, "--snapshot="+o.Snapshot)
	}
	return arguments, nil
}

// output keeps the error of a writer, and stops who writes into it, who may be
// waiting for something else than to write.
type output struct {
	w    io.Writer
	stop func()
	err  error
	tail []byte // the last bytes, maxTail at most
}

const (
	// endOfDump is near the end of each plain dump: what follows is no longer
	// than maxTail.
	endOfDump = "\n-- PostgreSQL database dump complete\n"
	maxTail   = 512
)

// complete tells whether the dump looks whole. The custom format has no mark at
// its end.
func (o *output) complete(format Format) bool {
	return len(o.tail) > 0 && (format == Custom || bytes.Contains(o.tail, []byte(endOfDump)))
}

func (o *output) Write(p []byte) (int, error) {
	o.tail = append(o.tail, p[max(0, len(p)-maxTail):]...)
	o.tail = o.tail[max(0, len(o.tail)-maxTail):]
	n, err := o.w.Write(p)
	if err != nil {
		o.err = err
		o.stop()
	}
	return n, err
}
