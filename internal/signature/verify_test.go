package signature

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/chipster/firn/internal/keys"
)

func TestVerifyRefuses(t *testing.T) {
	born := time.Now().Add(-time.Hour)
	e, stranger := newMortal(born, 0), newCurve()
	if err := e.AddSigningSubkey(curveConfig(born, 0)); err != nil {
		t.Fatal(err)
	}
	s, trusted := signer(t, e), trust(t, e)
	good := sign(t, s, object, list)
	of := func(change func(*packet.Signature)) []byte { return odd(t, e, change) }
	public := new(bytes.Buffer)
	if err := keys.ExportPublic(public, e); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		list   string
		sig    []byte
		reason string
	}{
		{"no signature", string(list), nil, "there is no signature"},
		{"other key", string(list), sign(t, signer(t, stranger), object, list), "signed by key " + keys.Fingerprint(stranger) + ", which is not trusted"},
		{"changed", strings.ToUpper(string(list)), good, "the bytes are not those that were signed"},
		{"shorter", string(list[:len(list)-1]), good, "the bytes are not those that were signed"},
		{"longer", string(list) + "\n", good, "the bytes are not those that were signed"},
		{"nothing", "", good, "the bytes are not those that were signed"},
		{"moved", string(list), sign(t, s, another, list), `signed for "` + another + `", not for "` + object + `"`},
		{"longer name", string(list), sign(t, s, object+"/", list), "signed for"},
		{"no name", string(list), of(func(sig *packet.Signature) { sig.Notations = nil }), "does not say for what it is"},
		{"two names", string(list), of(func(sig *packet.Signature) { sig.Notations = append(sig.Notations, noteOf(another)) }), "several objects"},
		{"same name twice", string(list), of(func(sig *packet.Signature) { sig.Notations = append(sig.Notations, noteOf(object)) }), "several objects"},
		{"no issuer", string(list), anonymous(t, e), "does not say whose it is"},
		{"text", string(list), of(func(sig *packet.Signature) { sig.SigType = packet.SigTypeText }), "not one of bytes"},
		{"certificate", string(list), of(func(sig *packet.Signature) { sig.SigType = packet.SigTypePositiveCert }), "not one of bytes"},
		{"weak hash", string(list), of(func(sig *packet.Signature) { sig.Hash = crypto.SHA224 }), "SHA-224, which is too weak"},
		{"future", string(list), of(at(time.Now().Add(25 * time.Hour))), "in the future"},
		{"before the key", string(list), of(at(born.Add(-time.Hour))), "valid only from"},
		{"expired", string(list), of(func(sig *packet.Signature) {
			sig.CreationTime, sig.SigLifetimeSecs = born.Add(time.Minute), new(uint32)
			*sig.SigLifetimeSecs = 1800
		}), "the signature expired on"},
		{"critical", string(list), of(func(sig *packet.Signature) {
			sig.Notations = append(sig.Notations, &packet.Notation{Name: "x@example.org", IsCritical: true})
		}), `who knows what "x@example.org" is`},
		{"text file", string(list), []byte("not found\n"), "the signature is damaged"},
		{"a key", string(list), armorless(t, e), "type 6"},
		{"armored", string(list), public.Bytes(), "the signature is damaged"},
		{"cut short", string(list), good[:len(good)-1], "the signature is damaged"},
		{"cut at a packet's end", string(list), []byte{0xc2, 0}, "cannot be read"},
		{"version 3", string(list), []byte{0xc2, 1, 3}, "cannot be read"},
		{"a good one and garbage", string(list), join(good, []byte{1}), "the signature is damaged"},
		{"large", string(list), bytes.Repeat(good, MaxSize/len(good)+1), "too many for a signature"},
		{"eleven", string(list), bytes.Repeat(good, 11), "more than 10 signatures"},
		{"two bad ones", string(list), join(sign(t, signer(t, stranger), object, list), sign(t, s, another, list)), "none of 2 signatures will do: "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fingerprint, err := trusted.Verify(object, strings.NewReader(test.list), test.sig)
			wantUntrusted(t, err, test.reason)
			if fingerprint != "" || err != nil && !strings.HasPrefix(err.Error(), object+": ") {
				t.Errorf("key %q, error without the object: %v", fingerprint, err)
			}
		})
	}
	if _, err := trusted.Verify(object, bytes.NewReader(list), of(asIs)); err != nil {
		t.Errorf("without any change: %v", err)
	}
	if _, err := trusted.Verify(object, bytes.NewReader(list), of(at(time.Now().Add(23*time.Hour)))); err != nil {
		t.Errorf("a clock that is ahead: %v", err)
	}
	_, err := Trusted{}.Verify(object, bytes.NewReader(list), good)
	wantUntrusted(t, err, "which is not trusted")
}

// anonymous is signed by e, and does not say so.
func anonymous(t *testing.T, e *openpgp.Entity) []byte {
	sig := odd(t, e, asIs)
	id := binary.BigEndian.AppendUint64([]byte{9, 16}, e.PrimaryKey.KeyId)
	fingerprint := join([]byte{22, 33, 4}, e.PrimaryKey.Fingerprint)
	for _, subpacket := range [][]byte{id, fingerprint} {
		i := bytes.Index(sig, subpacket)
		if i < 0 {
			t.Fatal("no issuer to take away")
		}
		sig[i+1] = 100 // the type of nothing
	}
	return sig
}

