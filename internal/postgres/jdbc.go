package postgres

import (
	"errors"
	"net/url"
	"strings"
)

// sameInJDBC are the parameters that Java's driver has too, by its names.
var sameInJDBC = map[string]string{
	"user": "user", "password": "password", "options": "options",
	"sslmode": "sslmode", "sslrootcert": "sslrootcert", "sslcert": "sslcert", "sslkey": "sslkey",
	"ApplicationName": "application_name", "connectTimeout": "connect_timeout", "channelBinding": "channel_binding",
}

// serverTypes are targetServerType's values, by libpq's.
var serverTypes = map[string]string{
	"any": "any", "preferPrimary": "any", "primary": "primary", "master": "primary",
	"secondary": "standby", "slave": "standby", "preferSecondary": "prefer-standby", "preferSlave": "prefer-standby",
}

// parseJDBC reads what follows jdbc:postgresql: as Java's driver does: //hosts/name,
// /name or name, and ?parameters.
func (d *Database) parseJDBC(text string) error {
	text, query, _ := strings.Cut(text, "?")
	hosts, name := "", strings.TrimPrefix(text, "/")
	if rest, ok := strings.CutPrefix(text, "//"); ok {
		hosts, name, _ = strings.Cut(rest, "/")
	}
	if strings.Contains(text, "@") {
		return errors.New("there is an @ in it: a JDBC address has no user and password before the host; set db-user and db-pass")
	}
	if hosts == "" {
		hosts = "localhost"
	}
	if err := d.setHosts(hosts); err != nil {
		return err
	}
	if d.parameters["port"] == "" {
		d.parameters["port"] = "5432" // whatever PGPORT says, which Java does not read
	}
	if err := d.set("dbname", name, url.QueryUnescape); err != nil {
		return err
	}
	ssl := map[string]string{}
	for pair := range pairs(query) {
		key, value, _ := strings.Cut(pair, "=")
		if err := d.setJDBC(key, value, ssl); err != nil {
			return err
		}
	}
	return d.setSSL(ssl)
}

// setJDBC keeps one parameter: those that decide together about encryption in
// ssl. What is about the Java program (socketTimeout, currentSchema …) is not
// for us; what would lead elsewhere or encrypt less if ignored is an error.
func (d *Database) setJDBC(key, value string, ssl map[string]string) error {
	if name, ok := sameInJDBC[key]; ok {
		return d.set(name, value, url.QueryUnescape)
	}
	lower := strings.ToLower(key)
	switch {
	case key == "targetServerType":
		name, ok := serverTypes[value]
		if !ok {
			return errors.New("parameter targetServerType has a value that it cannot have")
		}
		d.parameters["target_session_attrs"] = name
	case key == "ssl" || key == "sslfactory":
		ssl[key] = value
	case strings.HasPrefix(lower, "ssl"), strings.HasPrefix(lower, "gss"),
		key == "requireAuth", key == "service", key == "PGHOST", key == "PGPORT", key == "PGDBNAME":
		return unknown(key)
	}
	return nil
}

// setSSL is how Java's driver takes ssl and sslfactory, which sslmode overrides.
func (d *Database) setSSL(ssl map[string]string) error {
	mode := "verify-full"
	switch ssl["sslfactory"] {
	case "", "org.postgresql.ssl.LibPQFactory":
	case "org.postgresql.ssl.NonValidatingFactory":
		mode = "require"
	default:
		return errors.New("the certificates of that sslfactory are not supported: set sslmode and sslrootcert in its place")
	}
	value, given := ssl["ssl"]
	if given && (value == "" || strings.EqualFold(value, "true")) && d.parameters["sslmode"] == "" {
		d.parameters["sslmode"] = mode
	}
	d.parameters["sslmode"] = strings.ToLower(d.parameters["sslmode"])
	if d.parameters["sslmode"] == "" {
		delete(d.parameters, "sslmode")
	}
	return nil
}
