package config

import (
	"regexp"
	"slices"
	"strings"
)

// knownKey is one row of the table of keys. Each may have `-<role>` behind it;
// those with perRole have no meaning without.
type knownKey struct {
	name, fallback  string
	secret, perRole bool
}

var knownKeys = []knownKey{
	{name: "backup-store"},
	{name: "backup-bucket"},
	{name: "backup-s3-endpoint"},
	{name: "backup-s3-region", fallback: "regionOne"},
	{name: "backup-s3-access-key"},
	{name: "backup-s3-secret-key", secret: true},
	{name: "backup-s3-path-style-access", fallback: "false"},
	{name: "backup-s3-ca-file"},
	{name: "tls-version"},
	{name: "backup-time", fallback: "01:10"},
	{name: "backup-interval", fallback: "24"},
	{name: "backup-daily-count", fallback: "90"},
	{name: "backup-monthly-count", fallback: "24"},
	{name: "backup-gpg-public-key"},
	{name: "backup-gpg-passphrase", secret: true},
	{name: "backup-gpg-signing-key", secret: true},
	{name: "backup-gpg-signing-passphrase", secret: true},
	{name: "backup-gpg-trusted-keys"},
	{name: "backup-installation"},
	{name: "backup-final", fallback: "archive"},
	{name: "backup-ping-success", secret: true},
	{name: "backup-ping-failure", secret: true},
	{name: "admin-token", secret: true},
	{name: "backup-pg-bin"},
	{name: "file-storage-id"},
	{name: "file-storage-path"},
	{name: "db-user"},
	{name: "db-url", perRole: true},
	{name: "db-pass", secret: true, perRole: true},
}

func lookup(name string) (knownKey, bool) {
	i := slices.IndexFunc(knownKeys, func(k knownKey) bool { return k.name == name })
	if i < 0 {
		return knownKey{}, false
	}
	return knownKeys[i], true
}

// isKnown tells whether a key, with or without a role, is one of ours.
func isKnown(key string) bool {
	return slices.ContainsFunc(knownKeys, func(k knownKey) bool {
		return key == k.name || strings.HasPrefix(key, k.name+"-")
	})
}

// IsSecret tells whether the value of a key, with or without a role, must not
// be shown.
func IsSecret(key string) bool {
	return slices.ContainsFunc(knownKeys, func(k knownKey) bool {
		return k.secret && (key == k.name || strings.HasPrefix(key, k.name+"-"))
	})
}

var (
	passwordParameter = regexp.MustCompile(`(?i)(password=)[^&;\s]*`)
	passwordInURL     = regexp.MustCompile(`(://[^/:@\s]*:)\S*@`) // to the last @: passwords may be written as they are
)

const mask = "********"

// Masked returns the text in a form that may be shown and logged: secrets are
// replaced, whatever their length, the access key is cut to its first four
// characters, and passwords in URLs are removed.
func (v Value) Masked() string {
	switch {
	case v.Text == "":
		return ""
	case IsSecret(v.Key):
		return mask
	case strings.HasPrefix(v.Key, "backup-s3-access-key"):
		if len(v.Text) < 12 { // too short to give away a part
			return mask
		}
		return v.Text[:4] + mask
	}
	text := passwordParameter.ReplaceAllString(v.Text, "${1}"+mask)
	return passwordInURL.ReplaceAllString(text, "${1}"+mask+"@")
}
