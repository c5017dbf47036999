package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chipster/firn/internal/keys"
	"github.com/urfave/cli/v2"
)

// runKeyApp runs `firn` with the commands of this file and of config.go alone.
func runKeyApp(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, messages bytes.Buffer
	app := &cli.App{
		Name: "firn", Commands: []*cli.Command{keyCommand(), configCommand()},
		Reader: strings.NewReader(stdin), Writer: &out, ErrWriter: &messages,
	}
	err = app.Run(append([]string{"firn"}, args...))
	return out.String(), messages.String(), err
}

func mustRunKeyApp(t *testing.T, args ...string) string {
	t.Helper()
	out, _, err := runKeyApp(t, "", args...)
	if err != nil {
		t.Fatalf("firn %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func writeTestFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readTestFile(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestKeyGenerate(t *testing.T) {
	t.Chdir(t.TempDir())
	out := mustRunKeyApp(t, "key", "generate", "--curve25519", "--name", "chipster")
	public, err := keys.ParsePublic([]byte(readTestFile(t, "firn.public.asc")))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{keys.Fingerprint(public[0]), "firn.public.asc", "firn.private.base64 (not protected", "away from the host"} {
		if !strings.Contains(out, want) {
			t.Errorf("output is without %q:\n%s", want, out)
		}
	}
	info, err := os.Stat("firn.private.base64")
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("private key: mode %v, %v", info.Mode(), err)
	}
	if _, err := keys.ParsePrivate([]byte(readTestFile(t, "firn.private.base64")), nil); err != nil {
		t.Error(err)
	}
}

func TestKeyGenerateNeverOverwrites(t *testing.T) {
	for _, existing := range []string{"firn.public.asc", "firn.private.base64"} {
		t.Run(existing, func(t *testing.T) {
			t.Chdir(t.TempDir())
			writeTestFile(t, existing, "precious")
			_, _, err := runKeyApp(t, "", "key", "generate", "--curve25519")
			if err == nil || !strings.Contains(err.Error(), existing) {
				t.Errorf("got %v, want an error that names %s", err, existing)
			}
			if got := readTestFile(t, existing); got != "precious" {
				t.Errorf("overwritten: %q", got)
			}
			if files, _ := os.ReadDir("."); len(files) != 1 {
				t.Errorf("half a key pair was left: %v", files)
			}
		})
	}
}

func TestKeyGenerateLeavesNoHalf(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, public := range []string{"no/such/folder/key", "firn.private.base64"} {
		if _, _, err := runKeyApp(t, "", "key", "generate", "--curve25519", "--public", public); err == nil {
			t.Fatalf("--public %s: no error", public)
		}
		if files, _ := os.ReadDir("."); len(files) != 0 {
			t.Errorf("--public %s left %v", public, files)
		}
	}
}

func TestKeyGenerateEmptyPassphrase(t *testing.T) {
	t.Chdir(t.TempDir())
	writeTestFile(t, "secret", "\n")
	if _, _, err := runKeyApp(t, "", "key", "generate", "--curve25519", "--passphrase-file", "secret"); err == nil {
		t.Error("an empty passphrase made an unprotected key")
	}
}

func TestKeyShow(t *testing.T) {
	t.Chdir(t.TempDir())
	writeTestFile(t, "secret", "s3cret\n")
	mustRunKeyApp(t, "key", "generate", "--curve25519", "--name", "chipster", "--email", "c@x", "--passphrase-file", "secret")
	out := mustRunKeyApp(t, "key", "show", "firn.public.asc", "firn.private.base64")
	for _, want := range []string{"chipster <c@x>", "Ed25519", "Curve25519", "never", "private, protected by a passphrase"} {
		if !strings.Contains(out, want) {
			t.Errorf("output is without %q:\n%s", want, out)
		}
	}
	var shown []shownKey
	if err := json.Unmarshal([]byte(mustRunKeyApp(t, "key", "show", "--json", "firn.public.asc", "firn.private.base64")), &shown); err != nil {
		t.Fatal(err)
	}
	if len(shown) != 2 || shown[0].Private || !shown[1].Private || !shown[1].Protected ||
		shown[0].Fingerprint != shown[1].Fingerprint || len(shown[0].EncryptionKeys) != 1 {
		t.Errorf("got %+v", shown)
	}

	out, _, err := runKeyApp(t, readTestFile(t, "firn.public.asc"), "key", "show", "-")
	if err != nil || !strings.Contains(out, shown[0].Fingerprint) {
		t.Errorf("from standard input: %v\n%s", err, out)
	}
	if _, _, err := runKeyApp(t, "", "key", "show", "secret"); !errors.Is(err, keys.ErrNoKey) || !strings.Contains(err.Error(), "secret") {
		t.Errorf("no key: %v", err)
	}
	if _, _, err := runKeyApp(t, "", "key", "show"); err == nil {
		t.Error("no file: no error")
	}
}

func TestKeyExport(t *testing.T) {
	t.Chdir(t.TempDir())
	writeTestFile(t, "secret", "s3cret")
	mustRunKeyApp(t, "key", "generate", "--curve25519", "--passphrase-file", "secret")
	public, private := readTestFile(t, "firn.public.asc"), readTestFile(t, "firn.private.base64")

	if got := mustRunKeyApp(t, "key", "export", "firn.private.base64"); got != public {
		t.Errorf("public part of the private key:\n%s\nwant\n%s", got, public)
	}
	if got, _, err := runKeyApp(t, private, "key", "export", "--private", "-"); err != nil || got != private {
		t.Errorf("the private key changed, %v:\n%s", err, got)
	}
	mustRunKeyApp(t, "key", "export", "--private", "-o", "copy", "firn.private.base64")
	if info, err := os.Stat("copy"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("copy: mode %v, %v", info.Mode(), err)
	}
	if _, _, err := runKeyApp(t, "", "key", "export", "-o", "copy", "firn.private.base64"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("overwriting: %v", err)
	}
	if _, _, err := runKeyApp(t, "", "key", "export", "--private", "firn.public.asc"); !errors.Is(err, keys.ErrNoKey) {
		t.Errorf("private from public: %v", err)
	}
	if _, _, err := runKeyApp(t, "", "key", "export", "firn.public.asc", "-o", "late"); err == nil {
		t.Error("an option behind the file was ignored")
	}
}

func TestKeySource(t *testing.T) {
	t.Chdir(t.TempDir())
	writeTestFile(t, "secret", "s3cret\n")
	mustRunKeyApp(t, "key", "generate", "--curve25519", "--passphrase-file", "secret", "--private", "locked")
	mustRunKeyApp(t, "key", "generate", "--curve25519", "--private", "open", "--public", "open.asc")
	locked := readTestFile(t, "locked")
	noTerminal := func(string) ([]byte, error) { return nil, errNoTerminal }
	tests := []struct {
		name        string
		source      keySource
		env         map[string]string
		keys        int
		passphrases int
		err         error
	}{
		{name: "nothing"},
		{name: "file", source: keySource{keyFile: "open"}, keys: 1},
		{name: "missing file", source: keySource{keyFile: "none"}, err: fs.ErrNotExist},
		{name: "public key", source: keySource{keyFile: "open.asc"}, err: keys.ErrNoKey},
		{name: "standard input, passphrase file", source: keySource{keyFile: "-", passphraseFile: "secret", stdin: strings.NewReader(locked)}, keys: 1, passphrases: 1},
		{name: "empty standard input", source: keySource{keyFile: "-", stdin: strings.NewReader("")}, err: keys.ErrNoKey},
		{name: "environment", env: map[string]string{"FIRN_KEY": locked, "FIRN_PASSPHRASE": "s3cret"}, keys: 1, passphrases: 1},
		{name: "file before environment", source: keySource{keyFile: "open"}, env: map[string]string{"FIRN_KEY": "broken"}, keys: 1},
		{name: "file of passphrase before environment", source: keySource{keyFile: "locked", passphraseFile: "secret"}, env: map[string]string{"FIRN_PASSPHRASE": "x"}, keys: 1, passphrases: 1},
		{name: "wrong passphrase", source: keySource{keyFile: "locked"}, env: map[string]string{"FIRN_PASSPHRASE": "x"}, err: keys.ErrPassphrase},
		{name: "no terminal", source: keySource{keyFile: "locked"}, err: errNoTerminal},
		{name: "prompt", source: keySource{keyFile: "locked", prompt: func(string) ([]byte, error) { return []byte("s3cret"), nil }}, keys: 1},
		{name: "passphrase alone", source: keySource{passphraseFile: "secret"}, passphrases: 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.source.getenv = func(name string) string { return test.env[name] }
			if test.source.prompt == nil {
				test.source.prompt = noTerminal
			}
			list, passphrases, err := test.source.load()
			if !errors.Is(err, test.err) || len(list) != test.keys || len(passphrases) != test.passphrases {
				t.Fatalf("%d keys, %d passphrases, %v; want %d, %d, %v", len(list), len(passphrases), err, test.keys, test.passphrases, test.err)
			}
			if test.passphrases > 0 && string(passphrases[0]) != "s3cret" {
				t.Errorf("passphrase %q", passphrases[0])
			}
		})
	}
}

func TestLoadPrivateKeysFromFlags(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	mustRunKeyApp(t, "key", "generate", "--curve25519", "--private", key, "--public", filepath.Join(dir, "public"))
	t.Setenv("FIRN_PASSPHRASE", "s3cret")
	app := &cli.App{Flags: keyFlags(), Action: func(c *cli.Context) error {
		list, passphrases, err := loadPrivateKeys(c)
		if len(list) != 1 || len(passphrases) != 1 {
			t.Errorf("%d keys, %d passphrases", len(list), len(passphrases))
		}
		return err
	}}
	if err := app.Run([]string{"firn", "--key", key}); err != nil {
		t.Fatal(err)
	}
}
