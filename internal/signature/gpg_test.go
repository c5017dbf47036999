package signature

import (
	"bytes"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/chipster/firn/internal/gpgtest"
	"github.com/chipster/firn/internal/keys"
)

// gpg is a key ring of the real gpg in a directory of its own.
type gpg struct {
	t    *testing.T
	home string
}

func newGPG(t *testing.T) gpg { return gpg{t, gpgtest.Home(t)} }

// try returns the output and the messages.
func (g gpg) try(stdin []byte, args ...string) (stdout []byte, stderr string, err error) {
	var out, messages bytes.Buffer
	always := []string{"--homedir", g.home, "--batch", "--no-tty", "--trust-model", "always", "--pinentry-mode", "loopback", "--passphrase", ""}
	cmd := exec.Command("gpg", append(always, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &messages
	err = cmd.Run()
	return out.Bytes(), messages.String(), err
}

func (g gpg) run(stdin []byte, args ...string) []byte {
	g.t.Helper()
	out, messages, err := g.try(stdin, args...)
	if err != nil {
		g.t.Fatalf("gpg %s: %v\n%s", strings.Join(args, " "), err, messages)
	}
	return out
}

// importPrivate brings a key in as its owner would.
func (g gpg) importPrivate(e *openpgp.Entity) {
	g.t.Helper()
	var private bytes.Buffer
	if err := keys.ExportPrivate(&private, e); err != nil {
		g.t.Fatal(err)
	}
	binary, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(private.String(), "\n", ""))
	if err != nil {
		g.t.Fatal(err)
	}
	g.run(binary, "--import")
}

// exported is the key as its owner hands it out.
func (g gpg) exported(id string) *openpgp.Entity {
	g.t.Helper()
	list, err := keys.Parse(g.run(nil, "--armor", "--export", id))
	if err != nil {
		g.t.Fatal(err)
	}
	return list[0]
}

func (g gpg) fingerprint(id string) string {
	g.t.Helper()
	return keys.Fingerprint(g.exported(id))
}

func (g gpg) sign(id string, args ...string) []byte {
	g.t.Helper()
	return g.run(list, append(args, "--local-user", id, "--detach-sign")...)
}

// The list and its signature can be checked with nothing else at hand.
func TestGPGVerifies(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]*openpgp.Entity{"RSA": rsaKey(), "curve": newCurve(), "signing subkey": newWithSubkey()} {
		t.Run(name, func(t *testing.T) {
			var public bytes.Buffer
			if err := keys.ExportPublic(&public, e); err != nil {
				t.Fatal(err)
			}
			g := newGPG(t)
			g.run(public.Bytes(), "--import")
			file := filepath.Join(t.TempDir(), "backup-info")
			write(t, file, list)
			write(t, file+".sig", sign(t, signer(t, e), object, list))

			status := string(g.run(nil, "--status-fd", "1", "--verify", file+".sig", file))
			for _, want := range []string{
				"[GNUPG:] GOODSIG ", "[GNUPG:] VALIDSIG ", keys.Fingerprint(e),
				"[GNUPG:] NOTATION_NAME object@firn.chipster.github.io\n", "[GNUPG:] NOTATION_DATA " + object + "\n",
			} {
				if !strings.Contains(status, want) {
					t.Errorf("no %q in:\n%s", want, status)
				}
			}
			write(t, file, append(bytes.Clone(list), '\n'))
			if _, messages, err := g.try(nil, "--verify", file+".sig", file); err == nil || !strings.Contains(messages, "BAD signature") {
				t.Errorf("gpg accepts other bytes: %s", messages)
			}
		})
	}
}

