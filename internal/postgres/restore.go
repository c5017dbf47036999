package postgres

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"syscall"
)

// RestoreOptions say how a dump is restored.
type RestoreOptions struct {
	Tools  Tools
	Server Version // of Conn.Version
	Clean  bool    // drop what is in the database first, in the same transaction
	// NoTransaction runs each statement by itself, and what fails leaves what was
	// done until then. A transaction locks each large object, and servers have
	// room for some ten thousand locks. Not with Clean.
	NoTransaction bool
	Logger        *slog.Logger
}

// Restore reads a dump of either format into the database, in one transaction,
// which is committed when dump ends with io.EOF and not with another error.
//
// No dump can run a command on this host, where psql is recent enough. Yet its
// SQL is run as the user of the address: a dump that somebody else wrote is
// best restored as a user who may do little.
func (d *Database) Restore(ctx context.Context, dump io.Reader, o RestoreOptions) error {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Clean && o.NoTransaction {
		return errors.New("what is in a database is not dropped without a transaction: restore into an empty one")
	}
	source := &sticky{r: dump}
	sql, err := d.open(ctx, source, o)
	if err == nil {
		err = d.execute(ctx, sql, o)
		_ = sql.Close() // from here on nobody reads source
	}
	if err != nil && source.err != nil && source.err != io.EOF {
		err = source.err // the cause, whatever psql made of it
	}
	if err != nil {
		err = fmt.Errorf("restore to %s: %w", d, err)
		if o.NoTransaction {
			err = fmt.Errorf("%w; what was restored before that is in the database: drop it, and begin anew with an empty one", err)
		}
	}
	return err
}

// archiveMagic is how dumps of the custom format begin.
const archiveMagic = "PGDMP"

// open gives the SQL of a dump.
func (d *Database) open(ctx context.Context, source io.Reader, o RestoreOptions) (io.ReadCloser, error) {
	dump := bufio.NewReaderSize(source, scriptBuffer)
	start, err := dump.Peek(len(archiveMagic))
	switch {
	case len(start) == 0 && err == io.EOF:
		// What a pg_dump that failed at once has left behind. It would empty the
		// database with Clean.
		return nil, fmt.Errorf("the dump is empty: %w", io.ErrUnexpectedEOF)
	case string(start) == archiveMagic:
		return d.openArchive(ctx, dump, o)
	}
	return io.NopCloser(newScript(dump, o.NoTransaction)), nil
}

// archive is the SQL of a dump of the custom format. It ends with io.EOF only
// when pg_restore was content and the dump ended with that.
type archive struct {
	*script
	out  *io.PipeReader
	stop context.CancelFunc
	done chan struct{}
}

func (d *Database) openArchive(ctx context.Context, dump io.Reader, o RestoreOptions) (*archive, error) {
	tool, err := o.Tools.find(ctx, "pg_restore", o.Server)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	out, in := io.Pipe()
	arguments := []string{"--file=-"}
	if tool.version < 120000 {
		arguments = nil // which would write to a file of that name
	}
	p := d.program(ctx, tool, o.Logger, arguments...)
	p.Stdin, p.Stdout = dump, in
	p.WaitDelay = 0 // psql can take hours to read what pg_restore wrote last
	a := &archive{newScript(out, o.NoTransaction), out, stop, make(chan struct{})}
	go func() {
		defer close(a.done)
		err := p.failure(p.Run())
		if err == nil {
			// It does not read on after the last table, but only the end of the
			// dump tells that it was the right one.
			_, err = io.Copy(io.Discard, dump)
		}
		in.CloseWithError(err) // nil is io.EOF
	}()
	return a, nil
}

// Close ends pg_restore.
func (a *archive) Close() error {
	_ = a.out.Close()
	a.stop()
	<-a.done
	return nil
}

