package postgres

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Database is the address of a database, and as whom to go there. Its methods
// may be called concurrently, except those that set something.
type Database struct {
	parameters map[string]string // libpq's names; never the password
	password   string            // "": from PGPASSWORD or the password file, as libpq does
}

// parameters are those that libpq and pgx both know. pgx sends others to the
// server, and libpq refuses them: an address must mean the same to both. A
// value's check is nil where anything goes.
var parameters = map[string]func(string) bool{
	"host": nil, "port": nil, "dbname": nil, "user": nil, "password": nil, "passfile": nil,
	"sslrootcert": nil, "sslcert": nil, "sslkey": nil,
	"application_name": nil, "options": nil,
	"sslmode":              oneOf("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
	"channel_binding":      oneOf("disable", "prefer", "require"),
	"target_session_attrs": oneOf("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
	"connect_timeout":      isSeconds,
}

func oneOf(values ...string) func(string) bool {
	return func(s string) bool { return slices.Contains(values, s) }
}

func isSeconds(s string) bool {
	_, err := strconv.ParseUint(s, 10, 31)
	return err == nil
}

// ParseURL reads the addresses of libpq, postgres://… or postgresql://…, and of
// Java programs, jdbc:postgresql:…. Either may name several hosts, of which the
// first that answers is taken.
//
// Of a Java program's address, parameters that are about that program are
// ignored; those about encryption that cannot be kept are an error.
func ParseURL(text string) (*Database, error) {
	d := &Database{parameters: map[string]string{}}
	var err error
	if rest, ok := strings.CutPrefix(text, "jdbc:postgresql:"); ok {
		err = d.parseJDBC(rest)
	} else if rest, ok := cutScheme(text); ok {
		err = d.parseLibpq(rest)
	} else {
		return nil, fmt.Errorf("%w: neither postgres:// nor jdbc:postgresql: is at its beginning", ErrURL)
	}
	if err == nil {
		err = d.check()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrURL, err)
	}
	return d, nil
}

func cutScheme(text string) (string, bool) {
	for _, scheme := range []string{"postgres://", "postgresql://"} {
		if rest, ok := strings.CutPrefix(text, scheme); ok {
			return rest, true
		}
	}
	return "", false
}

// parseLibpq reads [user[:password]@][host[:port],…][/name][?parameters]. This
// is not for net/url, which refuses several hosts and puts what it read into
// its errors.
func (d *Database) parseLibpq(text string) error {
	if before, after, ok := strings.Cut(text, "@"); ok && !strings.Contains(before, "/") {
		user, password, _ := strings.Cut(before, ":")
		if err := d.set("user", user, url.PathUnescape); err != nil {
			return err
		}
		if err := d.set("password", password, url.PathUnescape); err != nil {
			return err
		}
		text = after
	}
	// It would make a host, a name or a parameter of the end of the password.
	if strings.Contains(text, "@") {
		return errors.New("there is an @ too many: write %40 for an @ and %2F for a / of user, password or name")
	}
	text, query, _ := strings.Cut(text, "?")
	hosts, name, _ := strings.Cut(text, "/")
	if err := d.setHosts(hosts); err != nil {
		return err
	}
	if err := d.set("dbname", name, url.PathUnescape); err != nil {
		return err
	}
	for pair := range pairs(query) {
		key, value, ok := strings.Cut(pair, "=")
		if key == "ssl" && value == "true" { // as libpq does, for what came from Java
			key, value = "sslmode", "require"
		}
		if _, known := parameters[key]; !known || !ok {
			return unknown(key)
		}
		if err := d.set(key, value, url.PathUnescape); err != nil {
			return err
		}
	}
	return nil
}

// pairs are the parts of a query that are not empty.
func pairs(query string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for pair := range strings.SplitSeq(query, "&") {
			if pair != "" && !yield(pair) {
				return
			}
		}
	}
}

