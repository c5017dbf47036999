package uploader

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/gpgtest"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/signature"
)

func (w *world) signed(o *Options) { o.Signer = signerOf(w.t, "curve") }

// verifyWithGPG checks a list in the bucket with the real gpg, which knows nothing
// but the public key.
func (w *world) verifyWithGPG(list string) {
	w.t.Helper()
	home := gpgtest.Home(w.t)
	file := filepath.Join(home, "backup-info")
	if err := errors.Join(os.WriteFile(file, w.get(list), 0o600), os.WriteFile(file+".sig", w.get(list+".sig"), 0o600)); err != nil {
		w.t.Fatal(err)
	}
	for _, args := range [][]string{
		{"--import", filepath.Join(fixtures, "keys", "curve.public.asc")},
		{"--trust-model", "always", "--status-fd", "1", "--verify", file + ".sig", file},
	} {
		cmd := exec.Command("gpg", append([]string{"--homedir", home, "--batch", "--no-tty"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			w.t.Fatalf("gpg %q: %v\n%s", args, err, out)
		}
		// What is long comes in several lines.
		told := strings.ReplaceAll(string(out), "\n[GNUPG:] NOTATION_DATA ", "")
		if args[0] != "--import" && (!strings.Contains(told, "GOODSIG") || !strings.Contains(told, list+"\n")) {
			w.t.Errorf("%s", out)
		}
	}
}

func TestSigned(t *testing.T) {
	w := newWorld(t)
	total := writeTwoPackages(w)
	first := w.mustBackup(w.signed)
	w.verifyWithGPG(first.Backup + "/backup-info")
	if keys := w.keys(); !slices.Contains(keys, first.Backup+"/backup-info.sig") {
		t.Errorf("%q", keys)
	}
	w.checkBucket(first.Backup)
	w.archive(first.Backup)
	w.touch("a")
	second := w.mustBackup(w.signed)
	if second.Base != first.Backup || second.Full != "" || second.New != 1 || second.Files != total {
		t.Errorf("%+v", second)
	}
	w.verifyWithGPG(second.Backup + "/backup-info")
	w.check(second.Backup, envelope.NewOpener(nil), false)
}

// Who can write to the bucket cannot have a signed uploader sign for what it did
// not make itself.
func TestSignsOnlyWhatItSigned(t *testing.T) {
	const untrusted = "is not signed with this uploader's key"
	for what, test := range map[string]struct {
		spoil func(w *world, backup string)
		fresh int
		full  string // why
	}{
		"as it was": {func(*world, string) {}, 0, ""},
		"a line's hash is the attacker's": {func(w *world, backup string) {
			w.rewriteArchived(backup, func(list []manifest.Entry) []manifest.Entry {
				list[0].SealedSHA512[0]++
				return list
			})
		}, 5, untrusted},
		"a line more": {func(w *world, backup string) {
			w.rewriteArchived(backup, func(list []manifest.Entry) []manifest.Entry {
				more := list[0]
				more.Path, more.SealedPath = "zz", "zz.lz4"
				return append(list, more)
			})
		}, 5, untrusted},
		"both lists are the attacker's": {func(w *world, backup string) {
			list := w.archived(backup)
			list[0].SealedSHA512[0]++
			w.put(backup+"/archive-info", w.lines(list...))
			w.put(backup+"/backup-info", w.lines(list...))
		}, 5, untrusted},
		"and signed by the attacker": {func(w *world, backup string) {
			w.sign("chipster", backup+"/backup-info", backup+"/backup-info")
		}, 5, untrusted},
		"signed for another backup": {func(w *world, backup string) {
			w.sign("curve", backup+"/backup-info", "file-storage_2025-01-01T01:00:00.000Z/backup-info")
		}, 5, untrusted},
		"lines less": {func(w *world, backup string) {
			w.rewriteArchived(backup, func(list []manifest.Entry) []manifest.Entry { return list[2:] })
		}, 2, ""},
		"signature missing": {func(w *world, backup string) { w.delete(backup + "/backup-info.sig") }, 5, untrusted},
		"signature without end": {func(w *world, backup string) {
			w.put(backup+"/backup-info.sig", bytes.Repeat([]byte{0xc2}, 2*signature.MaxSize))
		}, 5, untrusted},
		"signed list missing": {func(w *world, backup string) { w.delete(backup + "/backup-info") }, 5, untrusted},
		"both missing": {func(w *world, backup string) {
			w.delete(backup+"/backup-info", backup+"/backup-info.sig")
		}, 5, untrusted},
		"signed list is damaged": {func(w *world, backup string) {
			w.edit(backup+"/backup-info", func(b []byte) []byte { return b[:len(b)-1] })
		}, 5, "is damaged"},
		"archive's list is damaged": {func(w *world, backup string) {
			w.edit(backup+"/archive-info", func(b []byte) []byte { return b[:len(b)-1] })
		}, 5, "is damaged"},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			total := writeTwoPackages(w)
			first := w.mustBackup(w.signed)
			good := map[string]manifest.Hash{}
			for _, e := range w.list(first.Backup) {
				good[e.Path] = e.SealedSHA512
			}
			w.archive(first.Backup)
			test.spoil(w, first.Backup)
			r, err := w.backup(w.signed)
			if err != nil {
				t.Fatal(err)
			}
			wantFull := test.full
			if wantFull != "" {
				wantFull = "the list of " + first.Backup + " " + wantFull
			}
			if r.New != test.fresh || r.Files != total || r.Full != wantFull || (r.Base == "") != (wantFull != "") {
				t.Errorf("%+v", r)
			}
			w.check(r.Backup, envelope.NewOpener(nil), false)
			w.checkSignature(r.Backup+"/backup-info", "curve")
			for _, e := range w.list(r.Backup) { // of what is not encrypted, sealing gives the same bytes each time
				if e.SealedSHA512 != good[e.Path] {
					t.Errorf("signed for other bytes of %q", e.Path)
				}
			}
		})
	}
}

// rewriteArchived changes the archive's list.
func (w *world) rewriteArchived(backup string, change func([]manifest.Entry) []manifest.Entry) {
	w.t.Helper()
	w.put(backup+"/archive-info", w.lines(change(w.archived(backup))...))
}

// An uploader that begins to sign does not sign for what came before.
func TestBeginsToSign(t *testing.T) {
	w := newWorld(t)
	total := writeTwoPackages(w)
	first := w.mustBackup(nil)
	w.archive(first.Backup)
	second := w.mustBackup(w.signed)
	if second.New != total || !strings.Contains(second.Full, "not signed") {
		t.Errorf("%+v", second)
	}
	w.archive(second.Backup)
	if third := w.mustBackup(nil); third.New != 0 || third.Full != "" {
		t.Errorf("who does not sign does not look: %+v", third)
	}
}
