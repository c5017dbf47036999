package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
)

// removed is how vacuumlo says how many it deleted.
var removed = regexp.MustCompile(`removed (\d+) large objects`)

// RemoveOrphans deletes large objects that no table refers to, with vacuumlo.
func (d *Database) RemoveOrphans(ctx context.Context, tools Tools, server Version, log *slog.Logger) error {
	t, err := tools.find(ctx, "vacuumlo", server)
	if err != nil {
		return err
	}
	p := d.program(ctx, t, log, "--no-password", "--verbose", d.conninfo())
	said := &messages{program: t.name}
	p.Stdout = said
	if err := p.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("remove orphaned large objects of %s: %w", d, p.failure(err))
	}
	if match := removed.FindStringSubmatch(said.String()); match != nil && log != nil {
		n, _ := strconv.Atoi(match[1])
		log.Info("removed orphaned large objects", "database", d.String(), "removed", n)
	}
	return nil
}
