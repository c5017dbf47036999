package uploader

import (
	"bytes"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
)

// installations are the names in the lines of a list.
func (w *world) installations(key string) (ids []string) {
	w.t.Helper()
	for _, e := range w.readList(key) {
		ids = append(ids, e.Installation)
	}
	return ids
}

// Each list says whose it is, once; what is carried over says nothing of it.
func TestListsNameTheInstallation(t *testing.T) {
	w := newWorld(t)
	writeTwoPackages(w)
	first := w.mustBackup(nil)
	ids := w.installations(first.Backup + "/backup-info")
	if own := regexp.MustCompile(`^[0-9a-f]{16}$`); !own.MatchString(ids[0]) || strings.Join(ids[1:], "") != "" {
		t.Fatalf("%q", ids)
	}
	w.archive(first.Backup)
	w.write("A", random(10)) // comes before the line that had the name
	second := w.mustBackup(nil)
	if again := w.installations(second.Backup + "/backup-info"); again[0] != ids[0] || strings.Join(again[1:], "") != "" || second.New != 1 {
		t.Errorf("%q became %q", ids, again)
	}
	w.touch("a")
	stopped := w.stopped(func(o *Options) { o.Full = true })
	for _, key := range w.keys() {
		if strings.HasPrefix(key, stopped) && strings.HasSuffix(key, packageListSuffix) {
			if got := w.installations(key); got[0] != ids[0] || strings.Join(got[1:], "") != "" {
				t.Errorf("%s: %q", key, got)
			}
		}
	}
}

// Another folder under the same name is refused before anything of it is in the
// bucket, whatever is there; with the name of before it goes on.
func TestOtherInstallationIsRefused(t *testing.T) {
	for what, before := range map[string]func(w *world) string{
		"waiting": func(w *world) string { return w.mustBackup(nil).Backup },
		"archived": func(w *world) string {
			name := w.mustBackup(nil).Backup
			w.archive(name)
			w.delete(name + "/backup-info")
			return name
		},
		"archived, and a newer one that says nothing": func(w *world) string {
			name := w.mustBackup(nil).Backup
			w.archive(name)
			w.put(strings.Replace(name, "T02:", "T03:", 1)+"/backup-info", nil)
			w.now = w.now.Add(2 * time.Hour)
			return name
		},
		"unfinished":         func(w *world) string { return w.stopped(nil) },
		"unfinished, signed": func(w *world) string { return w.stopped(w.signed) },
		"signed":             func(w *world) string { return w.mustBackup(w.signed).Backup },
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			total := writeTwoPackages(w)
			name := before(w)
			var old string
			for _, key := range w.keys() {
				if strings.HasSuffix(key, "-info") || strings.HasSuffix(key, packageListSuffix) {
					if ids := w.installations(key); len(ids) > 0 {
						old = ids[0]
					}
				}
			}
			kept := w.storage
			w.storage = t.TempDir()
			writeTwoPackages(w)
			was := w.keys()
			change := func(o *Options) {}
			if strings.Contains(what, "signed") {
				change = w.signed
			}
			_, err := w.backup(change)
			if !errors.Is(err, ErrOtherInstallation) {
				t.Fatal(err)
			}
			for _, told := range []string{"file-storage", " " + old + ",", "--installation " + old, "another name"} {
				if !strings.Contains(err.Error(), told) {
					t.Errorf("%q is not in: %v", told, err)
				}
			}
			if keys := w.keys(); strings.Join(keys, " ") != strings.Join(was, " ") {
				t.Errorf("%q became %q", was, keys)
			}
			r := w.mustBackup(func(o *Options) { o.Installation = old })
			if len(w.check(r.Backup, envelope.NewOpener(nil), false)) != total || w.installations(r.Backup + "/backup-info")[0] != old {
				t.Errorf("%+v after %s", r, name)
			}
			w.storage = kept
			w.mustBackup(nil)
		})
	}
}

// What somebody else put into the bucket refuses no uploader that signs: such a list
// is not used, whatever it says.
func TestUnsignedListsRefuseNobody(t *testing.T) {
	w := newWorld(t)
	total := writeTwoPackages(w)
	name := w.stopped(w.signed)
	for _, key := range w.packageListKeys() {
		w.edit(key, func(list []byte) []byte {
			return bytes.Replace(list, []byte("\tinstallation="), []byte("\tinstallation=not-"), 1)
		})
	}
	r := w.mustBackup(w.signed)
	if r.Backup != name || r.Resumed != 0 || r.New != total {
		t.Errorf("%+v", r)
	}
}

// Lists of the original's, and those that firn wrote before it named installations,
// are anybody's; so are damaged ones.
func TestListsWithoutAnInstallation(t *testing.T) {
	for what, spoil := range map[string]func([]byte) []byte{
		"no name": func(list []byte) []byte { return regexp.MustCompile(`\tinstallation=\w+`).ReplaceAll(list, nil) },
		"damaged": func(list []byte) []byte { return bytes.ReplaceAll(list, []byte("\t"), []byte(" ")) },
		"empty":   func([]byte) []byte { return nil },
		"cut":     func(list []byte) []byte { return list[:100] },
	} {
		w := newWorld(t)
		writeTwoPackages(w)
		first := w.mustBackup(nil)
		w.edit(first.Backup+"/backup-info", spoil)
		w.storage = t.TempDir()
		if _, err := w.backup(nil); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// The name stays as it is, whatever is done in the folder, and is another one for
// another folder. Where a system learns to tell when a folder was made, what it
// was called before counts too.
func TestInstallationOfAFolder(t *testing.T) {
	dir := t.TempDir()
	name := func(dir string) (string, string) {
		s, err := openStorage(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		id, formerly, err := s.installation()
		if err != nil || manifest.CheckInstallation(id) != nil || id == formerly {
			t.Fatalf("%q, %q, %v", id, formerly, err)
		}
		return id, formerly
	}
	id, formerly := name(dir)
	if err := errors.Join(os.WriteFile(dir+"/new", nil, 0o644), os.Chmod(dir, 0o700), os.Rename(dir, dir+"-moved")); err != nil {
		t.Fatal(err)
	}
	defer os.Rename(dir+"-moved", dir)
	if again, _ := name(dir + "-moved"); again != id {
		t.Errorf("%s became %s", id, again)
	}
	if other, _ := name(t.TempDir()); other == id {
		t.Errorf("two folders are %s", id)
	}
	b := &backup{installation: id, formerly: formerly}
	for other, fine := range map[string]bool{"": true, id: true, formerly: true, "other": false} {
		if err := b.checkInstallation(other); errors.Is(err, ErrOtherInstallation) == fine {
			t.Errorf("%q: %v", other, err)
		}
	}
	if err := (&backup{}).checkInstallation(id); err != nil {
		t.Errorf("who says nothing is refused: %v", err)
	}
}