func write(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

const setNotation = "--set-notation"

func TestSignedByGPG(t *testing.T) {
	t.Parallel()
	g := newGPG(t)
	rsa, curve := rsaKey(), newCurve()
	g.importPrivate(rsa)
	g.importPrivate(curve)
	g.run(nil, "--quick-generate-key", "own", "rsa2048", "cert", "never")
	g.run(nil, "--quick-add-key", g.fingerprint("own"), "ed25519", "sign", "1y")
	g.run(nil, "--quick-generate-key", "usual", "default", "default", "never")

	for _, id := range []string{keys.Fingerprint(rsa), keys.Fingerprint(curve), g.fingerprint("own"), g.fingerprint("usual")} {
		trusted := trust(t, g.exported(id))
		for name, sig := range map[string][]byte{
			"usual":       g.sign(id, setNotation, notation+"="+object),
			"critical":    g.sign(id, setNotation, "!"+notation+"="+object),
			"with others": g.sign(id, setNotation, "a@example.org=b", setNotation, notation+"="+object),
			"SHA-256":     g.sign(id, setNotation, notation+"="+object, "--digest-algo", "SHA256"),
		} {
			if got, err := trusted.Verify(object, bytes.NewReader(list), sig); err != nil || got != id {
				t.Errorf("%s, %s: key %q, error %v", id, name, got, err)
			}
		}
		for name, test := range map[string]struct {
			sig    []byte
			reason string
		}{
			"moved":            {g.sign(id, setNotation, notation+"="+another), "signed for"},
			"plain":            {g.sign(id), "does not say for what it is"},
			"SHA-1":            {g.sign(id, setNotation, notation+"="+object, "--digest-algo", "SHA1", "--allow-weak-digest-algos"), "SHA-1, which is too weak"},
			"text":             {g.sign(id, setNotation, notation+"="+object, "--textmode"), "not one of bytes"},
			"unknown critical": {g.sign(id, setNotation, "!a@example.org=b", setNotation, notation+"="+object), "who knows what"},
			"not detached":     {g.run(list, "--local-user", id, setNotation, notation+"="+object, "--compress-algo", "none", "--sign"), "OpenPGP packet of type 4"},
		} {
			_, err := trusted.Verify(object, bytes.NewReader(list), test.sig)
			wantUntrusted(t, err, test.reason)
			if t.Failed() {
				t.Fatalf("%s, %s", id, name)
			}
		}
	}
}

// The server that signs has the private part of a subkey alone, as gpg exports it.
func TestSubkeyExportedByGPG(t *testing.T) {
	t.Parallel()
	g := newGPG(t)
	parse := func(id string) openpgp.EntityList {
		list, err := keys.ParsePrivate(g.run(nil, "--export-secret-subkeys", id), nil)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	g.run(nil, "--quick-generate-key", "seals", "ed25519", "sign", "never")
	g.run(nil, "--quick-add-key", g.fingerprint("seals"), "cv25519", "encrypt", "never")
	if _, err := NewSigner(parse("seals")); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("without a private part that signs: %v", err)
	}
	g.run(nil, "--quick-add-key", g.fingerprint("seals"), "ed25519", "sign", "never")
	s, err := NewSigner(parse("seals"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trust(t, g.exported("seals")).Verify(object, bytes.NewReader(list), sign(t, s, object, list)); err != nil {
		t.Error(err)
	}
}

// Two who sign with gpg put their signatures one behind the other.
func TestTwoSignByGPG(t *testing.T) {
	t.Parallel()
	g := newGPG(t)
	rsa, curve := rsaKey(), newCurve()
	g.importPrivate(rsa)
	g.importPrivate(curve)
	sig := g.sign(keys.Fingerprint(rsa), "--local-user", keys.Fingerprint(curve), setNotation, notation+"="+object)
	for _, e := range []*openpgp.Entity{rsa, curve} {
		if got, err := trust(t, e).Verify(object, bytes.NewReader(list), sig); err != nil || got != keys.Fingerprint(e) {
			t.Errorf("key %q, error %v", got, err)
		}
	}
}

func TestRevokedByGPG(t *testing.T) {
	t.Parallel()
	g := newGPG(t)
	g.run(nil, "--quick-generate-key", "stolen", "default", "default", "never")
	id := g.fingerprint("stolen")
	sig := g.sign(id, setNotation, notation+"="+object)
	// gpg makes a revocation with each key, and disarms it by a colon.
	prepared := readFile(t, filepath.Join(g.home, "openpgp-revocs.d", id+".rev"))
	g.run(bytes.ReplaceAll(prepared, []byte(":-----BEGIN"), []byte("-----BEGIN")), "--import")
	_, err := trust(t, g.exported(id)).Verify(object, bytes.NewReader(list), sig)
	wantUntrusted(t, err, "key "+id+" is revoked")
}

// A key that was prolonged holds for what was signed meanwhile, and what was
// signed before it was.
func TestProlongedByGPG(t *testing.T) {
	t.Parallel()
	now := time.Now()
	e := newMortal(now.Add(-48*time.Hour), 24*time.Hour)
	early, late := odd(t, e, at(now.Add(-36*time.Hour))), odd(t, e, at(now.Add(-12*time.Hour)))
	before := trust(t, e)
	if _, err := before.Verify(object, bytes.NewReader(list), early); err != nil {
		t.Errorf("a key that expired since: %v", err)
	}
	_, err := before.Verify(object, bytes.NewReader(list), late)
	wantUntrusted(t, err, "expired on")

	g := newGPG(t)
	g.importPrivate(e)
	g.run(nil, "--quick-set-expire", keys.Fingerprint(e), "0")
	after := trust(t, g.exported(keys.Fingerprint(e)))
	for _, sig := range [][]byte{early, late} {
		if _, err := after.Verify(object, bytes.NewReader(list), sig); err != nil {
			t.Errorf("a key that was prolonged: %v", err)
		}
	}
}
