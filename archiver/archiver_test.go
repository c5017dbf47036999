package archiver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/manifest"
)

// The bucket and the archive that the original left are gone on with.
func TestOriginal(t *testing.T) {
	dir := t.TempDir()
	original := "../testdata/original/rsa"
	must(t, os.CopyFS(filepath.Join(dir, "bucket"), os.DirFS(original+"/bucket")))
	must(t, os.CopyFS(filepath.Join(dir, "root"), os.DirFS(original+"/archive")))
	w := openWorld(t, filepath.Join(dir, "bucket"), filepath.Join(dir, "root"))
	const files, database = "file-storage_2021-03-05T01:10:00.000001Z", "session-db-db-backup_2021-03-05T01:10:03.250Z"
	// Newer versions put the package at the folder's absolute path into the key.
	from := filepath.Join(files, "storage/backup/_small_files.tar")
	b, err := os.ReadFile(filepath.Join(w.bucket, from))
	must(t, err)
	must(t, w.store.Delete(t.Context(), from))
	w.put(t, files+"//srv/storage/backup/_small_files.tar", b)
	must(t, os.MkdirAll(filepath.Join(w.root, files, files), 0o755)) // as the original does
	must(t, os.MkdirAll(filepath.Join(w.root, files, "download", "x"), 0o755))
	before := w.versions(t)["file-storage"]

	w.now = time.Now()
	report := w.run(t)
	if len(report.Backups) != 2 || report.Backups[0].Name != files || report.Backups[1].Name != database {
		t.Fatalf("archived %+v", report.Backups)
	}
	if b := report.Backups[0]; b.Files != 11 || b.New != 1 || b.Carried != 10 {
		t.Errorf("%+v", b)
	}
	// Years later nothing is deleted: the clock may be wrong.
	if len(report.Pruned)+len(report.Cleaned) != 0 || len(report.Skipped) != 2 {
		t.Errorf("with the clock years ahead: %+v", report)
	}
	w.checkArchive(t)
	w.checkFindable(t)
	after := w.versions(t)["file-storage"]
	if len(after) != len(before)+1 || len(w.versions(t)["session-db-db-backup"]) != 1 {
		t.Errorf("%d versions of files after %d", len(after), len(before))
	}
	newest := after[len(after)-1]
	var expected map[string]map[string]string
	plain, err := os.ReadFile(original + "/expected-unarchived.json")
	must(t, err)
	must(t, json.Unmarshal(plain, &expected))
	if len(newest.entries) == 0 || len(newest.entries) != len(expected[files]) {
		t.Errorf("%d files, not %d", len(newest.entries), len(expected[files]))
	}
	for _, e := range newest.entries {
		if expected[files][e.Path] != e.SHA512.String() {
			t.Errorf("%s: %s", e.Path, e.SHA512)
		}
		if !exists(filepath.Join(w.root, files, e.SealedPath)) {
			t.Errorf("%s was not moved to the newest version", e.Path)
		}
	}
	local, err := os.ReadFile(filepath.Join(w.root, files, "archive-info"))
	must(t, err)
	remote, err := os.ReadFile(filepath.Join(w.bucket, files, "archive-info"))
	must(t, err)
	if string(local) != string(remote) {
		t.Error("the bucket has another list than the archive")
	}

	w.now = time.Date(2021, 3, 5, 3, 0, 0, 0, time.UTC)
	report = w.run(t)
	if len(report.Backups) != 0 || len(report.Cleaned) != 4 || len(report.Pruned) != 0 {
		t.Errorf("the next run: %+v", report)
	}
	if left, _ := os.ReadDir(w.bucket); len(left) != 3 { // with the store's own folder, perhaps
		names := []string{}
		for _, e := range left {
			names = append(names, e.Name())
		}
		names = slices.DeleteFunc(names, func(s string) bool { return s[0] == '.' })
		if !slices.Equal(names, []string{files, database}) {
			t.Errorf("left in the bucket: %q", names)
		}
	}
}

// A file that is gone from the archive is left out of the list, so that the
// next backup uploads it again.
func TestMissingFileHeals(t *testing.T) {
	w := newWorld(t)
	u := &nightly{w, "fs", map[string]string{"a/1": "one", "b/2": "two"}}
	first := u.backup(t)
	w.run(t)
	must(t, os.Remove(w.folder(first, "a/1.lz4.gpg")))
	w.now = w.now.Add(time.Hour)
	u.backup(t)
	report, err := Run(t.Context(), w.options())
	if !errors.Is(err, ErrIncomplete) || !slices.Equal(report.Backups[0].Missing.First, []string{"a/1"}) {
		t.Fatalf("%v: %+v", err, report)
	}
	w.now = w.now.Add(time.Hour)
	u.backup(t)
	if report := w.run(t); report.Backups[0].New != 1 {
		t.Errorf("%+v", report.Backups)
	}
	if v := w.versions(t)["fs"]; len(v[2].entries) != 2 || len(v[1].entries) != 1 {
		t.Errorf("%+v", v)
	}
}

