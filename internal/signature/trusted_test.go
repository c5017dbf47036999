package signature

import (
	"bytes"
	"crypto"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/chipster/firn/internal/keys"
)

func TestNewTrusted(t *testing.T) {
	a, b := newCurve(), rsaKey()
	want := []string{keys.Fingerprint(a), keys.Fingerprint(b)}
	slices.Sort(want)
	for _, list := range []openpgp.EntityList{{a, b}, {b, a}} {
		if got := trust(t, list...).ID(); got != strings.Join(want, ",") {
			t.Errorf("ID %s, want %s", got, want)
		}
	}
	if id := (Trusted{}).ID(); id != "" {
		t.Errorf("nobody has ID %s", id)
	}
	if _, err := NewTrusted(nil); err == nil {
		t.Error("no keys: no error")
	}
	if _, err := NewTrusted(openpgp.EntityList{a, b, a}); err == nil || !strings.Contains(err.Error(), keys.Fingerprint(a)+" is there twice") {
		t.Errorf("a key twice: %v", err)
	}
	expired := newMortal(time.Now().Add(-2*time.Hour), time.Hour)
	if _, err := NewTrusted(openpgp.EntityList{expired, revoke(newCurve(), packet.NoReason, time.Now())}); err != nil {
		t.Errorf("expired and revoked: %v", err)
	}
	silent := newCertifier(t)
	if _, err := NewTrusted(openpgp.EntityList{a, silent}); err == nil || !strings.Contains(err.Error(), keys.Fingerprint(silent)) {
		t.Errorf("a key that is not for signing: %v", err)
	}
}

// A signature made while the key was valid stays good, and no other one is.
func TestLifetime(t *testing.T) {
	born := time.Now().Add(-30 * 24 * time.Hour).Truncate(time.Second)
	const day = 24 * time.Hour
	e := newMortal(born, 10*day)
	sub := newMortal(born, 0)
	if err := sub.AddSigningSubkey(curveConfig(born.Add(2*day), 5*day)); err != nil {
		t.Fatal(err)
	}
	short := newMortal(born, 3*day)
	if err := short.AddSigningSubkey(curveConfig(born.Add(2*day), 5*day)); err != nil {
		t.Fatal(err)
	}
	adopted := newMortal(born, 0)
	if err := adopted.AddSigningSubkey(curveConfig(born.Add(-2*day), 0)); err != nil {
		t.Fatal(err)
	}
	limited := newMortal(born, 0)
	resign(t, limited, func(self *packet.Signature) {
		self.CreationTime, self.SigLifetimeSecs = born.Add(day), new(uint32)
		*self.SigLifetimeSecs = 86400
	})
	onlySubkey := func(e *openpgp.Entity) *openpgp.Entity {
		subkey := *e
		subkey.PrimaryKey, subkey.PrivateKey = e.Subkeys[len(e.Subkeys)-1].PublicKey, e.Subkeys[len(e.Subkeys)-1].PrivateKey
		return &subkey
	}
	tests := []struct {
		name   string
		key    *openpgp.Entity
		signer *openpgp.Entity
		after  time.Duration
		reason string
	}{
		{"second before", e, e, -time.Second, "valid only from"},
		{"first second", e, e, 0, ""},
		{"last second", e, e, 10 * day, ""},
		{"second after", e, e, 10*day + time.Second, "expired on"},
		{"subkey before", sub, onlySubkey(sub), 2*day - time.Second, "valid only from"},
		{"subkey's first", sub, onlySubkey(sub), 2 * day, ""},
		{"subkey's last", sub, onlySubkey(sub), 7 * day, ""},
		{"subkey after", sub, onlySubkey(sub), 7*day + time.Second, "expired on"},
		{"primary key's last", short, onlySubkey(short), 3 * day, ""},
		{"primary key after", short, onlySubkey(short), 3*day + time.Second, "expired on"},
		{"subkey older than its primary key", adopted, onlySubkey(adopted), -day, "valid only from"},
		{"word for the key's last", limited, limited, 2 * day, ""},
		{"word for the key after", limited, limited, 2*day + time.Second, "expired on"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			sig := odd(t, test.signer, at(born.Add(test.after)))
			_, err := trust(t, test.key).Verify(object, bytes.NewReader(list), sig)
			switch {
			case test.reason != "":
				wantUntrusted(t, err, test.reason)
			case err != nil:
				t.Error(err)
			}
		})
	}
}

// Whoever has stolen a key dates signatures as he likes.
func TestRevokedWhateverTheDate(t *testing.T) {
	now := time.Now()
	for name, revoked := range map[string]struct {
		reason packet.ReasonForRevocation
		at     time.Time
	}{
		"compromised": {packet.KeyCompromised, now},
		"superseded":  {packet.KeySuperseded, now},
		"tomorrow":    {packet.KeyRetired, now.Add(24 * time.Hour)},
	} {
		for kind, e := range map[string]*openpgp.Entity{"primary key": newCurve(), "subkey": newWithSubkey()} {
			sig := sign(t, signer(t, e), object, list)
			revoke(e, revoked.reason, revoked.at)
			_, err := trust(t, e).Verify(object, bytes.NewReader(list), sig)
			wantUntrusted(t, err, "key "+keys.Fingerprint(e)+" is revoked")
			if t.Failed() {
				t.Fatalf("%s, %s", name, kind)
			}
		}
	}
}

func TestRevokedUserID(t *testing.T) {
	e := newCurve()
	sig := sign(t, signer(t, e), object, list)
	for _, id := range e.Identities {
		revocation := &packet.Signature{
			Version: 4, SigType: packet.SigTypeCertificationRevocation, PubKeyAlgo: e.PrimaryKey.PubKeyAlgo,
			Hash: crypto.SHA512, CreationTime: time.Now(), IssuerKeyId: &e.PrimaryKey.KeyId,
		}
		if err := revocation.SignUserId(id.UserId.Id, e.PrimaryKey, e.PrivateKey, nil); err != nil {
			t.Fatal(err)
		}
		id.Signatures = append(id.Signatures, revocation)
	}
	_, err := trust(t, e).Verify(object, bytes.NewReader(list), sig)
	wantUntrusted(t, err, "is revoked")
}

func TestRevokedSubkey(t *testing.T) {
	e := newWithSubkey()
	sig := sign(t, signer(t, e), object, list)
	if err := e.RevokeSubkey(&e.Subkeys[len(e.Subkeys)-1], packet.KeySuperseded, "", nil); err != nil {
		t.Fatal(err)
	}
	trusted := trust(t, e)
	_, err := trusted.Verify(object, bytes.NewReader(list), sig)
	wantUntrusted(t, err, "is revoked")
	if _, err := trusted.Verify(object, bytes.NewReader(list), odd(t, e, asIs)); err != nil {
		t.Errorf("the primary key is not: %v", err)
	}
}
