package config

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
)

func TestMasked(t *testing.T) {
	tests := []struct{ key, text, want string }{
		{"backup-s3-secret-key", "hunter2", mask},
		{"backup-s3-secret-key-auth", "hunter2hunter2hunter2", mask},
		{"backup-gpg-passphrase", "hunter2", mask},
		{"db-pass-auth", "hunter2", mask},
		{"db-pass-auth", "", ""},
		{"backup-s3-access-key", "AKIAhunter2hunter2", "AKIA" + mask},
		{"backup-s3-access-key", "hunter2", mask},
		{"backup-bucket", "a-bucket", "a-bucket"},
		{"db-url-auth", "jdbc:postgresql://h:5432/auth", "jdbc:postgresql://h:5432/auth"},
		{"db-url-auth", "jdbc:postgresql://h/auth?user=u&password=hunter2&ssl=true", "jdbc:postgresql://h/auth?user=u&password=" + mask + "&ssl=true"},
		{"db-url-auth", "postgresql://u:hunter2@h/auth", "postgresql://u:" + mask + "@h/auth"},
		{"db-url-auth", "postgresql://u:a@hunter2/b?hunter2@h/auth", "postgresql://u:" + mask + "@h/auth"},
	}
	for _, test := range tests {
		got := Value{Key: test.key, Text: test.text}.Masked()
		if got != test.want || strings.Contains(got, "hunter2") {
			t.Errorf("%s=%s: got %q, want %q", test.key, test.text, got, test.want)
		}
	}
}

func TestSecretInAWrongPlaceStaysHidden(t *testing.T) {
	c := load(t, "db-pass-auth: hunter2\n")
	if _, err := c.Int("db-pass", "auth"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

func TestSecretFromFile(t *testing.T) {
	private := write(t, "secret", "hunter2 \n", 0o600)
	public := write(t, "secret", "hunter3\r\n", 0o644)
	if err := os.Chmod(public, 0o644); err != nil {
		t.Fatal(err)
	}

	c := load(t, "backup-s3-secret-key-file: "+private+"\n")
	v := c.Get("backup-s3-secret-key", "file-storage")
	if v.Text != "hunter2 " || !v.Set || v.Err != nil || v.Warning != "" || !strings.HasPrefix(v.Source, "file "+private) {
		t.Errorf("got %+v", v)
	}

	c = load(t, "db-pass-auth: old\n", "db_pass_auth_file="+public)
	v = c.Get("db-pass", "auth")
	if v.Text != "hunter3" || !strings.Contains(v.Warning, "readable by everyone") || strings.Contains(v.Warning, "hunter") {
		t.Errorf("got %+v", v)
	}

	// Not a secret: the key that ends so means what it says.
	c = load(t, "backup-s3-ca-file: "+private+"\nbackup-bucket-file: b\n")
	if v := c.Get("backup-s3-ca-file", ""); v.Text != private {
		t.Errorf("got %+v", v)
	}
	if v := c.Get("backup-bucket", ""); v.Set {
		t.Errorf("got %+v", v)
	}
}

func TestSecretFileErrors(t *testing.T) {
	c := load(t, "db-pass-auth-file: /no/such/file\n")
	if _, err := c.String("db-pass", "auth"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "db-pass-auth-file") {
		t.Errorf("missing: %v", err)
	}
	large := write(t, "large", strings.Repeat("x", maxSecret+1), 0o600)
	c = load(t, "db-pass-auth-file: "+large+"\n")
	if text, err := c.String("db-pass", "auth"); !errors.Is(err, ErrInvalid) || text != "" {
		t.Errorf("too large: %v", err)
	}
	c = load(t, "db-pass-auth-file: "+large+"\ndb-pass-auth: hunter2\n")
	if text, err := c.String("db-pass", "auth"); !errors.Is(err, ErrInvalid) || text != "" || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("both: %v", err)
	}
}