func TestEmptyBackup(t *testing.T) {
	w := newWorld(t)
	n := w.nameAt(t, "fs")
	w.upload(t, n, nil)
	w.run(t)
	if v := w.versions(t)["fs"]; len(v) != 1 || len(v[0].entries) != 0 {
		t.Errorf("%+v", v)
	}
	if b, err := os.ReadFile(filepath.Join(w.bucket, n.String(), "archive-info")); err != nil || len(b) != 0 {
		t.Errorf("%q, %v", b, err)
	}
}

// One bad list stops neither its storage's later backups nor other storages,
// and nothing of its storage is deleted.
func TestOneFailureStopsNothingElse(t *testing.T) {
	w := newWorld(t)
	u := &nightly{w, "fs", map[string]string{"a": "one"}}
	u.backup(t)
	w.run(t)
	w.now = w.now.Add(time.Hour)
	bad := w.nameAt(t, "fs")
	f := w.seal(bad, "x", "x")
	w.upload(t, bad, []sealed{f, f})
	w.now = w.now.Add(time.Hour)
	good := u.backup(t)
	other := &nightly{w, "other", map[string]string{"a": "one"}}
	other.backup(t)
	report, err := Run(t.Context(), w.options())
	if !errors.Is(err, manifest.ErrInvalid) || errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), bad.String()) {
		t.Errorf("%v", err)
	}
	v := w.versions(t)
	if len(v["fs"]) != 2 || v["fs"][1].name != good || len(v["other"]) != 1 {
		t.Errorf("archived: %+v", v)
	}
	if len(report.Cleaned) != 0 || len(report.Skipped) != 1 || report.Backups[0].Error == "" {
		t.Errorf("%+v", report)
	}
}

func TestLocked(t *testing.T) {
	w := newWorld(t)
	w.upload(t, w.nameAt(t, "fs"), nil)
	o := w.options()
	o.step = func(what string) {
		if !strings.HasPrefix(what, "upload ") {
			return
		}
		_, err := Run(t.Context(), w.options())
		if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("process %d on ", os.Getpid())) {
			t.Errorf("a second archiver: %v", err)
		}
	}
	if _, err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	w.run(t)
}

func TestRootMustBeThere(t *testing.T) {
	w := newWorld(t)
	u := &nightly{w, "fs", map[string]string{"a": "one"}}
	u.backup(t)
	o := w.options()
	o.Root = filepath.Join(w.root, "no", "such")
	if _, err := Run(t.Context(), o); !errors.Is(err, ErrNoArchive) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	w.run(t)
	w.now = w.now.Add(time.Hour)
	u.backup(t)
	o.Root = t.TempDir() // the mount point without its disk
	if _, err := Run(t.Context(), o); !errors.Is(err, ErrNoArchive) {
		t.Errorf("an empty mount point: %v", err)
	}
	if left, _ := os.ReadDir(o.Root); len(left) != 0 {
		t.Error("the mount point was written to")
	}
	must(t, os.Mkdir(filepath.Join(o.Root, workDir), 0o755)) // "yes, begin here"
	if _, err := Run(t.Context(), o); !errors.Is(err, ErrIncomplete) {
		t.Errorf("a new archive: %v", err)
	}
}

// A dry run says what the real one does, and changes nothing.
func TestDryRun(t *testing.T) {
	w := newWorld(t)
	u := &nightly{w, "fs", map[string]string{"a/1": "one", "b/2": "two"}}
	for range 3 {
		w.now = w.now.Add(24 * time.Hour)
		u.plain[fmt.Sprint("c/", w.now.Day())] = "more"
		u.backup(t)
		w.run(t)
	}
	w.now = w.now.Add(24 * time.Hour)
	u.plain["d"] = "new"
	u.backup(t)
	o := w.options()
	o.Retention = Retention{KeepLast: 2, KeepDays: 1}
	o.DryRun = true
	o.step = func(what string) { t.Errorf("a dry run does: %s", what) }
	before, bucket := tree(t, w.root), tree(t, w.bucket)
	dry, err := Run(t.Context(), o)
	must(t, err)
	if !maps.Equal(before, tree(t, w.root)) || !maps.Equal(bucket, tree(t, w.bucket)) {
		t.Error("a dry run changed something")
	}
	o.DryRun, o.step = false, nil
	real, err := Run(t.Context(), o)
	must(t, err)
	real.DryRun = true
	for _, r := range []*Report{dry, real} {
		for i := range r.Backups {
			r.Backups[i].Seconds = 0
		}
		for i := range r.Cleaned {
			r.Cleaned[i].Bytes = 0 // what is archived is smaller than a list makes it
		}
	}
	if a, b := fmt.Sprintf("%+v", dry), fmt.Sprintf("%+v", real); a != b {
		t.Errorf("announced %s\ndone      %s", a, b)
	}
	if len(real.Pruned) != 2 || len(real.Cleaned) != 1 || len(real.Backups) != 1 || real.Backups[0].Fetched == 0 {
		t.Errorf("%+v", real)
	}
}

func TestCancelled(t *testing.T) {
	w := newWorld(t)
	u := &nightly{w, "fs", map[string]string{"a": "one"}}
	u.backup(t)
	ctx, cancel := context.WithCancel(t.Context())
	o := w.options()
	o.step = func(what string) {
		if strings.HasPrefix(what, "get ") {
			cancel()
		}
	}
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	w.run(t)
	w.checkArchive(t)
}
