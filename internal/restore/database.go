package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/postgres"
)

var (
	// ErrNotDatabase says that a version is not the dump of a database.
	ErrNotDatabase = errors.New("not the backup of a database")
	// ErrNotEmpty says that there is something in the database to restore into.
	ErrNotEmpty = errors.New("the database is not empty")
)

// DatabaseOptions say which version is restored, and into which database.
// Catalog, Opener, Version and To are required.
type DatabaseOptions struct {
	Catalog *catalog.Catalog
	Opener  *envelope.Opener
	Version catalog.Version
	To      *postgres.Database
	Tools   postgres.Tools
	Clean   bool // drop what is in the database first, in the same transaction
	// NoTransaction runs each statement by itself: for dumps with more large
	// objects than the server has room for locks. Not with Clean.
	NoTransaction bool
	// Progress, where set, is told of bytes of the dump as they are read.
	Progress func(files int, bytes int64)
	Logger   *slog.Logger // nil is slog.Default
}

// DatabaseReport is what was restored.
type DatabaseReport struct {
	Version string `json:"version"`
	File    string `json:"file"` // the dump's path in the version
	To      string `json:"to"`
	Bytes   int64  `json:"bytes"` // of the dump
	postgres.Total
	// Checked tells that the list has the numbers of rows, and that they were
	// compared.
	Checked     bool          `json:"checked"`
	Differences []Difference  `json:"differences"`
	Duration    time.Duration `json:"duration"` // nanoseconds
}

// Difference is a table that has another number of rows than when it was
// dumped. nil: there is no such table.
type Difference struct {
	Schema   string `json:"schema"`
	Table    string `json:"table"`
	Expected *int64 `json:"expected"`
	Found    *int64 `json:"found"`
}

// Database restores the dump of a database in one transaction, which is
// committed only when the dump's bytes have the size and the SHA-512 of the
// list. Then it counts the rows of all tables, and compares with the list.
//
// With ErrIncomplete there is a report: the dump is restored, and the numbers
// differ. With any other error the database is as it was before, unless with
// NoTransaction, or when the rows could not be counted.
func Database(ctx context.Context, o DatabaseOptions) (*DatabaseReport, error) {
	if o.Progress == nil {
		o.Progress = func(int, int64) {}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	report, err := o.run(ctx)
	if err != nil {
		err = fmt.Errorf("restore of %s: %w", o.Version.Name, err)
	}
	return report, err
}

func (o *DatabaseOptions) run(ctx context.Context) (*DatabaseReport, error) {
	start := time.Now()
	dump, err := o.dump(ctx)
	if err != nil {
		return nil, err
	}
	server, err := o.prepare(ctx)
	if err != nil {
		return nil, err
	}
	o.Logger.Info("restoring", "version", o.Version.Name.String(), "to", o.To.String(), "server", server.String(), "bytes", dump.Size)
	if err := o.restore(ctx, dump, server); err != nil {
		return nil, err
	}
	rows, err := o.count(ctx)
	if err != nil {
		return nil, fmt.Errorf("everything is restored, but not counted: %w", err)
	}
	report := &DatabaseReport{
		Version: o.Version.Name.String(), File: manifest.EscapePath(dump.Path), To: o.To.String(), Bytes: dump.Size,
		Differences: []Difference{},
	}
	report.Total = rows.Total()
	if dump.Rows == nil {
		o.Logger.Info("the list has no numbers of rows to compare with", "version", report.Version)
	} else {
		report.Checked = true
		report.Differences = compare(dump.Rows, rows)
	}
	report.Duration = time.Since(start)
	if len(report.Differences) == 0 {
		return report, nil
	}
	var names []string
	for _, d := range report.Differences {
		names = append(names, d.Schema+"."+d.Table)
	}
	return report, fmt.Errorf("%w: other numbers of rows than when they were dumped have, in %s: %s", ErrIncomplete, o.To, someOf(names))
}

// dump finds the one file of the version.
func (o *DatabaseOptions) dump(ctx context.Context) (*manifest.Entry, error) {
	if !o.Version.Name.IsDatabase() {
		return nil, fmt.Errorf("%w, but of files", ErrNotDatabase)
	}
	var found []manifest.Entry
	for e, err := range o.Catalog.Files(ctx, o.Version, "") {
		if err != nil {
			return nil, err
		}
		if found = append(found, e); len(found) > 1 {
			break
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("%w: it has %d files, not one", ErrNotDatabase, o.Version.Files)
	}
	return &found[0], nil
}

// someOf names the first ten.
func someOf(names []string) string {
	const most = 10
	text := strings.Join(names[:min(len(names), most)], ", ")
	if n := len(names); n > most {
		text += fmt.Sprintf(" and %d more", n-most)
	}
	return text
}

// prepare looks at the database.
func (o *DatabaseOptions) prepare(ctx context.Context) (postgres.Version, error) {
	conn, err := o.To.Connect(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if o.Clean {
		return conn.Version(), nil
	}
	objects, err := conn.Objects(ctx)
	if err != nil {
		return 0, err
	}
	if len(objects) > 0 {
		return 0, fmt.Errorf("%w: %s has %s; use an empty one, or --clean to replace all that is in it", ErrNotEmpty, o.To, someOf(objects))
	}
	return conn.Version(), nil
}

func (o *DatabaseOptions) restore(ctx context.Context, dump *manifest.Entry, server postgres.Version) error {
	sealed, of, err := o.Catalog.OpenSealed(ctx, o.Version, dump)
	if err != nil {
		return err
	}
	defer sealed.Close()
	plain, err := o.Opener.Open(sealed, of)
	if err != nil {
		return err
	}
	defer plain.Close()
	return o.To.Restore(ctx, &progressReader{plain, o.Progress}, postgres.RestoreOptions{
		Tools: o.Tools, Server: server, Clean: o.Clean, NoTransaction: o.NoTransaction, Logger: o.Logger,
	})
}

type progressReader struct {
	io.Reader
	progress func(files int, bytes int64)
}

func (p *progressReader) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	p.progress(0, int64(n))
	return n, err
}

// count connects anew: while psql was at work, a connection might have been
// closed for being idle.
func (o *DatabaseOptions) count(ctx context.Context) (postgres.Rows, error) {
	conn, err := o.To.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.CountRows(ctx)
}

// compare returns the tables that differ, by name.
func compare(expected, found postgres.Rows) []Difference {
	differences := []Difference{}
	for schema, tables := range expected {
		for table, n := range tables {
			d := Difference{Schema: schema, Table: table, Expected: &n}
			if m, ok := found[schema][table]; ok {
				d.Found = &m
			}
			if d.Found == nil || *d.Found != n {
				differences = append(differences, d)
			}
		}
	}
	for schema, tables := range found {
		for table, n := range tables {
			if _, ok := expected[schema][table]; !ok {
				differences = append(differences, Difference{Schema: schema, Table: table, Found: &n})
			}
		}
	}
	slices.SortFunc(differences, func(a, b Difference) int {
		return cmp.Or(strings.Compare(a.Schema, b.Schema), strings.Compare(a.Table, b.Table))
	})
	return differences
}
