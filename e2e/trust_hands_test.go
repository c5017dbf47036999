package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// hands are keys of all kinds, in files: <name>.asc is public, <name> private.
type hands struct {
	*world
	ids map[string]string // long ids of the primary keys
}

// A key that is not, or no longer, the right one has an answer of its own: for
// who would seal for it, before anything is written; for who would open with
// it, and without it.
func TestWrongHands(t *testing.T) {
	t.Parallel()
	h := &hands{world: newWorld(t).withFolder(), ids: map[string]string{}}
	for file, content := range map[string]string{"secret": "correct horse\n", "wrong": "battery staple\n", "empty": "\n", "garbage": "no key\n"} {
		must(t, os.WriteFile(h.path(file), []byte(content), 0o600))
	}
	h.firn("key", "generate", "--curve25519", "--public", "locked.asc", "--private", "locked", "--passphrase-file", "secret")
	h.firn("key", "generate", "--curve25519", "--public", "other.asc", "--private", "other")
	// Made in 2020: "old" has expired, the others expire later, and are revoked.
	h.generate("old", "future-default default", "30d")
	h.generate("sign", "ed25519 sign", "0")
	h.generate("expired", "future-default default", "0")
	h.generate("revoked", "future-default default", "0")
	must(t, os.WriteFile(filepath.Join(h.storage, "file"), []byte("content"), 0o644))

	t.Run("upload", func(t *testing.T) {
		for _, test := range []struct {
			name  string
			code  int
			args  []string
			words string // that the message holds
		}{
			{"expired", 1, []string{"--recipient", "old.asc"}, h.ids["old"] + ".* expired on 2020-01-31"},
			{"expired, and a good one", 1, []string{"--recipient", "locked.asc", "--recipient", "old.asc"}, h.ids["old"] + ".* expired on 2020-01-31"},
			{"only for signatures", 1, []string{"--recipient", "sign.asc"}, h.ids["sign"] + ".* no encryption subkey"},
			{"missing", 4, []string{"--recipient", "missing.asc"}, "missing.asc: no such file"},
			{"no key", 1, []string{"--recipient", "garbage"}, "garbage: no OpenPGP key"},
			{"missing passphrase file", 4, []string{"--passphrase-file", "missing"}, "missing"},
			{"empty passphrase file", 1, []string{"--passphrase-file", "empty"}, "empty"}, // not: sealed for nobody
		} {
			h.refused(t, test.name, test.code, test.words, slices.Concat([]string{"upload", "files", h.storage, "--name", "file-storage"}, test.args)...)
		}
	})

	// While they are good, backups are made for them.
	for _, name := range []string{"locked", "expired", "revoked"} {
		h.firn("upload", "files", h.storage, "--name", name, "--recipient", name+".asc")
	}
	h.firn("upload", "files", h.storage, "--name", "phrase", "--passphrase-file", "secret")
	h.firn("archive", h.archive)
	before := tree(t, h.path("bucket"))
	h.expire("expired")
	h.revoke("revoked")

	t.Run("upload later", func(t *testing.T) {
		for name, words := range map[string]string{"expired": "expired on 2021-04-01", "revoked": "revoked.* 2021-03-02"} {
			h.refused(t, name, 1, h.ids[name]+".*"+words, "upload", "files", h.storage, "--name", name, "--recipient", name+".asc")
		}
		sameTree(t, "the bucket", tree(t, h.path("bucket")), before, 0o777)
	})
	t.Run("restore", h.testRestore)
	t.Run("mount", h.testMount)
}

func (h *hands) testRestore(t *testing.T) {
	for _, test := range []struct {
		name, version string
		code          int
		open          []string
		words         string
	}{
		{"no key", "locked", 5, nil, "sealed for key [0-9A-F]{16}; give the private key with --key"},
		{"another key", "locked", 5, []string{"--key", "other"}, "no key opens .* sealed for key [0-9A-F]{16}"},
		{"no passphrase of the key", "locked", 5, []string{"--key", "locked"}, "private key [0-9A-F]{16}.* --passphrase-file"},
		{"wrong passphrase of the key", "locked", 5, []string{"--key", "locked", "--passphrase-file", "wrong"}, "private key [0-9A-F]{16}.* wrong passphrase"},
		{"missing key", "locked", 4, []string{"--key", "missing"}, "missing: no such file"},
		{"missing passphrase file", "locked", 4, []string{"--key", "locked", "--passphrase-file", "missing"}, "missing: no such file"},
		{"public key", "locked", 1, []string{"--key", "locked.asc"}, "this is a public key, give the private one"},
		{"garbage", "locked", 1, []string{"--key", "garbage"}, "garbage: no OpenPGP key"},
		{"no passphrase", "phrase", 5, nil, "sealed for a passphrase.* --passphrase-file"},
		{"wrong passphrase", "phrase", 5, []string{"--passphrase-file", "wrong"}, "sealed for a passphrase"},
		{"a key for a passphrase", "phrase", 5, []string{"--key", "other"}, "sealed for a passphrase"},
		// What was sealed in good time is opened for ever.
		{"expired", "expired", 0, []string{"--key", "expired"}, ""},
		{"revoked", "revoked", 0, []string{"--key", "revoked"}, ""},
		{"protected", "locked", 0, []string{"--key", "locked", "--passphrase-file", "secret"}, ""},
		{"passphrase", "phrase", 0, []string{"--passphrase-file", "secret"}, ""},
	} {
		to := filepath.Join(t.TempDir(), "restored")
		args := slices.Concat([]string{"restore", h.archive, test.version + "/latest", "--to", to, h.catalog()}, test.open)
		if test.code == 0 {
			h.firn(args...)
			sameTree(t, test.name, tree(t, to), tree(t, h.storage), 0o777)
			continue
		}
		h.refused(t, test.name, test.code, test.words, args...)
		if found, _ := filepath.Glob(to + "/*"); len(found) > 0 {
			t.Errorf("%s: there is %q", test.name, found)
		}
	}
}

