package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/chipster/firn/internal/keys"
)

// indented makes a key file a YAML block.
func indented(text string) string {
	return "|\n  " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  ") + "\n"
}

func TestConfig(t *testing.T) {
	t.Chdir(t.TempDir())
	mustRunKeyApp(t, "key", "generate", "--curve25519")
	public := readTestFile(t, "firn.public.asc")
	list, err := keys.ParsePublic([]byte(public))
	if err != nil {
		t.Fatal(err)
	}
	writeTestFile(t, "c.yaml", "backup-bucket: general\nbackup-bucket-auth: special\nbackup-s3-secret-key: hunter2\n"+
		"backup-gpg-public-key: "+indented(public)+"db-url-auth: jdbc:postgresql://h/auth\n")
	t.Setenv("backup_interval", "12")

	out := mustRunKeyApp(t, "config", "--config", "c.yaml")
	for _, want := range []string{
		"backup-bucket general file c.yaml:1",
		"backup-bucket-auth special file c.yaml:2",
		"backup-store s3://general backup-bucket, file c.yaml:1",
		"backup-s3-secret-key ******** file c.yaml:3",
		"backup-gpg-public-key " + keys.Fingerprint(list[0]) + " file c.yaml:4",
		"backup-interval 12 environment backup_interval",
		"backup-time 01:10 default",
		"db-url-auth jdbc:postgresql://h/auth file c.yaml:",
	} {
		if !slices.ContainsFunc(strings.Split(out, "\n"), func(line string) bool {
			return strings.HasPrefix(strings.Join(strings.Fields(line), " "), want)
		}) {
			t.Errorf("no line %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "hunter2") || strings.Contains(out, "BEGIN PGP") {
		t.Errorf("too much is shown:\n%s", out)
	}
	column := strings.Index(out, "SOURCE")
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		if len(line) < column || line[column-1] != ' ' || line[column] == ' ' {
			t.Errorf("not aligned: %q", line)
		}
	}
}

func TestConfigJSONOfARole(t *testing.T) {
	t.Chdir(t.TempDir())
	writeTestFile(t, "c.yaml", "backup-bucket: general\nbackup-bucket-auth: special\ndb-pass-auth: hunter2\n")
	out := mustRunKeyApp(t, "config", "--config", "c.yaml", "--json", "--role", "auth")
	var rows []shownSetting
	if err := json.Unmarshal([]byte(out), &rows); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out, "general") || strings.Contains(out, "hunter2") {
		t.Errorf("got %s", out)
	}
	if !slices.Contains(rows, shownSetting{Key: "backup-bucket-auth", Value: "special", Set: true, Source: "file c.yaml:2"}) {
		t.Errorf("got %+v", rows)
	}
}

// A mistake in one setting must not hide the others.
func TestConfigShowsAllInSpiteOfErrors(t *testing.T) {
	t.Chdir(t.TempDir())
	mustRunKeyApp(t, "key", "generate", "--curve25519")
	writeTestFile(t, "c.yaml", "backup-gpg-public-key: nonsense\nbackup-gpg-public-key-auth: "+
		indented(readTestFile(t, "firn.private.base64"))+"db-pass-auth-file: /no/such/file\n")
	out, messages, err := runKeyApp(t, "", "config", "--config", "c.yaml")
	if !errors.Is(err, keys.ErrNoKey) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(out, "backup-time") || strings.Contains(out, "nonsense") {
		t.Errorf("got %s", out)
	}
	if !strings.Contains(messages, "backup-gpg-public-key-auth: this is a private key") {
		t.Errorf("no warning: %s", messages)
	}
}

func TestConfigMissingFile(t *testing.T) {
	if _, _, err := runKeyApp(t, "", "config", "--config", "/no/such/file"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
