package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The second and the third are half a second apart, and sort wrongly as text.
var originalVersions = []string{
	"file-storage_2019-05-05T01:10:00.038Z", "file-storage_2019-05-06T01:10:00Z",
	"file-storage_2019-05-06T01:10:00.512Z", "file-storage_2021-03-04T01:10:00.123456Z",
}

// What the original left is listed, mounted and restored.
func TestOriginal(t *testing.T) {
	t.Parallel()
	key := func(name string) []string { return []string{"--key", filepath.Join(original, "keys", name)} }
	for c, open := range map[string][]string{
		"rsa": key("chipster.private.base64"), "curve": key("curve.private.base64"), "plain": nil,
		"passphrase": {"--passphrase-file", filepath.Join(original, "keys", "passphrase.txt")},
	} {
		t.Run(c, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.archive, w.open = filepath.Join(original, c, "archive"), open
			want := expected(t, c, "expected.json")
			if got := w.versions(); !slices.Equal(got, originalVersions) || len(want) != len(got) {
				t.Fatalf("versions %q, expected are %d", got, len(want))
			}
			mount := w.mount()
			for version, files := range want {
				checkHashes(t, version+" in the mount", tree(t, inMount(mount, version)), files)
				checkHashes(t, version+" restored", tree(t, w.restore(version)), files)
			}
		})
	}
}

// versions are the names that `firn versions` lists, in its order.
func (w *world) versions() (names []string) {
	w.Helper()
	var versions []shownVersion
	w.firnJSON(&versions, "versions", w.archive, w.catalog())
	for _, v := range versions {
		names = append(names, v.Name)
	}
	return names
}

// The original's archive is gone on with: what waits in its bucket is archived,
// and the next night is firn's own.
func TestOriginalGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t).withBucket()
	withRSA(w)
	must(t, os.CopyFS(w.archive, os.DirFS(filepath.Join(original, "rsa", "archive"))))
	w.fillBucket(filepath.Join(original, "rsa", "bucket"))
	const (
		waiting  = "file-storage_2021-03-05T01:10:00.000001Z"
		database = "session-db-db-backup_2021-03-05T01:10:03.250Z"
	)
	if got := w.pull(); !slices.Equal(got, []string{waiting, database}) {
		t.Fatalf("archived %q", got)
	}
	mount := w.mount()
	want := expected(t, "rsa", "expected-unarchived.json")
	want[database] = map[string]string{}
	for _, l := range parseList(t, database, string(w.object(database+"/backup-info"))) {
		want[database][l.path] = l.hash
	}
	for version, files := range expected(t, "rsa", "expected.json") {
		want[version] = files
	}
	if got := w.versions(); !slices.Equal(got, append(slices.Clone(originalVersions), waiting, database)) || len(want) != len(got) {
		t.Fatalf("versions %q, expected are %d", got, len(want))
	}
	for version, files := range want {
		checkHashes(t, version+" in the mount", tree(t, inMount(mount, version)), files)
		checkHashes(t, version+" restored", tree(t, w.restore(version)), files)
	}

	// The next night, from a storage that was lost and restored.
	w.storage = w.restore(waiting)
	must(t, os.WriteFile(filepath.Join(w.storage, "new\nfile"), []byte("new"), 0o640))
	next := w.upload()
	lines := parseList(t, next, string(w.object(next+"/backup-info")))
	for _, l := range lines {
		if carried := l.backup == waiting; carried == strings.HasPrefix(l.path, "new") {
			t.Errorf("%q is in %s", l.path, l.backup)
		}
	}
	if got := w.pull(); !slices.Equal(got, []string{next}) {
		t.Fatalf("archived %q", got)
	}
	files := tree(t, w.storage)
	sameTree(t, "restored", tree(t, w.restore(next)), files, 0o777)
	w.await(inMount(mount, next))
	sameTree(t, "in the mount", tree(t, inMount(mount, next)), files, 0o555)
	for version, files := range want {
		checkHashes(t, version+" after the next night", tree(t, inMount(mount, version)), files)
	}
	for _, key := range w.objects("file-storage_", "") {
		if !strings.HasPrefix(key, next+"/") {
			t.Errorf("%s is still in the bucket", key)
		}
	}
}

// fillBucket uploads the files of a folder, their paths for keys.
func (w *world) fillBucket(dir string) {
	w.Helper()
	for path := range tree(w, dir) {
		data, err := os.ReadFile(filepath.Join(dir, path))
		must(w, err)
		must(w, w.store.Put(w.Context(), path, data))
	}
}