// execute has psql read the SQL in a transaction, which is committed when sql
// ends with io.EOF.
func (d *Database) execute(ctx context.Context, sql io.Reader, o RestoreOptions) error {
	tool, err := o.Tools.find(ctx, "psql", o.Server)
	if err != nil {
		return err
	}
	frame := newFrame(tool.version, o)
	p := d.program(ctx, tool, o.Logger, "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--no-password", "--dbname="+d.conninfo(),
		"--set=ON_ERROR_STOP=1", "--file=-")
	said := &messages{}
	p.Stdout = said
	stdin, err := p.StdinPipe()
	if err == nil {
		err = p.Start()
	}
	if err != nil {
		return p.failure(err)
	}
	ferr := feed(stdin, frame, &guard{sql: sql})
	// Without what frame ends with, this rolls back.
	_ = stdin.Close()
	err = p.failure(p.Wait())
	gone := errors.Is(ferr, syscall.EPIPE)
	switch {
	case ferr == nil && strings.HasSuffix(said.String(), frame.proof):
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case ferr != nil && !gone:
		return ferr
	case err != nil:
		return hint(err)
	case gone:
		return errors.New("psql ended before the dump did")
	}
	return fmt.Errorf("the dump ends in the middle of a table or a statement: %w", io.ErrUnexpectedEOF)
}

// feed writes what psql is to read. An error of sql's is returned as it is.
func feed(psql io.Writer, f frame, sql io.Reader) error {
	w := bufio.NewWriterSize(struct{ io.Writer }{psql}, scriptBuffer) // a file would be written line by line
	if _, err := w.WriteString(f.before); err != nil {
		return err
	}
	if _, err := w.ReadFrom(sql); err != nil {
		return err
	}
	if _, err := w.WriteString(f.after); err != nil {
		return err
	}
	return w.Flush()
}

// frame is what psql reads before and after a dump.
type frame struct {
	before, after string
	proof         string // what it writes last when it has committed
}

const beginSession = settings + `;
SET client_min_messages = warning;
`

// beginRestore opens the transaction, and sees to it that no COMMIT of a dump
// can end it, such as one that was cut within the large objects: that would
// violate a constraint which is looked at only then, and fails.
const beginRestore = `
BEGIN;
CREATE TEMPORARY TABLE firn_unfinished (
	x int CONSTRAINT "a dump must not end the transaction" UNIQUE DEFERRABLE INITIALLY DEFERRED) ON COMMIT DROP;
INSERT INTO pg_temp.firn_unfinished VALUES (1), (1);
`

// commitRestore begins with the line feed that the dump may not have ended with.
const commitRestore = `
DELETE FROM pg_temp.firn_unfinished;
COMMIT;
`

// dropAll is in the same transaction, so that a restore that fails leaves what
// was there.
const dropAll = `
DO $firn$
DECLARE
	o record;
BEGIN
	FOR o IN ` + userObjects + ` LOOP
		EXECUTE o.statement;
	END LOOP;
END
$firn$;
`

// newFrame has a random key, which no dump can know. The server is asked for it
// in the end, since psql ends with code 0 too when it took commitRestore for
// rows of a table that the dump did not end.
func newFrame(psql Version, o RestoreOptions) frame {
	key := rand.Text()
	f := frame{before: beginSession + beginRestore, after: commitRestore, proof: key}
	if o.NoTransaction {
		f.before, f.after = beginSession, "\n"
	}
	if o.Clean {
		f.before += dropAll
	}
	f.after += "SELECT '" + key + "';\n"
	if knowsRestrict(psql) {
		f.before = restrict + key + "\n" + f.before
	} else {
		o.Logger.Warn("this psql would run commands on this host that a dump holds: update it", "psql", psql)
	}
	return f
}

// knowsRestrict tells of the releases since CVE-2025-8714.
func knowsRestrict(psql Version) bool {
	first := map[Version]Version{130000: 130022, 140000: 140019, 150000: 150014, 160000: 160010, 170000: 170006}
	since, known := first[psql.first()]
	return known && psql >= since || psql >= 180000
}

// hint says what to do about errors that are not the dump's fault.
func hint(err error) error {
	text := err.Error()
	if strings.Contains(text, `ERROR:  role "`) && strings.Contains(text, `" does not exist`) {
		return fmt.Errorf("%w; create the role first: dumps do not hold roles", err)
	}
	if strings.Contains(text, "must be member of role") || strings.Contains(text, "must be able to SET ROLE") { // until 15, since 16
		return fmt.Errorf("%w, who owns something in the dump: restore as that role, or as a superuser", err)
	}
	if strings.Contains(text, "max_locks_per_transaction") {
		return fmt.Errorf("%w; or restore into an empty database without a transaction", err)
	}
	return err
}
