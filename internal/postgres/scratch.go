package postgres

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"
)

// onServer is where one goes for what is about the whole server: the database of
// the address, or, where that has none, the one that all servers have for this.
func (d *Database) onServer() *Database {
	if d.parameters["dbname"] != "" {
		return d
	}
	return d.named("postgres")
}

func (d *Database) named(name string) *Database {
	other := &Database{parameters: maps.Clone(d.parameters), password: d.password}
	other.parameters["dbname"] = name
	return other
}

// patienceWithServer is how long to wait for a database to be made or dropped.
// Neither is interrupted: whether there is one has to be known afterwards.
const patienceWithServer = time.Minute

// CreateDatabase makes an empty database beside d, on the same server and of the
// same user, and returns its address. All roles may create in it, as the owners of
// what a dump brings must. Once it was called, even in vain, DropDatabase is to
// be called.
func (d *Database) CreateDatabase(ctx context.Context, name string) (*Database, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patienceWithServer)
	defer cancel()
	made := d.named(name)
	err := d.onServer().administer(ctx, "CREATE DATABASE "+quoted(name)+" TEMPLATE template0")
	if err == nil { // before PostgreSQL 15 the schema is open to all, and this a warning
		err = made.administer(ctx, "GRANT CREATE ON DATABASE "+quoted(name)+" TO PUBLIC", "GRANT CREATE ON SCHEMA public TO PUBLIC")
	}
	if err != nil {
		if isDenied(err) {
			err = fmt.Errorf("%w: %w", ErrDenied, err)
		}
		return nil, fmt.Errorf("create database %s: %w", name, err)
	}
	return made, nil
}

// DropDatabase drops a database beside d, and ends the connections to it that
// the same user still has. That there is none is no error. It is not interrupted
// by ctx.
func (d *Database) DropDatabase(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patienceWithServer)
	defer cancel()
	// The server itself sees to autovacuum, which only a superuser may end. DROP …
	// WITH (FORCE) is of PostgreSQL 13.
	err := d.onServer().administer(ctx, "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE usename = current_user AND datname = '"+
		strings.ReplaceAll(name, "'", "''")+"'", "DROP DATABASE IF EXISTS "+quoted(name))
	if err != nil {
		err = fmt.Errorf("drop database %s: %w", name, err)
	}
	return err
}

// administer runs statements, each by itself.
func (d *Database) administer(ctx context.Context, statements ...string) error {
	conn, err := d.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, sql := range statements {
		if _, err := conn.query(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// DatabaseNames names the databases on d's server.
func (d *Database) DatabaseNames(ctx context.Context) ([]string, error) {
	conn, err := d.onServer().Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	rows, err := conn.query(ctx, "SELECT datname FROM pg_catalog.pg_database ORDER BY 1")
	if err != nil {
		return nil, fmt.Errorf("list the databases of %s: %w", conn.database, err)
	}
	var names []string
	for _, row := range rows {
		names = append(names, row[0])
	}
	return names, nil
}

func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
