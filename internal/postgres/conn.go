package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Conn is a connection to a database. It must not be used concurrently.
type Conn struct {
	conn     *pgconn.PgConn
	database string
	user     string
	version  Version
}

// settings are those of a session that lasts for hours and sees all rows.
// row_security=off makes what a policy would hide an error.
const settings = `
SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings
WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout');
SELECT pg_catalog.set_config('row_security', 'off', false);
-- A database of encoding SQL_ASCII may hold names that are no UTF-8.
SELECT pg_catalog.set_config('client_encoding',
	CASE pg_catalog.getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END, false)`

const wrongPassword = "28P01" // what the server answers to none, too

// Connect opens a connection. It gives up on a host after connect_timeout
// seconds, 30 where the address does not say.
func (d *Database) Connect(ctx context.Context) (*Conn, error) {
	config, err := pgconn.ParseConfig(d.conninfo())
	if err != nil {
		return nil, d.connectError(err)
	}
	if d.password != "" {
		config.Password = d.password
	}
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		e := d.connectError(err)
		if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == wrongPassword && config.Password == "" {
			e.text += "; no password was given, in PGPASSWORD or the password file either"
		}
		return nil, e
	}
	c := &Conn{conn: conn, database: d.String(), user: config.User}
	version := int64(0)
	if _, err = c.query(ctx, settings); err == nil {
		version, err = c.number(ctx, "SELECT pg_catalog.current_setting('server_version_num')")
	}
	c.version = Version(version)
	if err != nil {
		_ = c.Close()
		return nil, d.connectError(err)
	}
	return c, nil
}

// connectError is the error in one line: pgx's own repeats itself over several.
type connectError struct {
	text string
	err  error
}

func (e *connectError) Error() string        { return e.text }
func (e *connectError) Unwrap() error        { return e.err }
func (e *connectError) Is(target error) bool { return target == ErrDenied && isDenied(e.err) }

func (d *Database) connectError(err error) *connectError {
	return &connectError{"connect to " + d.String() + ": " + strings.Join(reasons(err), "; "), err}
}

// isDenied tells whether the server refused the user: with the class of errors
// "invalid authorization", or "insufficient privilege".
func isDenied(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (strings.HasPrefix(pg.Code, "28") || pg.Code == "42501")
}

// reasons are what went wrong with each host, each reason once.
func reasons(err error) []string {
	if parse, ok := errors.AsType[*pgconn.ParseConfigError](err); ok && parse.Unwrap() != nil {
		return []string{parse.Unwrap().Error()}
	}
	var list []string
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range many.Unwrap() {
			list = append(list, reasons(one)...)
		}
		slices.Sort(list)
		list = slices.Compact(list)
		// With sslmode=prefer it is only why the second attempt was made.
		if other := slices.DeleteFunc(slices.Clone(list), isTLSRefusal); len(other) > 0 {
			return other
		}
		return list
	}
	if connect, ok := err.(*pgconn.ConnectError); ok {
		return reasons(connect.Unwrap())
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return []string{pg.Message}
	}
	if dial, ok := errors.AsType[*net.OpError](err); ok {
		return []string{dial.Error()}
	}
	if lookup, ok := errors.AsType[*net.DNSError](err); ok {
		return []string{lookup.Error()}
	}
	if certificate, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return []string{certificate.Error()}
	}
	return []string{strings.ReplaceAll(err.Error(), "\n", " ")}
}

func isTLSRefusal(reason string) bool {
	return strings.HasSuffix(reason, "server refused TLS connection")
}

// Close ends the connection, and with it what Snapshot began.
func (c *Conn) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return c.conn.Close(ctx)
}

// Version is the server's.
func (c *Conn) Version() Version { return c.version }

// query returns the rows of the last of some statements, as text; NULL is "".
// Text may be no UTF-8, where the database does not know what it is. No statement
// is prepared, which would not work through every pooler.
func (c *Conn) query(ctx context.Context, sql string) ([][]string, error) {
	results, err := c.conn.Exec(ctx, sql).ReadAll()
	if err != nil || len(results) == 0 {
		return nil, err
	}
	last := results[len(results)-1]
	rows := make([][]string, len(last.Rows))
	for i, row := range last.Rows {
		for _, value := range row {
			rows[i] = append(rows[i], string(value))
		}
	}
	return rows, nil
}

// value returns the one value that a query gives.
func (c *Conn) value(ctx context.Context, sql string) (string, error) {
	rows, err := c.query(ctx, sql)
	if err != nil {
		return "", err
	}
	if len(rows) != 1 || len(rows[0]) != 1 {
		return "", fmt.Errorf("%d rows in place of one value", len(rows))
	}
	return rows[0][0], nil
}

// number returns the one number that a query gives.
func (c *Conn) number(ctx context.Context, sql string) (int64, error) {
	text, err := c.value(ctx, sql)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

// Snapshot begins to see the database as it is now, until Close, and returns
// the name under which Dump can see the same.
func (c *Conn) Snapshot(ctx context.Context) (string, error) {
	name, err := c.value(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_catalog.pg_export_snapshot()")
	if err != nil {
		return "", fmt.Errorf("snapshot of %s: %w", c.database, err)
	}
	return name, nil
}
