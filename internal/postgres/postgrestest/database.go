package postgrestest

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// URL is the address of a database, without user and password.
func (s *Server) URL(database string) string {
	return fmt.Sprintf("postgres://%s:%d/%s", s.Host, s.Port, database)
}

// CreateDatabase makes a new database, which is empty, and returns its name.
func (s *Server) CreateDatabase(t testing.TB) string {
	t.Helper()
	name := "test_" + strings.ToLower(rand.Text()[:10])
	s.Exec(t, "postgres", "CREATE DATABASE "+name+" TEMPLATE template0")
	return name
}

// Exec runs SQL as the superuser. Each text may have several statements, which
// are then one transaction.
func (s *Server) Exec(t testing.TB, database string, sql ...string) {
	t.Helper()
	for _, text := range sql {
		if _, err := s.exec(database, text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
}

// Query returns the one value that a query of the superuser gives, as text; "" is
// also NULL.
func (s *Server) Query(t testing.TB, database, sql string) string {
	t.Helper()
	results, err := s.exec(database, sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	last := results[len(results)-1]
	if len(last.Rows) != 1 || len(last.Rows[0]) != 1 {
		t.Fatalf("%s: gives not one value, but %d rows", sql, len(last.Rows))
	}
	return string(last.Rows[0][0])
}

func (s *Server) exec(database, sql string) ([]*pgconn.Result, error) {
	ctx := context.Background() // that of t has ended when a test cleans up
	conn, err := s.connect(ctx, database)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	return conn.Exec(ctx, sql).ReadAll()
}

func (s *Server) connect(ctx context.Context, database string) (*pgconn.PgConn, error) {
	config, err := pgconn.ParseConfig(s.URL(database) + "?sslmode=disable&connect_timeout=10")
	if err != nil {
		return nil, err
	}
	config.User, config.Password = s.User, s.Password
	return pgconn.ConnectConfig(ctx, config)
}