func armorless(t *testing.T, e *openpgp.Entity) []byte {
	var b bytes.Buffer
	if err := e.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Uploaders with different keys sign the same list.
func TestAnyOfSeveralSignatures(t *testing.T) {
	e := newCurve()
	trusted := trust(t, e)
	good := odd(t, e, asIs)
	bad := bytes.Repeat(odd(t, newCurve(), asIs), 9)
	unknown := []byte{0xc2, 1, 3} // of a version that nobody makes any more
	for name, sig := range map[string][]byte{
		"first": join(good, bad), "last": join(bad, good), "two good": join(good, good), "behind an unknown one": join(unknown, good),
		"behind one for another object": join(odd(t, e, func(sig *packet.Signature) { sig.Notations = []*packet.Notation{noteOf(another)} }), good),
	} {
		if got, err := trusted.Verify(object, bytes.NewReader(list), sig); err != nil || got != keys.Fingerprint(e) {
			t.Errorf("%s: key %q, error %v", name, got, err)
		}
	}
}

// What is not signed in a signature are its frame, the first bytes of the hash
// and the lengths of its numbers: changes there may do no harm, but not more.
func TestEveryBitCounts(t *testing.T) {
	for name, e := range map[string]*openpgp.Entity{"curve": newCurve(), "RSA": rsaKey()} {
		s := signer(t, e)
		sig, trusted := sign(t, s, object, list), s.Trusted()
		counts := signedBytes(t, sig)
		for i := range 8 * len(sig) {
			changed := bytes.Clone(sig)
			changed[i/8] ^= 1 << (i % 8)
			_, err := trusted.Verify(object, bytes.NewReader(list), changed)
			if !errors.Is(err, ErrUntrusted) && (err != nil || counts[i/8]) {
				t.Errorf("%s: bit %d of byte %d of the signature: error %v", name, i%8, i/8, err)
			}
		}
		for i := range 8 * len(list) {
			changed := bytes.Clone(list)
			changed[i/8] ^= 1 << (i % 8)
			if _, err := trusted.Verify(object, bytes.NewReader(changed), sig); !errors.Is(err, ErrUntrusted) {
				t.Errorf("%s: bit %d of byte %d of the list: error %v", name, i%8, i/8, err)
			}
		}
	}
}

// signedBytes tells which bytes of a signature of version 4 are hashed, or are
// the signature's numbers.
func signedBytes(t *testing.T, sig []byte) map[int]bool {
	t.Helper()
	p, err := packet.NewOpaqueReader(bytes.NewReader(sig)).Next()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[int]bool{}
	mark := func(from, n int) int {
		for i := from; i < from+n; i++ {
			counts[i] = true
		}
		return from + n
	}
	length := func(i int) int { return int(binary.BigEndian.Uint16(sig[i:])) }
	body := len(sig) - len(p.Contents)
	i := mark(body, 6+length(body+4)) // version, type, algorithms, hashed subpackets
	i += 2 + length(i) + 2            // other subpackets, first bytes of the hash
	for i < len(sig) {
		i = mark(i+2, (length(i)+7)/8)
	}
	if i != len(sig) || len(counts) < 100 {
		t.Fatalf("%d of %d bytes found, %d of them signed", i, len(sig), len(counts))
	}
	return counts
}

func TestErrorOfReadingIsNoRefusal(t *testing.T) {
	s := signer(t, newCurve())
	disk := errors.New("disk")
	broken := io.MultiReader(bytes.NewReader(list), iotest.ErrReader(disk))
	if _, err := s.Trusted().Verify(object, broken, sign(t, s, object, list)); !errors.Is(err, disk) || errors.Is(err, ErrUntrusted) {
		t.Errorf("got %v, want that of reading alone", err)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	s := signer(t, newCurve())
	const size = 64 << 20
	long := func() io.Reader { return io.LimitReader(zeros{}, size) }
	sig, err := s.Sign(object, long())
	if err != nil {
		t.Fatal(err)
	}
	huge := []byte{0xff, 0xff, 0xff, 0xff}
	tests := map[string][]byte{
		"long list":       sig,
		"long packet":     join([]byte{0xc2, 0xff}, huge),
		"long subpackets": join([]byte{0xc2, 8, 6, 0, 22, 10}, huge),
		"many subpackets": join([]byte{0xc2, 0xff, 0, 0, 0xf0, 6, 4, 0, 22, 10, 0xf0, 0}, bytes.Repeat([]byte{1, 100}, 0x7800)),
	}
	for name, sig := range tests {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := s.Trusted().Verify(object, long(), sig)
		runtime.ReadMemStats(&after)
		if (name == "long list") != (err == nil) {
			t.Errorf("%s: error %v", name, err)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 10<<20 {
			t.Errorf("%s: %d bytes of memory", name, used)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
