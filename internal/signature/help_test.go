package signature

import (
	"bytes"
	"crypto"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/chipster/firn/internal/keys"
)

const (
	object  = "file-storage_2026-01-02T01:10:00.000Z/backup-info"
	another = "file-storage_2026-01-01T01:10:00.000Z/backup-info"
)

var list = []byte("these are the bytes of a list\n")

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var rsaKey = sync.OnceValue(func() *openpgp.Entity {
	return must(keys.Generate(keys.Options{Name: "rsa", Bits: 2048}))
})

func newCurve() *openpgp.Entity {
	return must(keys.Generate(keys.Options{Name: "curve", Curve25519: true}))
}

func newWithSubkey() *openpgp.Entity {
	e := newCurve()
	if err := e.AddSigningSubkey(curveConfig(time.Now(), 0)); err != nil {
		panic(err)
	}
	return e
}

// newCertifier is a key that signs other keys, but no bytes.
func newCertifier(t testing.TB) *openpgp.Entity {
	e := newCurve()
	resign(t, e, func(self *packet.Signature) { self.FlagSign = false })
	return e
}

// resign changes what a key says of itself.
func resign(t testing.TB, e *openpgp.Entity, change func(self *packet.Signature)) {
	t.Helper()
	for _, id := range e.Identities {
		change(id.SelfSignature)
		if err := id.SelfSignature.SignUserId(id.UserId.Id, e.PrimaryKey, e.PrivateKey, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func curveConfig(at time.Time, life time.Duration) *packet.Config {
	return &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA, Curve: packet.Curve25519,
		Time: func() time.Time { return at }, KeyLifetimeSecs: uint32(life / time.Second),
	}
}

// newMortal is a key of the time and the lifetime given.
func newMortal(at time.Time, life time.Duration) *openpgp.Entity {
	return must(openpgp.NewEntity("mortal", "", "", curveConfig(at, life)))
}

func revoke(e *openpgp.Entity, reason packet.ReasonForRevocation, at time.Time) *openpgp.Entity {
	if err := e.RevokeKey(reason, "", &packet.Config{Time: func() time.Time { return at }}); err != nil {
		panic(err)
	}
	return e
}

func signer(t testing.TB, e *openpgp.Entity) *Signer {
	t.Helper()
	s, err := NewSigner(openpgp.EntityList{e})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func trust(t testing.TB, list ...*openpgp.Entity) Trusted {
	t.Helper()
	trusted, err := NewTrusted(list)
	if err != nil {
		t.Fatal(err)
	}
	return trusted
}

func sign(t testing.TB, s *Signer, key string, list []byte) []byte {
	t.Helper()
	sig, err := s.Sign(key, bytes.NewReader(list))
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func noteOf(value string) *packet.Notation {
	return &packet.Notation{Name: notation, Value: []byte(value), IsHumanReadable: true}
}

// odd signs list as object after a change of the signature. It takes the primary
// key, and does not ask whether that may sign.
func odd(t testing.TB, e *openpgp.Entity, change func(*packet.Signature)) []byte {
	t.Helper()
	sig := &packet.Signature{
		Version: e.PrimaryKey.Version, SigType: packet.SigTypeBinary, PubKeyAlgo: e.PrimaryKey.PubKeyAlgo,
		Hash: crypto.SHA512, CreationTime: time.Now(), IssuerKeyId: &e.PrimaryKey.KeyId,
		Notations: []*packet.Notation{noteOf(object)},
	}
	change(sig)
	h, err := sig.PrepareSign(nil)
	if err != nil {
		t.Fatal(err)
	}
	h.Write(list)
	if err := sig.Sign(h, e.PrivateKey, nil); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := sig.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func at(when time.Time) func(*packet.Signature) {
	return func(sig *packet.Signature) { sig.CreationTime = when }
}

func asIs(*packet.Signature) {}

// wantUntrusted holds that err refuses for a reason.
func wantUntrusted(t testing.TB, err error, reason string) {
	t.Helper()
	if !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), reason) {
		t.Errorf("got %v, want ErrUntrusted with %q", err, reason)
	}
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
