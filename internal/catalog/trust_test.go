package catalog

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/keys"
	"github.com/chipster/firn/internal/manifest"
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

// sign puts beside a version's list the one that the uploader made and signed.
func (a *archive) sign(n backupname.Name, signer *signature.Signer) {
	a.t.Helper()
	list, err := os.ReadFile(a.file(n, manifest.ArchiveInfo))
	must(a.t, err)
	sig, err := signer.Sign(n.String()+"/"+manifest.BackupInfo, bytes.NewReader(list))
	must(a.t, err)
	must(a.t, os.WriteFile(a.file(n, manifest.BackupInfo), list, 0o600))
	must(a.t, os.WriteFile(a.file(n, manifest.BackupInfo+signature.Suffix), sig, 0o600))
}

func (a *archive) openTrusting(database string, trust signature.Trusted) (*Catalog, error) {
	c, err := Open(a.t.Context(), a.root, Options{Path: database, Trust: &trust, Logger: quiet})
	if err == nil {
		a.t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

// rewriteList changes a version's list in the archive.
func (a *archive) rewriteList(n backupname.Name, change func(string) string) {
	a.t.Helper()
	list, err := os.ReadFile(a.file(n, manifest.ArchiveInfo))
	must(a.t, err)
	changed := change(string(list))
	if changed == string(list) {
		a.t.Fatal("nothing was changed")
	}
	must(a.t, os.WriteFile(a.file(n, manifest.ArchiveInfo), []byte(changed), 0o600))
}

func TestTrust(t *testing.T) {
	signer, other := newSigner(t), newSigner(t)
	n1, n2 := night(t, "file-storage", 1), night(t, "file-storage", 2)
	old := func(p string) string { return filepath.Join(n1.String(), p) }
	for _, test := range []struct {
		name   string
		change func(a *archive)
		want   string // in the error; "" for none
		files  int64
	}{
		{"as it was signed", func(*archive) {}, "", 2},
		{"a line is left out, as by an archiver that missed the file", func(a *archive) {
			a.rewriteList(n2, func(l string) string { return l[strings.IndexByte(l, '\n')+1:] })
		}, "", 1},
		{"no signature", func(a *archive) { must(t, os.Remove(a.file(n2, "backup-info.sig"))) }, "there is no signature", 0},
		{"no list", func(a *archive) { must(t, os.Remove(a.file(n2, "backup-info"))) }, "the list that was signed is gone", 0},
		{"somebody else's signature", func(a *archive) { a.sign(n2, other) }, "not trusted", 0},
		{"a line of somebody else's", func(a *archive) {
			a.rewriteList(n2, func(l string) string { return strings.ReplaceAll(l, "\t6\t", "\t7\t") })
		}, "is not in the signed list", 0},
		{"a line more", func(a *archive) {
			a.rewriteList(n2, func(l string) string { return l + "new" + l[:strings.IndexByte(l, '\n')+1] })
		}, "is not in the signed list", 0},
		{"the signed list of another night", func(a *archive) {
			for _, f := range []string{"backup-info", "backup-info.sig"} {
				data, err := os.ReadFile(filepath.Join(a.root, old(f)))
				must(t, err)
				must(t, os.WriteFile(a.file(n2, f), data, 0o600))
			}
		}, "signed for", 0},
		{"the signed list was changed too", func(a *archive) {
			change := func(l string) string { return strings.ReplaceAll(l, "\t6\t", "\t7\t") }
			a.rewriteList(n2, change)
			data, err := os.ReadFile(a.file(n2, "backup-info"))
			must(t, err)
			must(t, os.WriteFile(a.file(n2, "backup-info"), []byte(change(string(data))), 0o600))
		}, "not those that were signed", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newArchive(t)
			a.archive(n1, listing{"a/x": seal("a/x", "first")})
			a.archive(n2, listing{"a/x": seal("a/x", "second"), "b": seal("b", "other!")})
			a.sign(n1, signer)
			a.sign(n2, signer)
			test.change(a)
			c, err := a.openTrusting(filepath.Join(t.TempDir(), "c.sqlite"), signer.Trusted())
			must(t, err)
			v, err := c.Find(t.Context(), "file-storage/latest")
			must(t, err)
			err = v.Readable()
			switch {
			case v.Name != n2:
				t.Errorf("%s is the newest", v.Name)
			case test.want == "" && (err != nil || v.Files != test.files):
				t.Errorf("%d files, %v", v.Files, err)
			case test.want != "" && (!errors.Is(err, signature.ErrUntrusted) || !strings.Contains(err.Error(), test.want)):
				t.Errorf("%v", err)
			}
			if test.want != "" {
				for range c.Files(t.Context(), v, "") {
					if _, err := c.Lookup(t.Context(), v, "b"); err == nil {
						t.Error("an untrusted file is shown")
					}
				}
			}
			older, err := c.Find(t.Context(), n1.String())
			must(t, errors.Join(err, older.Readable())) // the others are as they were
			if plain := a.newCatalog(); plain != nil {
				v, err := plain.Find(t.Context(), n2.String())
				must(t, errors.Join(err, v.Readable())) // who does not ask is not told
			}
		})
	}
}

// Who trusts others must not get what was read for somebody who does not.
func TestTrustHasADatabaseOfItsOwn(t *testing.T) {
	a := newArchive(t)
	n := night(t, "file-storage", 1)
	a.archive(n, listing{"a": seal("a", "content")})
	database := filepath.Join(t.TempDir(), "c.sqlite")
	a.open(database)
	for _, signer := range []*signature.Signer{newSigner(t), newSigner(t)} {
		a.sign(n, signer)
		c, err := a.openTrusting(database, signer.Trusted())
		must(t, err)
		v, err := c.Find(t.Context(), n.String())
		must(t, errors.Join(err, v.Readable()))
	}
	stranger, err := a.openTrusting(database, newSigner(t).Trusted())
	must(t, err)
	if v, err := stranger.Find(t.Context(), n.String()); err != nil || !v.Untrusted {
		t.Errorf("%v, %+v", err, v)
	}
}

func TestRollback(t *testing.T) {
	a, signer := newArchive(t), newSigner(t)
	n1, n2, n3 := night(t, "file-storage", 1), night(t, "file-storage", 2), night(t, "file-storage", 3)
	database := filepath.Join(t.TempDir(), "c.sqlite")
	for _, n := range []backupname.Name{n1, n2} {
		a.archive(n, listing{"a": seal("a", n.String())})
		a.sign(n, signer)
	}
	c, err := a.openTrusting(database, signer.Trusted())
	must(t, err)
	kept := filepath.Join(t.TempDir(), "kept")
	must(t, os.Rename(a.file(n2, ""), kept))
	if _, err := c.Refresh(t.Context()); !errors.Is(err, ErrRollback) || !strings.Contains(err.Error(), n2.String()) {
		t.Errorf("refreshed: %v", err)
	}
	must(t, c.Close())
	if _, err := a.openTrusting(database, signer.Trusted()); !errors.Is(err, ErrRollback) {
		t.Errorf("opened: %v", err)
	}
	// A catalog that is built anew remembers.
	files, err := filepath.Glob(filepath.Join(filepath.Dir(database), "*.sqlite"))
	must(t, err)
	if len(files) != 1 {
		t.Fatalf("%q", files)
	}
	must(t, os.Remove(files[0]))
	if _, err := a.openTrusting(database, signer.Trusted()); !errors.Is(err, ErrRollback) {
		t.Errorf("opened anew: %v", err)
	}
	// Nor does it help to put something unsigned in the place of the newest: it is
	// the newest then, and cannot be read.
	a.archive(n3, listing{"a": seal("a", "forged")})
	c, err = a.openTrusting(database, signer.Trusted())
	must(t, err)
	v, err := c.Find(t.Context(), "file-storage/latest")
	must(t, err)
	if !errors.Is(v.Readable(), signature.ErrUntrusted) {
		t.Errorf("%+v", v)
	}
	must(t, c.Close())
	a.remove(n3)
	if _, err = a.openTrusting(database, signer.Trusted()); !errors.Is(err, ErrRollback) {
		t.Errorf("an unsigned version was remembered, or the signed one forgotten: %v", err)
	}
	must(t, os.Rename(kept, a.file(n2, "")))
	c, err = a.openTrusting(database, signer.Trusted())
	must(t, errors.Join(err, c.Close()))
	// Whoever removed it himself says so.
	must(t, os.RemoveAll(a.file(n2, "")))
	must(t, os.Remove(files[0]+".newest"))
	_, err = a.openTrusting(database, signer.Trusted())
	must(t, err)
}

// A storage whose versions are all gone has gone back too.
func TestRollbackToNothing(t *testing.T) {
	a, signer := newArchive(t), newSigner(t)
	n := night(t, "file-storage", 1)
	database := filepath.Join(t.TempDir(), "c.sqlite")
	a.archive(n, listing{"a": seal("a", "content")})
	a.sign(n, signer)
	_, err := a.openTrusting(database, signer.Trusted())
	must(t, err)
	a.remove(n)
	if _, err := a.openTrusting(database, signer.Trusted()); !errors.Is(err, ErrRollback) {
		t.Errorf("%v", err)
	}
}

func TestRollbackMemoryDamaged(t *testing.T) {
	a, signer := newArchive(t), newSigner(t)
	n := night(t, "file-storage", 1)
	a.archive(n, listing{"a": seal("a", "content")})
	a.sign(n, signer)
	database := filepath.Join(t.TempDir(), "c.sqlite")
	trusted := signer.Trusted()
	for _, content := range []string{"", "{", `["nonsense"]`, `"x"`} {
		must(t, os.WriteFile(newestFile(trustedPath(database, &trusted)), []byte(content), 0o600))
		if _, err := a.openTrusting(database, trusted); err == nil || !strings.Contains(err.Error(), ".newest") {
			t.Errorf("%q: %v", content, err)
		}
	}
}
