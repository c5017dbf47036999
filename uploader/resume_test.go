package uploader

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/objstore"
)

// withoutList fails instead of uploading the backup's list: all else is there.
func withoutList(store objstore.Store) objstore.Store {
	return &guardedStore{store, func(change, key string) error {
		if strings.HasSuffix(key, "/backup-info") {
			return errBucket
		}
		return nil
	}}
}

// stopped runs the uploader up to the list, and returns the backup's name.
func (w *world) stopped(change func(*Options)) string {
	w.t.Helper()
	_, err := w.backup(func(o *Options) {
		if change != nil {
			change(o)
		}
		o.Store = withoutList(o.Store)
	})
	if !errors.Is(err, errBucket) {
		w.t.Fatal(err)
	}
	var names []string
	for _, key := range w.keys() {
		name, file, _ := strings.Cut(key, "/")
		if strings.HasSuffix(file, ".tar"+packageListSuffix) && !slices.Contains(w.committed(), name) {
			names = append(names, name)
		}
	}
	if names = slices.Compact(names); len(names) != 1 {
		w.t.Fatalf("left %q", w.keys())
	}
	return names[0]
}

// What changed since is sealed again, and all that was in a package with it; the
// other package is kept.
func TestGoesOnWithWhatDidNotChange(t *testing.T) {
	const small, medium = 3, 2
	keyFor := func(o *Options) { o.Recipients = recipients(t, "curve") }
	for what, test := range map[string]struct {
		spoil   func(w *world, name string)
		options func(*Options) // of the second run
		resumed int
		total   int
		renamed bool
	}{
		"nothing changed": {resumed: small + medium},
		"nothing changed, by contents": {
			spoil:   func(w *world, _ string) { w.touch("a") },
			options: func(o *Options) { o.Checksum = true }, resumed: small + medium,
		},
		"full backup": {options: func(o *Options) { o.Full = true }, resumed: small + medium},
		"size": {spoil: func(w *world, _ string) {
			appendTo(w.t, filepath.Join(w.storage, "a"))
			w.setTime("a", w.now)
		}, resumed: medium},
		"time":                      {spoil: func(w *world, _ string) { w.touch("x") }, resumed: small},
		"contents of the same time": {spoil: func(w *world, _ string) { w.rewrite("b") }, options: func(o *Options) { o.Checksum = true }, resumed: medium},
		"a file in each":            {spoil: func(w *world, _ string) { w.touch("a"); w.touch("y") }},
		"vanished":                  {spoil: func(w *world, _ string) { w.remove("a") }, resumed: medium, total: small + medium - 1},
		"excluded":                  {options: func(o *Options) { o.Exclude = []string{"y"} }, resumed: small, total: small + medium - 1},
		"a new file":                {spoil: func(w *world, _ string) { w.write("new", random(10)) }, resumed: small + medium, total: small + medium + 1},
		"other mode":                {spoil: func(w *world, _ string) { w.chmod("a", 0o600) }, resumed: small + medium},
		"now for a key":             {options: keyFor},
		"list is damaged": {spoil: func(w *world, name string) {
			w.edit(name+"/_small_files.tar.list", func(b []byte) []byte { return bytes.Replace(b, []byte("\t"), []byte(" "), 1) })
		}, resumed: medium},
		"list is cut short": {spoil: func(w *world, name string) {
			w.edit(name+"/_small_files.tar.list", func(b []byte) []byte { return b[:len(b)-1] })
		}, resumed: medium},
		"list is empty": {spoil: func(w *world, name string) { w.put(name+"/_small_files.tar.list", nil) }, resumed: medium},
		"list names another backup": {spoil: func(w *world, name string) {
			w.edit(name+"/_small_files.tar.list", func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("T02:"), []byte("T01:")) })
		}, resumed: medium},
		"list of another package": {spoil: func(w *world, name string) {
			w.put(name+"/_medium_files.tar.list", w.get(name+"/_small_files.tar.list"))
		}, resumed: small},
		"list names a package that is gone": {spoil: func(w *world, name string) {
			w.edit(name+"/_small_files.tar.list", func(b []byte) []byte {
				return bytes.ReplaceAll(b, []byte("_small_files.tar"), []byte("gone.tar"))
			})
		}, resumed: medium},
		"list says another place": {spoil: func(w *world, name string) {
			entries := w.readList(name + "/_small_files.tar.list")
			entries[0].SealedPath = "elsewhere.lz4"
			w.put(name+"/_small_files.tar.list", w.lines(entries...))
		}, resumed: medium},
		"list is missing":    {spoil: func(w *world, name string) { w.delete(name + "/_small_files.tar.list") }, resumed: medium},
		"package is missing": {spoil: func(w *world, name string) { w.delete(name + "/_small_files.tar") }, resumed: medium},
		"both packages are missing": {spoil: func(w *world, name string) {
			w.delete(name+"/_small_files.tar", name+"/_medium_files.tar")
		}, renamed: true},
		"almost three days old": {spoil: func(w *world, _ string) { w.now = w.now.Add(resumeFor - 61*time.Minute) }, resumed: small + medium},
		"three days old":        {spoil: func(w *world, _ string) { w.now = w.now.Add(resumeFor - time.Hour) }, renamed: true},
		"from the future":       {spoil: func(w *world, _ string) { w.now = w.now.Add(-2 * time.Hour) }, renamed: true},
		"a newer backup is there": {spoil: func(w *world, _ string) {
			w.put("file-storage_"+w.now.Add(time.Minute).Format("2006-01-02T15:04:05.000Z")+"/backup-info", nil)
		}, renamed: true},
		"an older backup is there": {spoil: func(w *world, _ string) {
			w.put("file-storage_"+w.now.Add(-time.Minute).Format("2006-01-02T15:04:05.000Z")+"/backup-info", nil)
		}, resumed: small + medium},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			if test.total == 0 {
				test.total = writeTwoPackages(w)
			} else {
				writeTwoPackages(w)
			}
			for i, path := range []string{"a", "b", "c", "x", "y"} {
				w.setTime(path, time.Date(2025, 1, 1, 0, 0, i, 5, time.UTC))
			}
			name := w.stopped(nil)
			if test.spoil != nil {
				test.spoil(w, name)
			}
			others := w.committed()
			r := w.mustBackup(test.options)
			if r.Resumed != test.resumed || r.New != test.total-test.resumed || (r.Backup != name) != test.renamed {
				t.Errorf("%+v", r)
			}
			open, encrypted := envelope.NewOpener(nil), what == "now for a key"
			if encrypted {
				open = opener(t, "curve")
			}
			got := w.check(r.Backup, open, encrypted)
			if len(got) != test.total {
				t.Errorf("%d files are listed, want %d", len(got), test.total)
			}
			for path, e := range got {
				info, err := os.Stat(filepath.Join(w.storage, path))
				if err != nil || !e.Modified.Equal(info.ModTime()) || e.Mode != info.Mode() {
					t.Errorf("%q is listed as %+v: %v", path, e.Details, err)
				}
			}
			w.checkBucket(append(others, r.Backup)...)
			w.checkMembers(r.Backup)
		})
	}
}

