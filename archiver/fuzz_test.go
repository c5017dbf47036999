package archiver

import (
	"archive/tar"
	"bytes"
	"crypto/sha512"
	"errors"
	"slices"
	"testing"

	"github.com/chipster/firn/internal/manifest"
)

// fuzzFiles are what the list of the fuzzed package says, with known bytes.
func fuzzFiles(t testing.TB, w *world) []sealed {
	n := w.nameAt(t, "fs")
	return []sealed{w.seal(n, "a", "a"), w.seal(n, "b/c", "c"), w.seal(n, "b/d", "")}
}

func packageSeeds(t testing.TB) map[string][]byte {
	w := newWorld(t)
	files := fuzzFiles(t, w)
	a := files[0]
	whole := pack(t, files...)
	seeds := map[string][]byte{
		"whole":    whole,
		"cut":      whole[:1500],
		"twice":    pack(t, a, a),
		"upwards":  handMade(t, member{tar.Header{Name: "../" + a.entry.SealedPath}, string(a.bytes)}),
		"PAX":      handMade(t, member{tar.Header{Name: a.entry.SealedPath, PAXRecords: map[string]string{"FIRN.x": "y"}}, string(a.bytes)}),
		"a link":   handMade(t, member{tar.Header{Name: a.entry.SealedPath, Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, ""}),
		"long":     append(longName('L', a.entry.SealedPath), pack(t, a)...),
		"sparse":   append(paxHeader('x', record("GNU.sparse.major", "1")+record("GNU.sparse.minor", "0")+record("GNU.sparse.name", a.entry.SealedPath)+record("GNU.sparse.realsize", "8")), pack(t, a)...),
		"given up": handMade(t, member{tar.Header{Name: "~~"}, "x"}, member{tar.Header{Name: a.entry.SealedPath}, string(a.bytes)}),
		"a list":   list(t, a.entry),
	}
	return seeds
}

func TestPackageSeedsExist(t *testing.T) {
	if n := len(packageSeeds(t)); n < 10 {
		t.Errorf("%d seeds", n)
	}
}

// Whatever the bytes of a package: what the version lists has the listed hash,
// lies where it should, and there is nothing else; and where something is
// missing, it is said.
func FuzzPackage(f *testing.F) {
	for _, seed := range packageSeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, pkg []byte) {
		w := newWorld(t)
		files := fuzzFiles(t, w)
		n := w.nameAt(t, "fs")
		var entries []manifest.Entry
		for _, file := range files {
			entries = append(entries, file.entry)
		}
		w.put(t, n.String()+"/a.tar", pkg)
		w.put(t, n.String()+"/backup-info", list(t, entries...))
		outside := tree(t, w.bucket)
		report, err := Run(t.Context(), w.options())
		if err != nil && !errors.Is(err, ErrIncomplete) {
			t.Fatal(err)
		}
		w.checkArchive(t) // each file has the listed hash, and there is nothing else
		versions := w.versions(t)["fs"]
		if len(versions) != 1 {
			t.Fatalf("%d versions", len(versions))
		}
		for _, e := range versions[0].entries {
			i := slices.IndexFunc(files, func(s sealed) bool { return s.entry.Path == e.Path })
			if i < 0 || e.SealedSHA512 != sha512.Sum512(files[i].bytes) {
				t.Errorf("%q is listed with other bytes", e.Path)
			}
		}
		missing := len(files) - len(versions[0].entries)
		b := &report.Backups[0]
		if missing > b.Missing.Count+b.Damaged.Count || missing > 0 && err == nil {
			t.Errorf("%d files are missing, and the report says %+v, %v", missing, b, err)
		}
		for p, content := range outside {
			if got, ok := tree(t, w.bucket)[p]; !ok || !bytes.Equal([]byte(got), []byte(content)) {
				t.Errorf("%s of the bucket is other", p)
			}
		}
	})
}
