package keys

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// What firn generates must work in gpg with nothing else at hand: that is how a
// backup is restored without firn.
func TestGPGUsesGeneratedKeys(t *testing.T) {
	tests := []struct {
		name    string
		options Options
	}{
		{"RSA-2048", Options{Name: "chipster", Email: "chipster@localhost", Bits: 2048}},
		{"RSA-3072 with passphrase", Options{Name: "chipster", Bits: 3072, Passphrase: []byte("correct horse")}},
		{"RSA-4096 by default", Options{Email: "chipster@localhost"}},
		{"curve", Options{Name: "chipster", Curve25519: true}},
		{"curve with passphrase", Options{Name: "Ä chipster", Curve25519: true, Passphrase: []byte("correct hörse")}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			entity, err := Generate(test.options)
			if err != nil {
				t.Fatal(err)
			}
			var public, private bytes.Buffer
			if err := ExportPublic(&public, entity); err != nil {
				t.Fatal(err)
			}
			if err := ExportPrivate(&private, entity); err != nil {
				t.Fatal(err)
			}
			binary, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(private.String(), "\n", ""))
			if err != nil {
				t.Fatal(err)
			}

			sealer := newGPG(t)
			sealer.run(public.Bytes(), "--import")
			message := []byte("a message of some length")
			sealed := sealer.run(message, "--encrypt", "--recipient", Fingerprint(entity))
			if bytes.Contains(sealer.run(nil, "--list-secret-keys", "--with-colons"), []byte("sec:")) {
				t.Error("the public export holds a private key")
			}

			opener := newGPG(t)
			opener.run(binary, "--import")
			var unlock []string
			if test.options.Passphrase != nil {
				if out, _, err := opener.try(sealed, append(opener.withPassphrase("wrong"), "--decrypt")...); err == nil {
					t.Errorf("gpg opened %q with a wrong passphrase", out)
				}
				unlock = opener.withPassphrase(string(test.options.Passphrase))
			}
			if got := opener.run(sealed, append(unlock, "--decrypt")...); !bytes.Equal(got, message) {
				t.Errorf("gpg opened %q, want %q", got, message)
			}
		})
	}
}

// A key must not invite other software to write what gpg 2.2 cannot read.
func TestGeneratedPreferences(t *testing.T) {
	for _, curve := range []bool{false, true} {
		entity, err := Generate(Options{Name: "n", Bits: 2048, Curve25519: curve})
		if err != nil {
			t.Fatal(err)
		}
		self, _ := entity.PrimarySelfSignature()
		switch {
		case entity.PrimaryKey.Version != 4:
			t.Errorf("version %d", entity.PrimaryKey.Version)
		case self.SEIPDv2 || !self.SEIPDv1 || len(self.PreferredCipherSuites) > 0:
			t.Errorf("features: SEIPDv1 %v, SEIPDv2 %v, suites %v", self.SEIPDv1, self.SEIPDv2, self.PreferredCipherSuites)
		case self.PreferredSymmetric[0] != uint8(packet.CipherAES256):
			t.Errorf("ciphers %v do not begin with AES-256", self.PreferredSymmetric)
		case !bytes.Equal(self.PreferredHash, []byte{10, 8}): // SHA-512, SHA-256
			t.Errorf("hashes %v", self.PreferredHash)
		case !bytes.Equal(self.PreferredCompression, []byte{0}): // none
			t.Errorf("compressions %v", self.PreferredCompression)
		case expiry(entity.PrimaryKey, self) != nil:
			t.Error("the key expires")
		}
	}
}

func TestGenerateTime(t *testing.T) {
	at := time.Date(2024, 8, 6, 1, 10, 0, 0, time.UTC)
	entity, err := Generate(Options{Name: "n", Curve25519: true, Time: at})
	if err != nil {
		t.Fatal(err)
	}
	if got := entity.PrimaryKey.CreationTime; !got.Equal(at) {
		t.Errorf("created %v, want %v", got, at)
	}
}

func TestGenerateRefuses(t *testing.T) {
	tests := map[string]Options{
		"no name":      {Curve25519: true},
		"weak":         {Name: "n", Bits: 1024},
		"huge":         {Name: "n", Bits: 1 << 20},
		"angle":        {Name: "n <x@y>", Curve25519: true},
		"control":      {Name: "a\nb", Curve25519: true},
		"control mail": {Name: "a", Email: "b\x1b[2J", Curve25519: true},
	}
	for name, options := range tests {
		if _, err := Generate(options); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestExportPrivateNeedsAPrivateKey(t *testing.T) {
	public := parseFile(t, "chipster.public.asc")
	if err := ExportPrivate(&bytes.Buffer{}, public[0]); !errors.Is(err, ErrNoKey) {
		t.Errorf("got %v, want ErrNoKey", err)
	}
}

// The files that administrators have were made with `gpg | base64`. Exporting
// them again gives the same packets; only the headers are in the newer form.
func TestExportIsTheOriginalForm(t *testing.T) {
	for _, file := range []string{"chipster", "curve"} {
		original := readFile(t, file+".private.base64")
		entity := mustParse(t, original)[0]
		var private, public bytes.Buffer
		if err := ExportPrivate(&private, entity); err != nil {
			t.Fatal(err)
		}
		if got, want := packets(t, private.Bytes()), packets(t, original); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: the packets of the private export differ", file)
		}
		lines := strings.SplitAfter(private.String(), "\n")
		for i, line := range lines[:len(lines)-2] {
			if len(line) != 77 {
				t.Errorf("%s: line %d has %d bytes, want 76 and the line end", file, i, len(line))
			}
		}
		if err := ExportPublic(&public, entity); err != nil {
			t.Fatal(err)
		}
		if got, want := packets(t, public.Bytes()), packets(t, readFile(t, file+".public.asc")); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: the packets of the public export differ", file)
		}
	}
}

func packets(t *testing.T, data []byte) []packet.OpaquePacket {
	t.Helper()
	binary, err := decode(data)
	if err != nil {
		t.Fatal(err)
	}
	var all []packet.OpaquePacket
	for r := packet.NewOpaqueReader(bytes.NewReader(binary)); ; {
		p, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, *p)
	}
}
