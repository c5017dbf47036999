package signature

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/chipster/firn/internal/keys"
)

func TestSignAndVerify(t *testing.T) {
	tests := map[string]*openpgp.Entity{
		"RSA":            rsaKey(),
		"curve":          newCurve(),
		"signing subkey": newWithSubkey(),
		"version 6":      must(openpgp.NewEntity("v6", "", "", &packet.Config{V6Keys: true, Algorithm: packet.PubKeyAlgoEd25519})),
	}
	for name, e := range tests {
		s := signer(t, e)
		for _, list := range [][]byte{nil, list, bytes.Repeat(list, 100_000)} {
			sig := sign(t, s, object, list)
			got, err := s.Trusted().Verify(object, bytes.NewReader(list), sig)
			if err != nil || got != keys.Fingerprint(e) {
				t.Errorf("%s, %d bytes: key %q, error %v", name, len(list), got, err)
			}
		}
	}
}

func TestNewSigner(t *testing.T) {
	now := time.Now()
	locked, err := keys.Generate(keys.Options{Name: "locked", Curve25519: true, Passphrase: []byte("secret")})
	if err != nil {
		t.Fatal(err)
	}
	public, err := keys.ParsePublic(readFile(t, "../../testdata/original/keys/curve.public.asc"))
	if err != nil {
		t.Fatal(err)
	}
	bad := map[string]struct {
		key    *openpgp.Entity
		reason string
	}{
		"expired":      {newMortal(now.Add(-2*time.Hour), time.Hour), "expired on"},
		"not yet":      {newMortal(now.Add(2*time.Hour), 0), "valid only from"},
		"revoked":      {revoke(newCurve(), packet.KeySuperseded, now), "is revoked"},
		"locked":       {locked, "is locked"},
		"public":       {public[0], "is missing"},
		"certify only": {newCertifier(t), "not for signing"},
	}
	var all openpgp.EntityList
	for name, test := range bad {
		_, err := NewSigner(openpgp.EntityList{test.key})
		if err == nil || !strings.Contains(err.Error(), test.reason) || !strings.Contains(err.Error(), "ey ") {
			t.Errorf("%s: got %v, want the key and %q", name, err, test.reason)
		}
		all = append(all, test.key)
	}
	_, err = NewSigner(all)
	for name, test := range bad {
		if err == nil || !strings.Contains(err.Error(), test.reason) {
			t.Errorf("all: got %v, without the reason of %s", err, name)
		}
	}
	if _, err := NewSigner(nil); err == nil {
		t.Error("no keys: no error")
	}
	good := newCurve()
	s, err := NewSigner(append(all, good, rsaKey()))
	if err != nil || s.Trusted().ID() != keys.Fingerprint(good) {
		t.Errorf("signs with %v, error %v, want the first that can", s, err)
	}
}

// The primary key is kept elsewhere, as it should be.
func TestSubkeySignsAlone(t *testing.T) {
	e := newWithSubkey()
	e.PrivateKey = nil
	s := signer(t, e)
	if _, err := s.Trusted().Verify(object, bytes.NewReader(list), sign(t, s, object, list)); err != nil {
		t.Error(err)
	}
}

func TestSignRefuses(t *testing.T) {
	s := signer(t, newCurve())
	for _, key := range []string{"", strings.Repeat("k", 1025), strings.Repeat("k", 70_000), "\xff"} {
		if sig, err := s.Sign(key, bytes.NewReader(list)); err == nil || sig != nil {
			t.Errorf("key of %d bytes: error %v", len(key), err)
		}
	}
	disk := errors.New("disk")
	if _, err := s.Sign(object, iotest.ErrReader(disk)); !errors.Is(err, disk) {
		t.Errorf("got %v, want that of reading", err)
	}
}

// A signer lives as long as a server: its key may expire meanwhile.
func TestKeyExpiresMeanwhile(t *testing.T) {
	s := signer(t, newMortal(time.Now(), time.Hour))
	s.trusted.keys[0].until = time.Now().Add(-time.Second)
	if _, err := s.Sign(object, bytes.NewReader(list)); err == nil || !strings.Contains(err.Error(), "expired on") {
		t.Errorf("got %v", err)
	}
}

func TestConcurrentUse(t *testing.T) {
	for _, e := range []*openpgp.Entity{newWithSubkey(), rsaKey()} {
		s := signer(t, e)
		trusted := s.Trusted()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				sig, err := s.Sign(object, bytes.NewReader(list))
				if err != nil {
					t.Error(err)
					return
				}
				for range 4 {
					if _, err := trusted.Verify(object, bytes.NewReader(list), sig); err != nil {
						t.Error(err)
					}
				}
				if _, err := trusted.Verify(object, io.MultiReader(), sig); !errors.Is(err, ErrUntrusted) {
					t.Errorf("no bytes: %v", err)
				}
			})
		}
		wg.Wait()
	}
}