// What was sealed for one key is not taken over into a backup for another.
func TestGoesOnForTheSameKeys(t *testing.T) {
	w := newWorld(t)
	total := writeTwoPackages(w)
	curve := func(o *Options) { o.Recipients = recipients(t, "curve") }
	name := w.stopped(curve)
	w.stopped(curve) // which changes nothing
	r := w.mustBackup(func(o *Options) { o.Recipients = recipients(t, "chipster") })
	if r.Backup != name || r.Resumed != 0 || r.New != total {
		t.Errorf("%+v", r)
	}
	w.check(r.Backup, opener(t, "chipster"), true)
	w.checkBucket(r.Backup)
}

// A large file gives its package its name, which may look like a list's, a lease's
// or a mark's: it must stay all the same, in backups that are there and in the one
// that is made, and keeps nobody out.
func TestPackagesCalledLikeOtherObjects(t *testing.T) {
	w := newWorld(t)
	const done, current = "file-storage_2026-01-01T01:00:00.000Z/", "file-storage_2026-01-01T02:00:00.000Z/"
	names := []string{"a.list.tar", "a.tar.list.tar", "a.tar.list.sig.tar", ".list.tar", "list.tar",
		"lease-x.tar", "shards-4.tar", "shard-1-of-4.tar", "shard-1-of-4.list.tar", "shard-00001-of-00100.bin.tar"}
	listed := map[string]bool{}
	var want []string
	w.put(done+"backup-info", nil)
	for _, name := range names {
		w.put(done+name, nil)
		w.put(current+name, nil)
		w.put(current+name+packageListSuffix, nil)
		listed[current+name], listed[current+name+packageListSuffix] = true, true
		want = append(want, done+name, current+name, current+name+packageListSuffix)
	}
	want = append(want, done+"backup-info")
	w.put(done+"b.tar.list", nil)
	w.put(done+"b.tar.list.sig", nil)
	w.put(current+"b.tar", nil)
	w.put(current+"b.tar.list", nil)
	w.put(current+"b.tar.list.sig", nil)
	bucket, err := look(t.Context(), w.store, "file-storage")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bucket {
		if len(b.leases)+len(b.marks) > 0 {
			t.Errorf("%s has the leases %v and the marks %v", b.name, b.leases, b.marks)
		}
	}
	b := &backup{store: w.store, name: bucket[1].name, found: bucket}
	if err := b.sweep(t.Context(), listed); err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	if got := w.keys(); !slices.Equal(got, want) {
		t.Errorf("%q are left of %q", got, want)
	}
	if err := b.deletePackageLists(t.Context(), listed); err != nil {
		t.Fatal(err)
	}
	want = slices.DeleteFunc(want, func(key string) bool { return strings.HasSuffix(key, packageListSuffix) })
	if got := w.keys(); !slices.Equal(got, want) {
		t.Errorf("without the lists of packages there are %q, not %q", got, want)
	}
}

