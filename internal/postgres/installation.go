package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// Installation tells the database from those of all other servers: by the number
// that a server's data had from the beginning, and the name. "" where the server
// does not say; a major upgrade by pg_upgrade, and a restore into another server,
// change it.
func (c *Conn) Installation(ctx context.Context) (string, error) {
	text, err := c.value(ctx, "SELECT system_identifier || ' ' || pg_catalog.current_database() FROM pg_catalog.pg_control_system()")
	if _, ok := errors.AsType[*pgconn.PgError](err); ok {
		return "", nil // no right to ask, or a server that has no such function
	}
	if err != nil {
		return "", fmt.Errorf("ask %s for its number: %w", c.database, err)
	}
	return text, nil
}
