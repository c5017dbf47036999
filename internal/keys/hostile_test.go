package keys

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/ProtonMail/go-crypto/openpgp/s2k"
)

// locked is a private key that Argon2 protects, as RFC 9580 allows.
func locked(t *testing.T, secret string) []byte {
	t.Helper()
	entity, err := Generate(Options{Name: "locked", Curve25519: true})
	if err != nil {
		t.Fatal(err)
	}
	config := &packet.Config{AEADConfig: &packet.AEADConfig{}, S2KConfig: &s2k.Config{
		S2KMode: s2k.Argon2S2K, Argon2Config: &s2k.Argon2Config{NumberOfPasses: 3, DegreeOfParallelism: 1, Memory: 16},
	}}
	if err := entity.EncryptPrivateKeys([]byte(secret), config); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := entity.SerializePrivateWithoutSigning(&b, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func ask(string) ([]byte, error) { return []byte("secret"), nil }

// A key file says how much memory and time unlocking takes. What is far too much
// is an error before anything is tried, and before the passphrase is asked for.
func TestUnlockingIsBounded(t *testing.T) {
	good := locked(t, "secret")
	if _, err := ParsePrivate(good, ask); err != nil {
		t.Fatalf("a modest one: %v", err)
	}
	if _, err := ParsePrivate(good, func(string) ([]byte, error) { return []byte("wrong"), nil }); !errors.Is(err, ErrPassphrase) {
		t.Errorf("another passphrase: %v", err)
	}
	var at int // of the passes, the parallelism and the memory, behind the salt
	if at = bytes.Index(good, []byte{3, 1, 4}); at < 0 {
		t.Fatal("the test does not find what to change")
	}
	for what, c := range map[string][3]byte{"two terabytes": {1, 1, 31}, "255 passes over two gigabytes": {255, 1, 21}, "four gigabytes": {1, 4, 22}} {
		bad := bytes.Clone(good)
		copy(bad[at:], c[:])
		_, err := ParsePrivate(bad, func(string) ([]byte, error) {
			t.Errorf("%s: the passphrase is asked for", what)
			return nil, errors.New("not asked")
		})
		if err == nil || !strings.Contains(err.Error(), "to unlock") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A key with very many locked subkeys would take a tenth of a second for each.
func TestManyLockedSubkeys(t *testing.T) {
	entity, err := Generate(Options{Name: "many", Curve25519: true, Passphrase: []byte("secret")})
	if err != nil {
		t.Fatal(err)
	}
	for range maxLocked {
		entity.Subkeys = append(entity.Subkeys, entity.Subkeys[0])
	}
	if err := unlock(entity, ask); err == nil || !strings.Contains(err.Error(), "private parts") {
		t.Errorf("%v", err)
	}
}

// Files of the largest size that are no keys, or hardly, take little time.
func TestHostileKeyFiles(t *testing.T) {
	curve := parseFile(t, "curve.public.asc")[0]
	var whole, identity bytes.Buffer
	if err := curve.Serialize(&whole); err != nil {
		t.Fatal(err)
	}
	for _, id := range curve.Identities {
		if err := errors.Join(id.UserId.Serialize(&identity), id.SelfSignature.Serialize(&identity)); err != nil {
			t.Fatal(err)
		}
	}
	primary := new(bytes.Buffer)
	if err := curve.PrimaryKey.Serialize(primary); err != nil {
		t.Fatal(err)
	}
	fill := func(b []byte) []byte { return bytes.Repeat(b, MaxSize/4/len(b)) }
	subpackets := append([]byte{0xc2, 255, 0, 0, 0xff, 0xff, 4, 0x13, 1, 8, 0xff, 0}, bytes.Repeat([]byte{2, 101, 1}, 0xff00/3)...)
	for what, data := range map[string][]byte{
		"identities":              concat(primary.Bytes(), fill(identity.Bytes())),
		"keys":                    fill(whole.Bytes()),
		"primary keys alone":      fill(primary.Bytes()),
		"subpackets":              concat(primary.Bytes(), fill(subpackets)),
		"markers":                 concat(primary.Bytes(), fill([]byte{0xca, 3, 'P', 'G', 'P'})),
		"empty packets":           fill([]byte{0xc6, 0}),
		"a packet of 4 GiB":       {0xc6, 255, 255, 255, 255, 255, 4},
		"chunks of one byte":      fill([]byte{0xc6, 224, 4, 224, 4, 0}),
		"beginnings of armor":     fill([]byte("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n")),
		"empty armor":             fill([]byte("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n=twTO\n-----END PGP PUBLIC KEY BLOCK-----\n")),
		"lines of armor header":   append([]byte("-----BEGIN PGP PUBLIC KEY BLOCK-----\n"), fill([]byte("a: b\n"))...),
		"base64 of nothing":       fill([]byte("AAAA")),
		"spaces":                  fill([]byte(" ")),
		"a number of 65,535 bits": concat([]byte{0xc6, 255, 0, 0, 0x20, 0x0f, 4, 0, 0, 0, 1, 1, 0xff, 0xff}, bytes.Repeat([]byte{0xff}, 8192), []byte{0, 1, 1}),
	} {
		began := time.Now()
		list, err := ParsePublic(data)
		_, err2 := ParsePrivate(data, ask)
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("%s: %s", what, took)
		}
		if (err == nil) != (len(list) > 0) || err2 == nil {
			t.Errorf("%s: %d keys, %v, %v", what, len(list), err, err2)
		}
		if err != nil && len(err.Error()) > 10_000 {
			t.Errorf("%s: a message of %d bytes", what, len(err.Error()))
		}
	}
}