func (h *hands) testMount(t *testing.T) {
	for _, test := range []struct {
		name, version string
		open          []string
		words         string // of the log; "": the file can be read
	}{
		{"no key", "locked", nil, "sealed for key [0-9A-F]{16}"},
		{"another key", "locked", []string{"--key", "other"}, "sealed for key [0-9A-F]{16}"},
		{"no passphrase", "phrase", nil, "sealed for a passphrase"},
		{"wrong passphrase", "phrase", []string{"--passphrase-file", "wrong"}, "sealed for a passphrase"},
		{"expired", "expired", []string{"--key", "expired"}, ""},
		{"revoked", "revoked", []string{"--key", "revoked"}, ""},
	} {
		dir, output := h.mountLogged([]string{"mount", h.archive}, append(test.open, h.catalog()))
		_, err := os.ReadFile(filepath.Join(dir, test.version, "latest", "file"))
		log := output()
		switch {
		case test.words == "" && err != nil:
			t.Errorf("%s: %v\n%s", test.name, err, log)
		case test.words != "" && (!errors.Is(err, syscall.EACCES) || !regexp.MustCompile(`path=file.*`+test.words).MatchString(log)):
			t.Errorf("%s: %v; the log does not say %q\n%s", test.name, err, test.words, log)
		}
	}
	// What cannot work at all is not mounted.
	mountpoint := t.TempDir()
	for _, test := range []struct {
		name, words string
		code        int
		open        []string
	}{
		{"no passphrase of the key", "private key [0-9A-F]{16}.* --passphrase-file", 5, []string{"--key", "locked"}},
		{"wrong passphrase of the key", "private key [0-9A-F]{16}.* wrong passphrase", 5, []string{"--key", "locked", "--passphrase-file", "wrong"}},
		{"missing key", "missing: no such file", 4, []string{"--key", "missing"}},
		{"public key", "this is a public key, give the private one", 1, []string{"--key", "locked.asc"}},
	} {
		h.refused(t, test.name, test.code, test.words, slices.Concat([]string{"mount", h.archive, mountpoint, h.catalog()}, test.open)...)
		if isMounted(mountpoint) {
			t.Errorf("%s: it is mounted", test.name)
		}
	}
}

// refused runs firn, where it has no terminal to ask on, and demands an exit
// code, one line that says why, and that the bucket stays as it is.
func (h *hands) refused(t *testing.T, name string, code int, words string, args ...string) {
	t.Helper()
	before := tree(t, h.path("bucket"))
	_, stderr, got := h.run(nil, "setsid", slices.Concat([]string{"--wait", firn, "--quiet"}, args)...)
	last := stderr[strings.LastIndex(strings.TrimSuffix(stderr, "\n"), "\n")+1:]
	if got != code || !strings.HasPrefix(last, "firn: ") || !regexp.MustCompile(words).MatchString(last) {
		t.Errorf("%s: exit code %d, not %d, or not %q:\n%s", name, got, code, words, stderr)
	}
	if after := tree(t, h.path("bucket")); len(after) != len(before) {
		t.Errorf("%s: the bucket has %d files, and had %d", name, len(after), len(before))
	}
}

// generate has gpg make a key, as of the first day of 2020.
func (h *hands) generate(name, kind, expires string) {
	h.Helper()
	h.shell(`gpg --batch --quiet --faked-system-time '20200101T000000!' --passphrase '' --quick-gen-key "$1 <$1@example.org>" $2 "$3"`,
		name, kind, expires)
	h.export(name)
	colons := h.must("gpg", "--batch", "--with-colons", "--list-keys", name+"@example.org")
	h.ids[name] = regexp.MustCompile(`(?m)^pub:[^:]*:[^:]*:[^:]*:([0-9A-F]{16}):`).FindStringSubmatch(colons)[1]
}

// expire and revoke change a key later, as of a day in March 2021.
func (h *hands) expire(name string) {
	h.Helper()
	h.shell(`gpg --batch --quiet --faked-system-time '20210302T000000!' --passphrase '' --quick-set-expire \
		$(gpg --batch --with-colons --list-keys "$1@example.org" | awk -F: '$1 == "fpr" { print $10; exit }') 30d`, name)
	h.export(name)
}

func (h *hands) revoke(name string) {
	h.Helper()
	h.shell(`printf 'y\n0\n\ny\n' | gpg --quiet --no-tty --pinentry-mode loopback --passphrase '' --faked-system-time '20210302T000000!' \
		--command-fd 0 --status-fd 1 --output "$1.rev" --gen-revoke "$1@example.org"
		gpg --batch --quiet --import "$1.rev"`, name)
	h.export(name)
}

func (h *hands) export(name string) {
	h.Helper()
	h.shell(`gpg --batch --armor --export "$1@example.org" >"$1.asc"
		gpg --batch --armor --pinentry-mode loopback --passphrase '' --export-secret-keys "$1@example.org" >"$1"`, name)
}
