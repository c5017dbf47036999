package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestValuesStayAsWritten(t *testing.T) {
	const key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQINBG: sD\n=bSpZ\n-----END PGP PUBLIC KEY BLOCK-----\n"
	yaml := "backup-time: 01:10\ninterval: 24\noctal: 007\nyes: yes\nfloat: 1.50\nhex: 0x1F\ndate: 2024-08-06\n" +
		"quoted: \"a: b # c\"\nsingle: 'it''s'\nempty: ''\nnull1:\nnull2: ~\nplain: a#b # comment\nlong: one\n  two\n" +
		"anchor: &a text\nalias: *a\n" +
		"backup-gpg-public-key: |\n  " + strings.ReplaceAll(strings.TrimSuffix(key, "\n"), "\n", "\n  ") + "\nafter: x\n"
	c := load(t, yaml)
	for key, want := range map[string]string{
		"backup-time": "01:10", "interval": "24", "octal": "007", "yes": "yes", "float": "1.50", "hex": "0x1F",
		"date": "2024-08-06", "quoted": "a: b # c", "single": "it's", "empty": "", "plain": "a#b", "long": "one two",
		"anchor": "text", "alias": "text", "backup-gpg-public-key": key, "after": "x",
	} {
		if v := c.Get(key, ""); v.Text != want || !v.Set {
			t.Errorf("%s: got %+v, want %q", key, v, want)
		}
	}
	for _, key := range []string{"null1", "null2"} {
		if v := c.Get(key, ""); v.Set {
			t.Errorf("%s is set: %+v", key, v)
		}
	}
}

// badFiles maps what is wrong to what the error must name.
var badFiles = map[string]string{
	"a: 1\nbackup-bucket:\n  - x\n":       `chipster.yaml:2: key "backup-bucket"`,
	"db-url-auth: {a: 1}\n":               `chipster.yaml:1: key "db-url-auth"`,
	"db-user: b\na: 2\ndb-user: c\n":      `chipster.yaml:3: key "db-user": it is in line 1 already, with another value`,
	"- a\n- b\n":                          "chipster.yaml:1",
	"just text\n":                         "chipster.yaml:1",
	"a: 1\n---\nb: 2\n":                   "single YAML document",
	"a: 1\n b: 2\n":                       "line 2",
	"a: *nowhere\n":                       "nowhere",
	"? [x, y]\n: z\n":                     "chipster.yaml:1",
	"a: \"unfinished\n":                   "chipster.yaml",
	"<<: {a: 1}\n":                        `key "<<"`,
	"backup-time: 01:10\n\tbackup: tab\n": "chipster.yaml",
}

func TestBadFiles(t *testing.T) {
	for yaml, want := range badFiles {
		_, err := Load(write(t, "chipster.yaml", yaml, 0o600), nil)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want ErrInvalid with %q", yaml, err, want)
		}
	}
}

var goodFiles = []string{
	"a: 1\nother:\n  nested: x\n", "other: [x, y]\n", "a: &m {x: 1}\n", // for other programs
	"", "\n", "# comment\n", "---\n", "~\n", "{}\n", "a: 1\n", "a: &x 1\nb: *x\n", "key: |\n  line\n\n  line\n",
	"\ufeffa: 1\r\nb: 2\r\n", "{a: 1, b: 'x'}\n", "backup-time: 01:10\nbackup-bucket-auth: b\n",
}

// Chipster's chart for Kubernetes writes keys such as db-user once for each of
// three databases.
func TestKeysThatAreThereTwice(t *testing.T) {
	c := load(t, "db-user: chipster\nother: 1\ndb-user: chipster\nother: 2\nother: [3]\nbackup-bucket: b\n")
	if user, bucket := c.Get("db-user", "").Text, c.Get("backup-bucket", "").Text; user != "chipster" || bucket != "b" {
		t.Errorf("%q, %q", user, bucket)
	}
}

func TestSeeds(t *testing.T) {
	if len(goodFiles) < 10 || len(badFiles) < 10 {
		t.Fatal("seeds are missing")
	}
	for _, yaml := range goodFiles {
		if _, err := parseYAML("f", []byte(yaml)); err != nil {
			t.Errorf("%q: %v", yaml, err)
		}
	}
}

func FuzzParseYAML(f *testing.F) {
	for _, yaml := range goodFiles {
		f.Add([]byte(yaml))
	}
	for yaml := range badFiles {
		f.Add([]byte(yaml))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := parseYAML("f", data)
		if err != nil && (!errors.Is(err, ErrInvalid) || len(entries) > 0) {
			t.Fatalf("%d entries and error %v", len(entries), err)
		}
		for key, e := range entries {
			var line int
			if _, err := fmt.Sscanf(e.source, "file f:%d", &line); err != nil || line < 1 {
				t.Errorf("key %q has source %q", key, e.source)
			}
		}
	})
}
