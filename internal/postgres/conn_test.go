package postgres

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/chipster/firn/internal/postgres/postgrestest"
)

func TestConnectErrorIsOneLineWithoutPassword(t *testing.T) {
	right := address(t, "postgres")
	wrong := address(t, "postgres")
	wrong.SetPassword("s3cr3t-w0rd")
	absent := address(t, "no such database")
	none := address(t, "postgres")
	none.SetPassword("")
	nobody := parse(t, "postgres://user:s3cr3t-w0rd@127.0.0.1:1,localhost:1/name")
	for _, c := range []struct {
		d    *Database
		want string
	}{
		{wrong, "connect to " + right.String() + `: password authentication failed for user "tester"`},
		{none, `password authentication failed for user "tester"; no password was given`},
		{absent, `database "no such database" does not exist`},
		{nobody, "connect to 127.0.0.1:1,localhost:1/name: "},
		{nobody, "connection refused"},
		{parse(t, "postgres://user:s3cr3t@nowhere.invalid/name"), "connect to nowhere.invalid:5432/name: lookup nowhere.invalid"},
	} {
		_, err := c.d.Connect(t.Context())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v; want one with %q", err, c.want)
			continue
		}
		if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("error %q has several lines or the password", err)
		}
	}
}

// Why an attempt with TLS was not the last one is of no interest beside why the
// last one failed.
func TestReasonsWithoutTLS(t *testing.T) {
	refused, other := errors.New("localhost:5432: server refused TLS connection"), errors.New("no such database")
	if got := reasons(errors.Join(refused, other, other)); !slices.Equal(got, []string{"no such database"}) {
		t.Errorf("%q", got)
	}
	if got := reasons(errors.Join(refused)); len(got) != 1 {
		t.Errorf("%q", got)
	}
}

func TestConnectErrorKeepsTheServers(t *testing.T) {
	d := address(t, "postgres")
	d.SetPassword("wrong")
	_, err := d.Connect(t.Context())
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pg.Code != "28P01" || !errors.Is(err, ErrDenied) {
		t.Errorf("error %v (%T) has not the server's code", err, err)
	}
}

func TestConnectCanBeCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := address(t, "postgres").Connect(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v; want context.Canceled", err)
	}
}

func TestTLS(t *testing.T) {
	other := postgrestest.New(t) // whose authority is another
	missing := filepath.Join(t.TempDir(), "missing.crt")
	for _, c := range []struct {
		host, parameters string
		encrypted        string
		wrong            string // part of the error; "": none
	}{
		{"127.0.0.1", "", "true", ""},
		{"127.0.0.1", "?sslmode=disable", "false", ""},
		{"127.0.0.1", "?sslmode=allow", "false", ""},
		{"127.0.0.1", "?sslmode=require", "true", ""},
		{"127.0.0.1", "?sslmode=verify-ca&sslrootcert=" + server.CAFile, "true", ""},
		{"127.0.0.1", "?sslmode=verify-full&sslrootcert=" + server.CAFile, "true", ""},
		{"localhost", "?sslmode=verify-full&sslrootcert=" + server.CAFile, "true", ""},
		{"localhost", "?sslmode=require&channel_binding=require", "true", ""},
		{"127.0.0.1", "?sslmode=verify-ca&sslrootcert=" + other.CAFile, "", "unknown authority"},
		{"127.0.0.1", "?sslmode=verify-full&sslrootcert=" + other.CAFile, "", "unknown authority"},
		{"127.0.0.1", "?sslmode=verify-full&sslrootcert=" + missing, "", "missing.crt"},
		{"127.0.0.1", "?sslmode=disable&channel_binding=require", "", "channel binding"},
	} {
		d := address(t, "postgres")
		d.parameters["host"] = c.host
		for key, value := range parse(t, "postgres:///"+c.parameters).parameters {
			d.parameters[key] = value
		}
		conn, err := d.Connect(t.Context())
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s%s: error %v; want one line with %q", c.host, c.parameters, err, c.wrong)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s%s: %v", c.host, c.parameters, err)
			continue
		}
		encrypted, err := conn.value(t.Context(), "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
		if err != nil || encrypted != c.encrypted {
			t.Errorf("%s%s: encrypted is %s (%v); want %s", c.host, c.parameters, encrypted, err, c.encrypted)
		}
		conn.Close()
	}
}

// 0.0.0.0 reaches the server too, and is not in its certificate.
func TestTLSOtherHost(t *testing.T) {
	for mode, want := range map[string]bool{"verify-full": false, "verify-ca": true} {
		d := address(t, "postgres")
		d.parameters["host"], d.parameters["sslmode"], d.parameters["sslrootcert"] = "0.0.0.0", mode, server.CAFile
		if _, err := d.Connect(t.Context()); (err == nil) != want {
			t.Errorf("%s: error %v", mode, err)
		}
	}
}

func TestSessionSettings(t *testing.T) {
	d, name := newDatabase(t)
	server.Exec(t, "postgres",
		"ALTER DATABASE "+name+" SET statement_timeout = '1s'",
		"ALTER DATABASE "+name+" SET lock_timeout = '1s'",
		"ALTER DATABASE "+name+" SET idle_in_transaction_session_timeout = '1s'")
	c := connect(t, d)
	for setting, want := range map[string]string{
		"statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "0",
		"row_security": "off", "application_name": "firn", "client_encoding": "UTF8",
	} {
		if got, err := c.value(t.Context(), "SHOW "+setting); err != nil || got != want {
			t.Errorf("%s is %q (%v); want %q", setting, got, err, want)
		}
	}
}

func TestVersionOfServer(t *testing.T) {
	c := connect(t, address(t, "postgres"))
	want := server.Query(t, "postgres", "SELECT split_part(current_setting('server_version'), ' ', 1)")
	if got := c.Version().String(); got != want {
		t.Errorf("version %s; want %s", got, want)
	}
}

func TestSnapshotOutlivesTimeouts(t *testing.T) {
	d, name := newDatabase(t)
	server.Exec(t, "postgres", "ALTER DATABASE "+name+" SET idle_in_transaction_session_timeout = '50ms'")
	c := connect(t, d)
	if _, err := c.Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	if _, err := c.CountRows(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestConnectionThroughSocket(t *testing.T) {
	d := parse(t, "postgres:///postgres?host="+server.Dir)
	d.SetUser(server.User)
	d.SetPassword(server.Password)
	d.parameters["port"] = parse(t, server.URL("postgres")).parameters["port"]
	connect(t, d)
}

func TestPasswordFromEnvironmentAndFile(t *testing.T) {
	d := address(t, "postgres")
	d.SetPassword("")
	file := filepath.Join(t.TempDir(), "pgpass")
	if err := os.WriteFile(file, []byte("*:*:*:*:"+server.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PGPASSFILE", file)
	connect(t, d)
	t.Setenv("PGPASSWORD", "wrong")
	if _, err := d.Connect(t.Context()); err == nil {
		t.Error("PGPASSWORD does not win over the file")
	}
	t.Setenv("PGPASSWORD", server.Password)
	connect(t, d)
	t.Setenv("PGPASSWORD", "wrong")
	connect(t, address(t, "postgres")) // what the address has wins over both
}