// unknown is the error about a parameter. What cannot be a parameter's name is
// not repeated: it may be half of a password with a ? in it.
func unknown(name string) error {
	isLetter := func(r rune) bool { return r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' }
	switch {
	case name == "sslpassword":
		return errors.New("sslpassword would be seen in the list of processes: use a key without a passphrase that only this user can read")
	case strings.TrimLeftFunc(name, isLetter) != "" || name == "":
		return errors.New("a parameter after the ? has no known name or no value")
	}
	return fmt.Errorf("parameter %s is not supported: remove it", name)
}

// set decodes and keeps a value; an empty one is none.
func (d *Database) set(key, text string, decode func(string) (string, error)) error {
	value, err := decode(text)
	if err != nil { // which quotes the text
		return fmt.Errorf("%s: a %% is not followed by two hexadecimal digits: write %%25 for a %%", key)
	}
	if strings.ContainsRune(value, 0) {
		return fmt.Errorf("%s has a zero byte", key)
	}
	switch {
	case key == "password":
		d.password = value
	case value == "":
		delete(d.parameters, key)
	default:
		d.parameters[key] = value
	}
	return nil
}

var errBrackets = errors.New("a host has a colon or a bracket too many: write an IPv6 address as [::1]")

// setHosts reads host[:port],…, where a host may be [IPv6] or, encoded, a folder
// with a socket.
func (d *Database) setHosts(text string) error {
	var hosts, ports []string
	given := false
	for part := range strings.SplitSeq(text, ",") {
		host, port := part, ""
		if colon := strings.LastIndexByte(part, ':'); colon > strings.LastIndexByte(part, ']') {
			host, port = part[:colon], part[colon+1:]
		}
		if inner, ok := strings.CutPrefix(host, "["); ok {
			host, ok = strings.CutSuffix(inner, "]")
			if !ok {
				return errBrackets
			}
		} else if strings.ContainsAny(host, "[]:") {
			return errBrackets
		}
		given = given || port != ""
		if port == "" {
			port = "5432"
		}
		hosts = append(hosts, host)
		ports = append(ports, port)
	}
	if given {
		d.parameters["port"] = strings.Join(ports, ",")
	}
	return d.set("host", strings.Join(hosts, ","), url.PathUnescape)
}

// check looks at the values that libpq and pgx would understand in different
// ways, or complain about with the whole address.
func (d *Database) check() error {
	for key, value := range d.parameters {
		if valid := parameters[key]; valid != nil && !valid(value) {
			return fmt.Errorf("parameter %s has a value that it cannot have", key)
		}
	}
	hosts := strings.Split(d.parameters["host"], ",")
	if len(hosts) > 1 && slices.Contains(hosts, "") {
		return errors.New("one of several hosts is empty")
	}
	if d.parameters["port"] == "" {
		return nil
	}
	ports := strings.Split(d.parameters["port"], ",")
	if len(ports) != 1 && len(ports) != len(hosts) {
		return errors.New("there are not as many ports as hosts")
	}
	for _, port := range ports {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return errors.New("a port is not a number from 1 to 65535")
		}
	}
	return nil
}

// SetUser replaces the user that the address names.
func (d *Database) SetUser(user string) { d.parameters["user"] = user }

// SetPassword replaces the password that the address has.
func (d *Database) SetPassword(password string) { d.password = password }

// HasPassword tells whether the address or SetPassword gave one.
func (d *Database) HasPassword() bool { return d.password != "" }

// String is the address for people: host:port/name.
func (d *Database) String() string {
	hosts := strings.Split(d.get("host", "PGHOST", "localhost"), ",")
	ports := strings.Split(d.port(), ",")
	for i, host := range hosts {
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		hosts[i] = host + ":" + ports[min(i, len(ports)-1)]
	}
	user := d.get("user", "PGUSER", "")
	return strings.Join(hosts, ",") + "/" + d.get("dbname", "PGDATABASE", user)
}

func (d *Database) port() string { return d.get("port", "PGPORT", "5432") }

// get is a parameter, or what is in force where the address has none.
func (d *Database) get(key, variable, otherwise string) string {
	return cmp.Or(d.parameters[key], os.Getenv(variable), otherwise)
}

// conninfo is the address for libpq and pgx, without the password: programs
// get it as an argument, which anyone on this host can read.
func (d *Database) conninfo() string {
	all := maps.Clone(d.parameters)
	// Debian's wrapper of the programs sets PGPORT to that of a server on this
	// host where the address has none.
	all["port"] = d.port()
	for key, value := range map[string]string{
		"application_name": "firn",
		"connect_timeout":  "30", // seconds; without it a host that is down would be waited for without end
	} {
		if all[key] == "" {
			all[key] = value
		}
	}
	var b strings.Builder
	escape := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%s='%s' ", key, escape.Replace(all[key]))
	}
	return strings.TrimSuffix(b.String(), " ")
}

// environment is that of the programs.
func (d *Database) environment() []string {
	env := append(os.Environ(), "LC_ALL=C") // messages in one language
	if d.password != "" {
		env = append(env, "PGPASSWORD="+d.password)
	}
	return env
}