// A package that was not gone on with is never written over: what a run that
// lost its place still sends cannot get into another's backup.
func TestPackagesAreNotWrittenOver(t *testing.T) {
	w := newWorld(t)
	writeTwoPackages(w)
	name := w.stopped(nil)
	w.touch("a")
	before := w.keys()
	r := w.mustBackup(func(o *Options) {
		o.Store = &guardedStore{o.Store, func(change, key string) error {
			if change != "delete" && slices.Contains(before, key) {
				t.Errorf("%s %s, which was there", change, key)
			}
			return nil
		}}
	})
	if r.Backup != name || r.Resumed != 2 {
		t.Errorf("%+v", r)
	}
}

// An archive that came meanwhile is built upon, and what it holds is not taken
// from the unfinished backup.
func TestGoesOnOverANewArchive(t *testing.T) {
	w := newWorld(t)
	total := writeTwoPackages(w)
	first := w.mustBackup(nil)
	name := w.stopped(nil)
	w.archive(first.Backup)
	r := w.mustBackup(nil)
	if r.Backup != name || r.Base != first.Backup || r.Resumed != 0 || r.New != 0 || r.Files != total {
		t.Errorf("%+v", r)
	}
	for _, e := range w.list(r.Backup) {
		if e.Backup.String() != first.Backup {
			t.Errorf("%q is in %s", e.Path, e.Backup)
		}
	}
}

// A signed uploader goes on only with what it signed itself.
func TestGoesOnWithWhatItSigned(t *testing.T) {
	sign := func(o *Options) { o.Signer = signerOf(t, "curve") }
	const small = "/_small_files.tar.list"
	for what, test := range map[string]struct {
		spoil   func(w *world, name string)
		resumed int
	}{
		"nothing changed":       {func(*world, string) {}, 5},
		"signature missing":     {func(w *world, name string) { w.delete(name + small + ".sig") }, 2},
		"signature is rubbish":  {func(w *world, name string) { w.put(name+small+".sig", []byte("signed, firn")) }, 2},
		"signed by another":     {func(w *world, name string) { w.sign("chipster", name+small, name+small) }, 2},
		"signed for another":    {func(w *world, name string) { w.sign("curve", name+small, name+"/_medium_files.tar.list") }, 2},
		"signed for the backup": {func(w *world, name string) { w.sign("curve", name+small, name+"/"+manifest.BackupInfo) }, 2},
		"changed since": {func(w *world, name string) {
			entries := w.readList(name + small)
			entries[0].SealedSHA512[0]++
			w.put(name+small, w.lines(entries...))
		}, 2},
		"a line less": {func(w *world, name string) {
			w.put(name+small, w.lines(w.readList(name + small)[1:]...))
		}, 2},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			total := writeTwoPackages(w)
			name := w.stopped(sign)
			test.spoil(w, name)
			r := w.mustBackup(sign)
			if r.Backup != name || r.Resumed != test.resumed || r.New != total-test.resumed {
				t.Errorf("%+v", r)
			}
			w.check(r.Backup, envelope.NewOpener(nil), false)
			w.checkSignature(r.Backup+"/backup-info", "curve")
			w.checkBucket(r.Backup)
		})
	}
}

// sign replaces the signature of a list: by whom, of which, and for which.
func (w *world) sign(by, key, object string) {
	w.t.Helper()
	sig, err := signerOf(w.t, by).Sign(object, bytes.NewReader(w.get(key)))
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(key+".sig", sig)
}

func (w *world) checkSignature(key, by string) {
	w.t.Helper()
	if _, err := signerOf(w.t, by).Trusted().Verify(key, bytes.NewReader(w.get(key)), w.get(key+".sig")); err != nil {
		w.t.Error(err)
	}
}
