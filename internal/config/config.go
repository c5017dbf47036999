// Package config reads the settings of the original system, conf/chipster.yaml
// and the environment, by the original's rules.
//
// A value comes from, in this order: a command line flag ([Config.Override]), the
// key `<key>-<role>`, the key `<key>`, the default. Each of the two keys is
// looked up in the environment first (same case, `-` written as `_`), then in the
// file. Values stay as they are written: 01:10 is not a number in base 60.
//
// A secret can also be given by a file: `<key>-file`, in either place, names a
// file that holds the value. Only one of the two may be given in one place.
//
// To the original's keys firn adds:
//
//	backup-store       where backups go: s3://bucket/prefix or file:///dir;
//	                   without it s3:// and the value of backup-bucket
//	backup-s3-ca-file  certificates (PEM) to trust for backup-s3-endpoint
//	backup-pg-bin      the folder with the programs of PostgreSQL to use
//	file-storage-path  the folder with the files to back up
//	backup-gpg-signing-key         the private key that lists are signed with
//	backup-gpg-signing-passphrase  its passphrase
//	backup-gpg-trusted-keys        the public keys whose signatures count
//	backup-final        "s3": backups stay in the bucket, no archiver takes them;
//	                    else "archive"
//	backup-ping-success  a URL to get after a run that was done
//	backup-ping-failure  a URL to get after one that was not, or not wholly
//	admin-token          who knows it may use the admin interface
//
// backup-gpg-public-key may hold several armored blocks: one for each recipient.
//
// Keys that firn does not know are ignored, whatever they are called: the file
// belongs to the whole system. This package checks the form of what is asked
// for and nothing more; it does not connect, and does not parse keys or URLs.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// DefaultPath is the file that is read when no other is named.
const DefaultPath = "conf/chipster.yaml"

// ErrInvalid marks all errors about what is written in the configuration.
var ErrInvalid = errors.New("invalid configuration")

// Config holds all settings. It may be read by many at once, and not while
// Override is called.
type Config struct {
	flags, env, file map[string]entry
	hostName         string
}

// entry is a value as found in one place.
type entry struct{ text, source string }

// Value is a setting in force.
type Value struct {
	Key  string // under which it was found: with the role, if it was found so
	Text string // as written
	Set  bool   // false: Text is the default
	// Source is "default", "file conf/chipster.yaml:12", "environment backup_bucket",
	// "flag --bucket", names the file that held a secret, or names the key that
	// backup-store was made from.
	Source string
	// Warning is what the user should be told about the value, or "".
	Warning string
	// Err says that the file of a secret cannot be read. Text is empty then.
	Err error
}

// Load reads the file at path and the environment, which has the form of
// [os.Environ]. An empty path means DefaultPath, which may be missing; a file
// that is named must be there. Files of secrets are read later, when asked for.
func Load(path string, env []string) (*Config, error) {
	c := &Config{flags: map[string]entry{}, env: parseEnv(env), file: map[string]entry{}}
	if name, err := os.Hostname(); err == nil {
		c.hostName = name
	}
	optional := path == ""
	if optional {
		path = DefaultPath
	}
	data, err := os.ReadFile(path)
	switch {
	case optional && errors.Is(err, fs.ErrNotExist):
		return c, nil
	case err != nil:
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if c.file, err = parseYAML(path, data); err != nil {
		return nil, err
	}
	return c, nil
}

func parseEnv(env []string) map[string]entry {
	entries := map[string]entry{}
	for _, variable := range env {
		name, text, ok := strings.Cut(variable, "=")
		if !ok || name == "" || strings.Contains(name, "-") {
			continue
		}
		entries[strings.ReplaceAll(name, "_", "-")] = entry{text, "environment " + name}
	}
	return entries
}

// Override sets a key from the command line; source says from where, such as
// "flag --bucket". It wins over everything, for every role.
func (c *Config) Override(key, value, source string) {
	c.flags[key] = entry{value, source}
}

// Get returns the setting in force for a role; "" is none. A key unknown to
// firn has an empty default.
func (c *Config) Get(key, role string) Value {
	candidates := []string{key}
	if role != "" {
		candidates = []string{key + "-" + role, key}
	}
	for _, places := range [][]map[string]entry{{c.flags}, {c.env, c.file}} {
		for _, candidate := range candidates {
			for _, place := range places {
				if v, ok := find(place, candidate); ok {
					return v
				}
			}
		}
	}
	return c.fallback(key, role)
}

func (c *Config) fallback(key, role string) Value {
	v := Value{Key: key, Source: "default"}
	known, _ := lookup(key)
	v.Text = known.fallback
	switch {
	case known.perRole && role != "":
		v.Key = key + "-" + role
	case key == "file-storage-id":
		v.Text = c.hostName
	case key == "backup-store":
		if bucket := c.Get("backup-bucket", role); bucket.Text != "" {
			v.Text, v.Source = "s3://"+bucket.Text, bucket.Key+", "+bucket.Source
		}
	}
	return v
}

// find looks up one key in one place, and the file of a secret beside it.
func find(place map[string]entry, key string) (Value, bool) {
	e, ok := place[key]
	if IsSecret(key) {
		if named, also := place[key+"-file"]; also {
			v := Value{Key: key, Set: true, Source: "file " + named.text + ", named by " + named.source}
			if ok {
				v.Err = fmt.Errorf("%w: both %s (%s) and %s-file (%s) are given", ErrInvalid, key, e.source, key, named.source)
				return v, true
			}
			v.Text, v.Warning, v.Err = readSecret(key, named)
			return v, true
		}
	}
	return Value{Key: key, Text: e.text, Set: ok, Source: e.source}, ok
}

// Roles returns the roles of all db-url-<role> that are not empty, sorted: the
// databases to back up.
func (c *Config) Roles() []string {
	return slices.DeleteFunc(c.suffixes("db-url"), func(role string) bool { return c.Get("db-url", role).Text == "" })
}

// suffixes returns the roles for which there is a key of their own.
func (c *Config) suffixes(key string) []string {
	var roles []string
	for _, place := range []map[string]entry{c.flags, c.env, c.file} {
		for found := range place {
			suffix, ok := strings.CutPrefix(found, key)
			if IsSecret(key) {
				suffix = strings.TrimSuffix(suffix, "-file")
			}
			role, hasRole := strings.CutPrefix(suffix, "-")
			if ok && hasRole && role != "" {
				roles = append(roles, role)
			}
		}
	}
	slices.Sort(roles)
	return slices.Compact(roles)
}

// All returns the settings in force of every key that firn knows, in the order
// of the documentation. With a role it is what holds for that role; without one,
// keys that are set for single roles follow the general ones.
func (c *Config) All(role string) []Value {
	var all []Value
	for _, known := range knownKeys {
		if role != "" {
			all = append(all, c.Get(known.name, role))
			continue
		}
		if !known.perRole {
			all = append(all, c.Get(known.name, ""))
		}
		roles := c.suffixes(known.name)
		if known.perRole {
			roles = append(roles, c.suffixes("db-url")...)
			slices.Sort(roles)
			roles = slices.Compact(roles)
		}
		for _, r := range roles {
			all = append(all, c.Get(known.name, r))
		}
	}
	return all
}
