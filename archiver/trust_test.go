package archiver

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/keys"
	"github.com/chipster/firn/internal/signature"
)

func newSigner(t testing.TB) *signature.Signer {
	t.Helper()
	entity, err := keys.Generate(keys.Options{Name: "uploader", Curve25519: true})
	must(t, err)
	signer, err := signature.NewSigner(openpgp.EntityList{entity})
	must(t, err)
	return signer
}

func (w *world) sign(t testing.TB, n backupname.Name, signer *signature.Signer) {
	t.Helper()
	list, err := os.ReadFile(filepath.Join(w.bucket, n.String(), "backup-info"))
	must(t, err)
	sig, err := signer.Sign(n.String()+"/backup-info", bytes.NewReader(list))
	must(t, err)
	w.put(t, n.String()+"/backup-info.sig", sig)
}

func (w *world) trusting(signer *signature.Signer) Options {
	o := w.options()
	trusted := signer.Trusted()
	o.Trust = &trusted
	return o
}

// What is signed is archived, with the signature; what is not, is not, and stays
// where it is.
func TestTrust(t *testing.T) {
	signer, other := newSigner(t), newSigner(t)
	for _, test := range []struct {
		name   string
		change func(w *world, n backupname.Name)
		want   string
	}{
		{"signed", func(*world, backupname.Name) {}, ""},
		{"not signed", func(w *world, n backupname.Name) { must(t, w.store.Delete(t.Context(), n.String()+"/backup-info.sig")) }, "there is no signature"},
		{"by another", func(w *world, n backupname.Name) { w.sign(t, n, other) }, "not trusted"},
		{"changed", func(w *world, n backupname.Name) {
			forged := w.seal(n, "a/1", "forged")
			w.upload(t, n, []sealed{forged})
		}, "not those that were signed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			u := &nightly{w, "fs", map[string]string{"a/1": "one", "b/2": "two"}}
			first := u.backup(t)
			w.sign(t, first, signer)
			_, err := Run(t.Context(), w.trusting(signer))
			must(t, err)
			w.now = w.now.Add(time.Hour)
			u.plain["c/3"] = "three"
			second := u.backup(t)
			w.sign(t, second, signer)
			test.change(w, second)
			before := tree(t, w.bucket)
			report, err := Run(t.Context(), w.trusting(signer))
			if test.want == "" {
				must(t, err)
				for _, f := range []string{"backup-info", "backup-info.sig"} {
					got, err := os.ReadFile(w.folder(second, f))
					must(t, err)
					if string(got) != before[second.String()+"/"+f] {
						t.Errorf("the archive's %s is not what came", f)
					}
				}
				if exists(w.folder(first, "b")) {
					t.Error("not carried on")
				}
				return
			}
			if !errors.Is(err, signature.ErrUntrusted) || !strings.Contains(err.Error(), test.want) || report.Backups[0].Error == "" {
				t.Errorf("%v", err)
			}
			if len(w.versions(t)["fs"]) != 1 || exists(w.folder(second)) || !exists(w.folder(first, "b/2.lz4.gpg")) {
				t.Error("something of it is in the archive")
			}
			if after := tree(t, w.bucket); len(after) != len(before) {
				t.Errorf("the bucket has %q, not %q", sorted(after), sorted(before))
			}
		})
	}
}

// A signed backup of last year is still signed.
func TestOldBackupPutBack(t *testing.T) {
	signer := newSigner(t)
	w := newWorld(t)
	u := &nightly{w, "fs", map[string]string{"a/1": "one"}}
	old := u.backup(t)
	w.sign(t, old, signer)
	kept := tree(t, w.bucket)
	_, err := Run(t.Context(), w.trusting(signer))
	must(t, err)
	w.now = w.now.Add(24 * time.Hour)
	u.plain["a/1"] = "one, mended"
	w.sign(t, u.backup(t), signer)
	_, err = Run(t.Context(), w.trusting(signer))
	must(t, err)
	must(t, os.RemoveAll(w.folder(old)))
	for key, content := range kept {
		w.put(t, key, []byte(content))
	}
	if _, err := Run(t.Context(), w.trusting(signer)); !errors.Is(err, signature.ErrUntrusted) || !strings.Contains(err.Error(), "is older than") || exists(w.folder(old)) {
		t.Errorf("%v", err)
	}
	must(t, os.MkdirAll(w.folder(old), 0o755))
	must(t, os.RemoveAll(w.folder(old)))
	_, err = Run(t.Context(), w.options()) // whoever does not ask may archive late
	must(t, err)
	if !exists(w.folder(old, "archive-info")) {
		t.Error("not archived")
	}
}

// Signatures are kept also by an archiver that was not told whom to trust, for
// those who will ask.
func TestSignaturesAreKept(t *testing.T) {
	signer := newSigner(t)
	w := newWorld(t)
	u := &nightly{w, "fs", map[string]string{"a/1": "one"}}
	n := u.backup(t)
	w.sign(t, n, signer)
	w.run(t)
	list, err := os.ReadFile(w.folder(n, "backup-info"))
	must(t, err)
	sig, err := os.ReadFile(w.folder(n, "backup-info.sig"))
	must(t, err)
	_, err = signer.Trusted().Verify(n.String()+"/backup-info", bytes.NewReader(list), sig)
	must(t, err)
}

// Where signatures count, backups are archived in order: one that fails for a
// reason that passes would be refused as too old afterwards.
func TestInOrderWhereSignaturesCount(t *testing.T) {
	signer := newSigner(t)
	w := newWorld(t)
	u := &nightly{w, "fs", map[string]string{"a/1": "one"}}
	first := u.backup(t)
	w.sign(t, first, signer)
	w.now = w.now.Add(time.Hour)
	second := u.backup(t)
	w.sign(t, second, signer)
	o := w.trusting(signer)
	o.Store = &brokenStore{w.store, 100}
	report, err := Run(t.Context(), o)
	if !errors.Is(err, errBroken) || len(report.Backups) != 1 || len(w.versions(t)) != 0 {
		t.Fatalf("%v, %+v", err, report)
	}
	_, err = Run(t.Context(), w.trusting(signer))
	must(t, err)
	if len(w.versions(t)["fs"]) != 2 {
		t.Error("not both are archived")
	}
	// What nobody signed does not hold up what comes after it.
	w.now = w.now.Add(time.Hour)
	u.backup(t)
	w.now = w.now.Add(time.Hour)
	last := u.backup(t)
	w.sign(t, last, signer)
	if _, err := Run(t.Context(), w.trusting(signer)); !errors.Is(err, signature.ErrUntrusted) || !exists(w.folder(last, "archive-info")) {
		t.Errorf("%v", err)
	}
}
