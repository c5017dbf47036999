package keys

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
)

const (
	chipsterFingerprint = "7A1A1B559703DFDD6E989EC646D95F152497AFB0"
	curveFingerprint    = "9379BD703C35CEF6C7184732DDFEDCCCBEC567DA"
)

func readFile(t testing.TB, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "original", file))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func mustParse(t testing.TB, data []byte) openpgp.EntityList {
	t.Helper()
	list, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func parseFile(t testing.TB, file string) openpgp.EntityList {
	t.Helper()
	return mustParse(t, readFile(t, file))
}

func unbase64(t testing.TB, text []byte) []byte {
	t.Helper()
	data, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func concat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func crlf(data []byte) []byte { return bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n")) }

func neverAsked(t *testing.T) func(string) ([]byte, error) {
	return func(string) ([]byte, error) {
		t.Error("asked for the passphrase of an unprotected key")
		return nil, nil
	}
}

func TestParsePublicForms(t *testing.T) {
	chipster, curve := readFile(t, "chipster.public.asc"), readFile(t, "curve.public.asc")
	private := readFile(t, "chipster.private.base64")
	both := []string{chipsterFingerprint, curveFingerprint}
	tests := map[string]struct {
		data []byte
		want []string
	}{
		"armored":                 {chipster, both[:1]},
		"several blocks":          {concat([]byte("# the team's keys\n"), chipster, []byte("\ntext\n"), curve), both},
		"Windows line ends":       {crlf(concat(chipster, curve)), both},
		"base64 of a private key": {private, both[:1]},
		"one line of base64":      {bytes.ReplaceAll(private, []byte("\n"), nil), both[:1]},
		"binary":                  {concat(unbase64(t, private), unbase64(t, readFile(t, "curve.private.base64"))), both},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			list, err := ParsePublic(test.data)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, entity := range list {
				got = append(got, Fingerprint(entity))
				if hasPrivate(entity) || entity.PrivateKey != nil {
					t.Errorf("%s holds a private part", Fingerprint(entity))
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("fingerprints %v, want %v", got, test.want)
			}
		})
	}
}

func TestEncryptionKeyIDs(t *testing.T) {
	chipster, curve := readFile(t, "chipster.public.asc"), readFile(t, "curve.public.asc")
	// The RSA key has no subkey: its primary key encrypts.
	want := []string{"46D95F152497AFB0", "6F9E8313AEB2C0DE"}
	for _, order := range [][]byte{concat(chipster, curve), concat(curve, chipster, curve)} {
		if got := EncryptionKeyIDs(mustParse(t, order)); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

func TestParsePrivateOriginal(t *testing.T) {
	for file, want := range map[string]string{
		"chipster.private.base64": chipsterFingerprint,
		"curve.private.base64":    curveFingerprint,
	} {
		list, err := ParsePrivate(readFile(t, file), neverAsked(t))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if got := Fingerprint(list[0]); got != want || list[0].PrivateKey.PrivateKey == nil {
			t.Errorf("%s: %s, want %s, unlocked", file, got, want)
		}
	}
}

// Keys as administrators have them: made and exported by gpg, in all forms.
func TestParsePrivateFromGPG(t *testing.T) {
	g := newGPG(t)
	g.generate("one <one@localhost>", "rsa2048", "encrypt", "never", "first secret")
	g.generate("two <two@localhost>", "future-default", "default", "never", "first secret")
	export := func(args ...string) []byte {
		return g.run(nil, append(g.withPassphrase("first secret"), args...)...)
	}
	binary := export("--export-secret-keys")
	public := export("--armor", "--export")
	forms := map[string][]byte{
		"binary":      binary,
		"armored":     export("--armor", "--export-secret-keys"),
		"base64":      []byte(base64.StdEncoding.EncodeToString(binary)),
		"with public": concat(public, export("--armor", "--export-secret-keys")),
	}
	for name, data := range forms {
		t.Run(name, func(t *testing.T) {
			var asked []string
			list, err := ParsePrivate(data, func(id string) ([]byte, error) {
				asked = append(asked, id)
				return []byte("first secret"), nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(list) != 2 || len(asked) != 2 || asked[0] != list[0].PrimaryKey.KeyIdString() {
				t.Fatalf("%d keys, asked for %v", len(list), asked)
			}
			for _, entity := range list {
				if isProtected(entity) {
					t.Errorf("%s is still locked", name)
				}
			}
		})
	}
	t.Run("wrong passphrase", func(t *testing.T) {
		_, err := ParsePrivate(binary, func(string) ([]byte, error) { return []byte("no such secret"), nil })
		if !errors.Is(err, ErrPassphrase) || strings.Contains(err.Error(), "no such secret") {
			t.Errorf("got %v, want ErrPassphrase without the passphrase", err)
		}
	})
	t.Run("no passphrase", func(t *testing.T) {
		if _, err := ParsePrivate(binary, nil); !errors.Is(err, ErrPassphrase) {
			t.Errorf("got %v, want ErrPassphrase", err)
		}
	})
	t.Run("asking fails", func(t *testing.T) {
		want := errors.New("no terminal")
		if _, err := ParsePrivate(binary, func(string) ([]byte, error) { return nil, want }); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	})
	t.Run("exported again as it is", func(t *testing.T) {
		entity := mustParse(t, binary)[0]
		var again bytes.Buffer
		if err := ExportPrivate(&again, entity); err != nil {
			t.Fatal(err)
		}
		if !isProtected(mustParse(t, again.Bytes())[0]) {
			t.Error("the export lost the passphrase")
		}
		other := newGPG(t)
		other.run(unbase64(t, again.Bytes()), "--import")
	})
}

// A careful administrator keeps the primary key offline: gpg then exports a stub
// in its place, which opens nothing and needs no passphrase.
func TestOfflinePrimaryKey(t *testing.T) {
	g := newGPG(t)
	g.generate("split <split@localhost>", "future-default", "default", "never", "")
	g.generate("signer <signer@localhost>", "ed25519", "sign", "never", "")
	export := func(user string) []byte {
		return g.run(nil, append(g.withPassphrase(""), "--export-secret-subkeys", user)...)
	}
	list, err := ParsePrivate(export("split"), neverAsked(t))
	if err != nil {
		t.Fatal(err)
	}
	if !list[0].PrivateKey.Dummy() || list[0].Subkeys[0].PrivateKey.PrivateKey == nil {
		t.Error("want a stub and an unlocked subkey")
	}
	if err := ExportPrivate(&bytes.Buffer{}, list[0]); err != nil {
		t.Errorf("export: %v", err)
	}
	if _, err := ParsePrivate(export("signer"), neverAsked(t)); !errors.Is(err, ErrNoKey) {
		t.Errorf("a stub alone: got %v, want ErrNoKey", err)
	}
}

func TestParseErrors(t *testing.T) {
	chipster := readFile(t, "chipster.public.asc")
	private := unbase64(t, readFile(t, "chipster.private.base64"))
	message := []byte("-----BEGIN PGP MESSAGE-----\n\naGVsbG8=\n-----END PGP MESSAGE-----\n")
	tests := map[string]struct {
		data []byte
		is   error
		text string
	}{
		"empty":              {nil, ErrNoKey, "no OpenPGP key"},
		"blank":              {[]byte(" \n"), ErrNoKey, "no OpenPGP key"},
		"text":               {[]byte("correct horse battery staple\n"), ErrNoKey, "no OpenPGP key"},
		"message":            {message, ErrNoKey, "this is a PGP MESSAGE"},
		"base64 of nonsense": {[]byte("aGVsbG8="), ErrNoKey, "no OpenPGP key"},
		"too large":          {make([]byte, MaxSize+1), ErrTooLarge, "too large"},
		"no end line":        {chipster[:len(chipster)/2], nil, "cut off"},
		"cut off":            {private[:len(private)/2], nil, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for _, parse := range []func([]byte) (openpgp.EntityList, error){
				Parse, ParsePublic,
				func(data []byte) (openpgp.EntityList, error) { return ParsePrivate(data, neverAsked(t)) },
			} {
				list, err := parse(test.data)
				if err == nil {
					t.Fatalf("no error, %d keys", len(list))
				}
				if test.is != nil && !errors.Is(err, test.is) {
					t.Errorf("error %q is not %q", err, test.is)
				}
				if !strings.Contains(err.Error(), test.text) {
					t.Errorf("error %q, want %q in it", err, test.text)
				}
			}
		})
	}
}

func TestParsePrivateOfAPublicKey(t *testing.T) {
	_, err := ParsePrivate(readFile(t, "chipster.public.asc"), neverAsked(t))
	if !errors.Is(err, ErrNoKey) || !strings.Contains(err.Error(), "public key") {
		t.Errorf("got %v, want ErrNoKey that speaks of a public key", err)
	}
}

// A damaged key beside a good one: opening goes on with the good one, sealing
// must not.
func TestDamagedNeighbour(t *testing.T) {
	curve := unbase64(t, readFile(t, "curve.private.base64"))
	bad := slices.Clone(curve)
	bad[len(bad)-1] ^= 1 // in the signature of the subkey
	data := concat(bad, unbase64(t, readFile(t, "chipster.private.base64")))
	if list, err := ParsePrivate(data, neverAsked(t)); err != nil || len(list) != 1 || Fingerprint(list[0]) != chipsterFingerprint {
		t.Errorf("private: %d keys, %v", len(list), err)
	}
	if list, err := ParsePublic(data); err == nil || !strings.Contains(err.Error(), "key 1 of 2") {
		t.Errorf("public: %d keys, error %v, want one about key 1 of 2", len(list), err)
	}
}

func TestCanEncrypt(t *testing.T) {
	g := newGPG(t)
	g.generate("short <short@localhost>", "future-default", "default", "seconds=3600", "")
	g.generate("signer <signer@localhost>", "rsa2048", "sign", "never", "")
	g.generate("gone <gone@localhost>", "future-default", "default", "never", "")
	revoke := func() []byte {
		id := strings.TrimSpace(fingerprintOf(t, g, "gone"))
		data, err := os.ReadFile(filepath.Join(g.home, "openpgp-revocs.d", id+".rev"))
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Replace(data, []byte(":-----BEGIN"), []byte("-----BEGIN"), 1) // gpg's guard against accidents
	}
	g.run(revoke(), "--import")

	now := time.Now()
	tests := []struct {
		user, reason string
		at           time.Time
	}{
		{"short", "", now},
		{"short", "expired on", now.Add(2 * time.Hour)},
		{"short", "check the clock", now.Add(-24 * time.Hour)},
		{"signer", "no encryption subkey", now},
		{"gone", "revoked", now},
	}
	for _, test := range tests {
		data := g.run(nil, "--armor", "--export", test.user)
		err := CanEncrypt(mustParse(t, data)[0], test.at)
		if test.reason == "" {
			if err != nil {
				t.Errorf("%s: %v", test.user, err)
			}
			continue
		}
		if !errors.Is(err, ErrCannotEncrypt) || !strings.Contains(err.Error(), test.reason) || !strings.Contains(err.Error(), test.user) {
			t.Errorf("%s at %v: got %v, want ErrCannotEncrypt with %q", test.user, test.at, err, test.reason)
		}
		if test.at.Equal(now) {
			if _, err := ParsePublic(data); !errors.Is(err, ErrCannotEncrypt) {
				t.Errorf("ParsePublic of %s: %v", test.user, err)
			}
		}
	}
}

func fingerprintOf(t *testing.T, g gpg, user string) string {
	t.Helper()
	return Fingerprint(mustParse(t, g.run(nil, "--armor", "--export", user))[0])
}

func TestDescribe(t *testing.T) {
	info := Describe(parseFile(t, "curve.private.base64")[0], time.Now())
	if info.Fingerprint != curveFingerprint || info.Algorithm != "Ed25519" || info.EncryptionAlgorithm != "Curve25519" ||
		!info.Private || info.Protected || info.Expires != nil || info.Problem != "" ||
		!slices.Equal(info.UserIDs, []string{"curve <curve@localhost>"}) {
		t.Errorf("got %+v", info)
	}
	info = Describe(parseFile(t, "chipster.public.asc")[0], time.Time{})
	if info.Algorithm != "RSA-4096" || info.Private || info.Problem == "" || len(info.EncryptionKeys) != 0 {
		t.Errorf("got %+v", info)
	}
}
