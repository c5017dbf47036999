package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// load writes a file and reads it as the command does.
func load(t testing.TB, yaml string, env ...string) *Config {
	t.Helper()
	c, err := Load(write(t, "chipster.yaml", yaml, 0o600), env)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func write(t testing.TB, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPrecedence(t *testing.T) {
	const yaml = "backup-bucket: general\nbackup-bucket-auth: special\n"
	tests := []struct {
		name, role string
		env        []string
		flag       string
		want       string
		source     string
	}{
		{name: "file", want: "general", source: "chipster.yaml:1"},
		{name: "role in file", role: "auth", want: "special", source: "chipster.yaml:2"},
		{name: "other role", role: "job-history", want: "general", source: "chipster.yaml:1"},
		{name: "environment", env: []string{"backup_bucket=env"}, want: "env", source: "environment backup_bucket"},
		{name: "role in file before general environment", role: "auth", env: []string{"backup_bucket=env"}, want: "special", source: ":2"},
		{name: "role in environment", role: "auth", env: []string{"backup_bucket_auth=env"}, want: "env", source: "environment backup_bucket_auth"},
		{name: "role with hyphen", role: "file-storage", env: []string{"backup_bucket_file_storage=env"}, want: "env", source: "environment backup_bucket_file_storage"},
		{name: "hyphens are no environment", env: []string{"backup-bucket=env"}, want: "general", source: ":1"},
		{name: "other case", env: []string{"BACKUP_BUCKET=env"}, want: "general", source: ":1"},
		{name: "empty environment", env: []string{"backup_bucket="}, want: "", source: "environment backup_bucket"},
		{name: "value with equals sign", env: []string{"backup_bucket=a=b"}, want: "a=b", source: "environment"},
		{name: "flag", role: "auth", env: []string{"backup_bucket_auth=env"}, flag: "flag", want: "flag", source: "flag --bucket"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := load(t, yaml, test.env...)
			if test.flag != "" {
				c.Override("backup-bucket", test.flag, "flag --bucket")
			}
			v := c.Get("backup-bucket", test.role)
			if v.Text != test.want || !v.Set || !strings.HasSuffix(v.Source, test.source) && !strings.HasPrefix(v.Source, test.source) {
				t.Errorf("got %+v, want %q from %q", v, test.want, test.source)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	c := load(t, "# nothing\n")
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"backup-s3-region":            "regionOne",
		"backup-s3-path-style-access": "false",
		"backup-bucket":               "",
		"backup-store":                "",
		"backup-time":                 "01:10",
		"backup-interval":             "24",
		"backup-daily-count":          "90",
		"backup-monthly-count":        "24",
		"file-storage-id":             host,
		"no-such-key":                 "",
	} {
		if v := c.Get(key, ""); v.Text != want || v.Set || v.Source != "default" || v.Key != key {
			t.Errorf("%s: got %+v, want %q by default", key, v, want)
		}
	}
}

func TestStoreComesFromBucket(t *testing.T) {
	c := load(t, "backup-bucket: b1\nbackup-bucket-auth: b2\n")
	if v := c.Get("backup-store", ""); v.Text != "s3://b1" || !strings.HasPrefix(v.Source, "backup-bucket, file ") {
		t.Errorf("got %+v", v)
	}
	if v := c.Get("backup-store", "auth"); v.Text != "s3://b2" {
		t.Errorf("got %+v", v)
	}
	c.Override("backup-store", "file:///archive", "flag --store")
	if v := c.Get("backup-store", "auth"); v.Text != "file:///archive" || v.Source != "flag --store" {
		t.Errorf("got %+v", v)
	}
}

func TestDefaultPath(t *testing.T) {
	t.Chdir(t.TempDir())
	c, err := Load("", nil)
	if err != nil || c.Get("backup-bucket", "").Set {
		t.Fatalf("without a file: %v", err)
	}
	if err := os.Mkdir("conf", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("conf/chipster.yaml", []byte("\nbackup-bucket: b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err = Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	if v := c.Get("backup-bucket", ""); v.Text != "b" || v.Source != "file conf/chipster.yaml:2" {
		t.Errorf("got %+v", v)
	}
	if _, err := Load("conf/other.yaml", nil); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "conf/other.yaml") {
		t.Errorf("a named file that is missing: %v", err)
	}
}

func TestRoles(t *testing.T) {
	c := load(t, "db-url-session-db: x\ndb-url-auth: y\ndb-url: z\ndb-urls-none: n\n", "db_url_job_history=h", "db_url_auth=e")
	if got, want := c.Roles(), []string{"auth", "job-history", "session-db"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if v := c.Get("db-url", "auth"); v.Text != "e" || v.Key != "db-url-auth" {
		t.Errorf("got %+v", v)
	}
}

// A database whose address is empty is switched off.
func TestRolesThatAreOff(t *testing.T) {
	c := load(t, "db-url-auth: jdbc:postgresql://host/auth\ndb-url-wiki: postgres://host/wiki\ndb-url-old: ''\n", "db_url_auth=", "db_url_new=postgres://host/new")
	if got := c.Roles(); !slices.Equal(got, []string{"new", "wiki"}) {
		t.Errorf("got %v", got)
	}
}

func TestAll(t *testing.T) {
	const yaml = `
backup-bucket: general
backup-bucket-file-storage: special
db-url-auth: jdbc:postgresql://host/auth
db-pass-session-db: p
backup-gpg-passphrase-file: /nowhere
other-system: 1
`
	keysOf := func(all []Value) (keys []string) {
		for _, v := range all {
			keys = append(keys, v.Key)
		}
		return keys
	}
	all := keysOf(load(t, yaml).All(""))
	for _, want := range []string{"backup-store", "backup-bucket", "backup-bucket-file-storage", "db-url-auth", "db-pass-auth", "db-pass-session-db", "tls-version"} {
		if !slices.Contains(all, want) {
			t.Errorf("%s is not in %v", want, all)
		}
	}
	for _, not := range []string{"other-system", "db-url", "db-pass", "db-url-session-db", "backup-gpg-passphrase-file"} {
		if slices.Contains(all, not) {
			t.Errorf("%s is in %v", not, all)
		}
	}
	if unique := slices.Compact(slices.Sorted(slices.Values(all))); len(unique) != len(all) {
		t.Errorf("a key is there twice: %v", all)
	}
	one := keysOf(load(t, yaml).All("file-storage"))
	if len(one) != len(knownKeys) || !slices.Contains(one, "backup-bucket-file-storage") || slices.Contains(one, "backup-bucket") {
		t.Errorf("for one role: %v", one)
	}
}

func TestTypedValues(t *testing.T) {
	c := load(t, "backup-time: 23:59\nbackup-interval: 06\nbackup-s3-path-style-access: True\nbackup-daily-count: 0\n")
	if h, m, err := c.TimeOfDay("backup-time", ""); h != 23 || m != 59 || err != nil {
		t.Errorf("time: %d:%d, %v", h, m, err)
	}
	if d, err := c.Hours("backup-interval", ""); d != 6*time.Hour || err != nil {
		t.Errorf("interval: %v, %v", d, err)
	}
	if b, err := c.Bool("backup-s3-path-style-access", ""); !b || err != nil {
		t.Errorf("path style: %v, %v", b, err)
	}
	if n, err := c.Int("backup-daily-count", ""); n != 0 || err != nil {
		t.Errorf("count: %v, %v", n, err)
	}
	if n, err := c.Int("backup-monthly-count", "auth"); n != 24 || err != nil {
		t.Errorf("default count: %v, %v", n, err)
	}
}

func TestTypedErrors(t *testing.T) {
	ask := map[string]func(*Config, string) error{
		"time":  func(c *Config, key string) error { _, _, err := c.TimeOfDay(key, ""); return err },
		"hours": func(c *Config, key string) error { _, err := c.Hours(key, ""); return err },
		"bool":  func(c *Config, key string) error { _, err := c.Bool(key, ""); return err },
		"int":   func(c *Config, key string) error { _, err := c.Int(key, ""); return err },
	}
	for kind, bad := range map[string][]string{
		"time":  {"1:10", "24:00", "01:60", "01:10:00", "70", "", "noon"},
		"hours": {"0", "-1", "1.5", "24h", "", "99999999999999999999"},
		"bool":  {"yes", "1", "", "on"},
		"int":   {"-1", "x", "", "1e3", "0x10"},
	} {
		for _, text := range bad {
			c := load(t, "k: '"+text+"'\n")
			err := ask[kind](c, "k")
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%s %q: got %v, want ErrInvalid", kind, text, err)
				continue
			}
			for _, part := range []string{"k is", `"` + text + `"`, "chipster.yaml:1"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not name %s", err, part)
				}
			}
		}
	}
}
