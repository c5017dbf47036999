package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
)

// noAnswer are the codes of errors that say that a server does not tell: there is no
// right to ask, no such function, or it is not supported.
var noAnswer = []string{"42501", "42883", "0A000"}

// Installation tells the database from those of all other servers: by the number
// that a server's data had from the beginning, and the name. "" where the server
// does not say; a major upgrade by pg_upgrade, and a restore into another server,
// change it.
func (c *Conn) Installation(ctx context.Context) (string, error) {
	text, err := c.value(ctx, "SELECT system_identifier || ' ' || pg_catalog.current_database() FROM pg_catalog.pg_control_system()")
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && slices.Contains(noAnswer, e.Code) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("ask %s for its number: %w", c.database, err)
	}
	return text, nil
}
