package drill

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/chipster/firn/internal/restore"
)

// inServer restores a dump into a database that is made for it.
func (t *trial) inServer(ctx context.Context) error {
	name := databasePrefix + stamp(t.r.started) + "_" + strings.ToLower(rand.Text()[:8])
	to, err := t.r.Server.CreateDatabase(ctx, name)
	if !t.r.Keep || err != nil {
		defer func() {
			if derr := t.r.Server.DropDatabase(ctx, name); derr != nil {
				t.r.Logger.Error("the database of the drill is left: drop it", "database", name, "error", derr)
				t.problem("", fmt.Errorf("drop it by hand: %w", derr))
			}
		}()
	}
	var report *restore.DatabaseReport
	if err == nil && t.r.Keep {
		t.r.report.Kept = append(t.r.report.Kept, "database "+name)
	}
	if err == nil {
		report, err = restore.Database(ctx, restore.DatabaseOptions{
			Catalog: t.r.Catalog, Opener: t.r.Opener, Version: t.of, To: to, Tools: t.r.Tools, Logger: t.r.Logger,
			Progress: func(_ int, n int64) { t.r.Progress(0, n) },
		})
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	t.r.Progress(1, 0)
	if report == nil {
		t.problem("", err)
		return nil
	}
	t.measured(report.Bytes, report.Duration)
	t.Rows, t.RowsCompared = &report.Total, report.Checked
	for _, d := range report.Differences {
		t.problem(d.Schema+"."+d.Table, errors.New(rowsOf(d.Found)+", expected "+rowsOf(d.Expected)))
	}
	if err == nil {
		t.Right = t.Chosen
	}
	return nil
}

func rowsOf(n *int64) string {
	if n == nil {
		return "no table"
	}
	return strconv.FormatInt(*n, 10) + " rows"
}
