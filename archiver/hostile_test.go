package archiver

import (
	"archive/tar"
	"bytes"
	"crypto/sha512"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chipster/firn/internal/manifest"
)

// member is one of a hand-made package.
type member struct {
	header tar.Header
	data   string
}

func handMade(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := m.header
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(m.data))
		}
		must(t, w.WriteHeader(&h))
		if h.Typeflag == tar.TypeReg {
			_, err := w.Write([]byte(m.data))
			must(t, err)
		}
	}
	must(t, w.Close())
	return b.Bytes()
}

// Whatever a package holds, good files are kept, all else is named, and nothing
// is written but what the list says.
func TestHostilePackages(t *testing.T) {
	w0 := newWorld(t)
	good, victim := w0.seal(w0.nameAt(t, "fs"), "good", "good"), w0.seal(w0.nameAt(t, "fs"), "victim", "victim")
	goodMember := member{tar.Header{Name: good.entry.SealedPath}, string(good.bytes)}
	named := func(name string) member { return member{tar.Header{Name: name}, string(victim.bytes)} }
	special := func(kind byte, link string) member {
		return member{tar.Header{Name: victim.entry.SealedPath, Typeflag: kind, Linkname: link}, ""}
	}
	flipped := bytes.Clone(victim.bytes)
	flipped[3] ^= 1
	whole := handMade(t, goodMember, named(victim.entry.SealedPath))
	for what, c := range map[string]struct {
		pkg                          []byte
		missing, damaged, unexpected int
	}{
		"path upwards":      {handMade(t, named("../victim.lz4.gpg"), goodMember), 1, 0, 1},
		"path up and back":  {handMade(t, named("x/../victim.lz4.gpg"), goodMember), 1, 0, 1},
		"absolute path":     {handMade(t, named("/tmp/victim.lz4.gpg"), goodMember), 1, 0, 1},
		"dot path":          {handMade(t, named("./victim.lz4.gpg"), goodMember), 1, 0, 1},
		"symbolic link":     {handMade(t, special(tar.TypeSymlink, "/etc/passwd"), goodMember), 1, 0, 1},
		"hard link":         {handMade(t, special(tar.TypeLink, good.entry.SealedPath), goodMember), 1, 0, 1},
		"device":            {handMade(t, special(tar.TypeChar, ""), goodMember), 1, 0, 1},
		"fifo":              {handMade(t, special(tar.TypeFifo, ""), goodMember), 1, 0, 1},
		"folder":            {handMade(t, member{tar.Header{Name: "victim.lz4.gpg/", Typeflag: tar.TypeDir}, ""}, goodMember), 1, 0, 1},
		"link, then file":   {handMade(t, special(tar.TypeSymlink, "/etc/passwd"), named(victim.entry.SealedPath), goodMember), 0, 0, 1},
		"not listed":        {handMade(t, goodMember, named(victim.entry.SealedPath), named("other")), 0, 0, 1},
		"the list's name":   {handMade(t, goodMember, named(victim.entry.SealedPath), named("archive-info")), 0, 0, 1},
		"twice":             {handMade(t, goodMember, named(victim.entry.SealedPath), goodMember), 0, 0, 1},
		"too long":          {handMade(t, goodMember, member{tar.Header{Name: victim.entry.SealedPath}, string(victim.bytes) + "x"}), 0, 1, 0},
		"too short":         {handMade(t, goodMember, member{tar.Header{Name: victim.entry.SealedPath}, ""}), 0, 1, 0},
		"bit flipped":       {handMade(t, goodMember, member{tar.Header{Name: victim.entry.SealedPath}, string(flipped)}), 0, 1, 0},
		"damaged, good":     {handMade(t, goodMember, member{tar.Header{Name: victim.entry.SealedPath}, string(flipped)}, named(victim.entry.SealedPath)), 0, 0, 0},
		"cut in a member":   {whole[:1024+512+5], 1, 1, 0},
		"cut in a header":   {whole[:1024+100], 1, 1, 0},
		"cut at a boundary": {whole[:1024], 1, 0, 0},
		"header damaged":    {slices.Concat(whole[:1024+10], []byte("#"), whole[1024+11:]), 1, 1, 0},
		"empty":             {nil, 2, 0, 0},
		"abandoned":         {handMade(t, named("~"), named("~~/~~"), goodMember, named(victim.entry.SealedPath)), 0, 0, 0},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			n := w.nameAt(t, "fs")
			w.put(t, n.String()+"/backup-info", list(t, good.entry, victim.entry))
			w.put(t, n.String()+"/a.tar", c.pkg)
			outside := tree(t, filepath.Dir(w.root))
			report, err := Run(t.Context(), w.options())
			b := report.Backups[0]
			if b.Missing.Count != c.missing || b.Damaged.Count != c.damaged || b.Unexpected.Count != c.unexpected {
				t.Errorf("%+v", b)
			}
			problems := c.missing + c.damaged + c.unexpected
			if problems > 0 != errors.Is(err, ErrIncomplete) || problems == 0 && err != nil {
				t.Errorf("%v", err)
			}
			want := 2
			if c.missing+c.damaged > 0 {
				want = max(0, 2-max(c.missing, c.damaged))
			}
			if v := w.versions(t)["fs"]; len(v) != 1 || len(v[0].entries) != want || want > 0 && v[0].entries[0].Path != "good" {
				t.Errorf("archived: %+v", v)
			}
			w.checkArchive(t)
			for p := range tree(t, filepath.Dir(w.root)) {
				if _, ok := outside[p]; !ok && !strings.HasPrefix(p, "root/") && !strings.HasPrefix(p, "bucket/") {
					t.Errorf("%s was written", p)
				}
			}
		})
	}
}

// Lists that would overwrite the archive's own, or that put a file where another
// has a folder, cost the files that cannot be placed and no others.
func TestHostileLists(t *testing.T) {
	w := newWorld(t)
	n := w.nameAt(t, "fs")
	var files []sealed
	for _, p := range []string{"archive-info", "backup-info/x", "a/b", "a", "download/x", "good"} {
		f := w.seal(n, strings.Replace(p, "a/b", "other", 1), p)
		f.entry.SealedPath = p
		files = append(files, f)
	}
	w.upload(t, n, files)
	report, err := Run(t.Context(), w.options())
	if !errors.Is(err, ErrIncomplete) || report.Backups[0].Damaged.Count != 3 {
		t.Errorf("%v, %+v", err, report)
	}
	w.checkArchive(t)
	if v := w.versions(t)["fs"]; len(v) != 1 || len(v[0].entries) != 3 {
		t.Errorf("%+v", v)
	}
	// The carried file below a folder with the work folder's old name stays.
	w.now = w.now.AddDate(0, 0, 1)
	u := &nightly{w, "fs", map[string]string{"download/x": "download/x", "good": "good"}}
	u.backup(t)
	w.run(t)
	w.checkArchive(t)
}

func TestFilesOfAnotherStorageStayThere(t *testing.T) {
	w := newWorld(t)
	n := w.nameAt(t, "one")
	f := w.seal(n, "a", "a")
	w.upload(t, n, []sealed{f})
	w.upload(t, w.nameAt(t, "two"), nil, f.entry)
	if _, err := Run(t.Context(), w.options()); !errors.Is(err, ErrIncomplete) {
		t.Errorf("%v", err)
	}
	w.checkArchive(t)
}

// Paths may be longer than the system takes in one piece, and have any form
// that a package can have.
func TestLongPaths(t *testing.T) {
	w := newWorld(t)
	n := w.nameAt(t, "fs")
	var files []sealed
	for _, p := range []string{
		strings.Repeat(strings.Repeat("d", 200)+"/", 40) + "f", strings.Repeat("ä", 120),
		strings.Repeat("x", 150), strings.Repeat("y", 90) + "/" + strings.Repeat("z", 90), "a\nb",
	} {
		f := w.seal(n, p, p)
		if len(p) > 4096 {
			f.entry.SealedPath = p
		}
		files = append(files, f)
	}
	w.upload(t, n, files)
	w.run(t)
	w.now = w.now.AddDate(0, 0, 1)
	n2 := w.nameAt(t, "fs")
	var carried []manifest.Entry
	for _, f := range files {
		carried = append(carried, f.entry)
	}
	w.upload(t, n2, nil, carried...)
	if report := w.run(t); report.Backups[0].Carried != len(files) {
		t.Errorf("%+v", report.Backups)
	}
	root, err := os.OpenRoot(w.root)
	must(t, err)
	defer root.Close()
	for _, f := range files {
		r, err := root.Open(n2.String() + "/" + f.entry.SealedPath)
		must(t, err)
		b, err := io.ReadAll(r)
		must(t, errors.Join(err, r.Close()))
		if manifest.Hash(sha512.Sum512(b)) != f.entry.SealedSHA512 {
			t.Errorf("%.40q has other bytes", f.entry.Path)
		}
	}
	if entries, _ := os.ReadDir(w.folder(n)); len(entries) != 1 {
		t.Errorf("%d entries are left in the old version", len(entries))
	}
}

// Packages of GNU tar, with its long names, as the original makes them.
func TestGNUTar(t *testing.T) {
	for _, format := range []string{"gnu", "pax", "ustar"} {
		w := newWorld(t)
		n := w.nameAt(t, "fs")
		dir := t.TempDir()
		files := []sealed{w.seal(n, "ab/cd", "one"), w.seal(n, strings.Repeat("e", 120)+"/"+strings.Repeat("f", 90), "two")}
		args := []string{"--format=" + format, "-C", dir, "-cf", filepath.Join(dir, "p.tar")}
		var entries []manifest.Entry
		for _, f := range files {
			p := filepath.Join(dir, f.entry.SealedPath)
			must(t, os.MkdirAll(filepath.Dir(p), 0o755))
			must(t, os.WriteFile(p, f.bytes, 0o600))
			args, entries = append(args, f.entry.SealedPath), append(entries, f.entry)
		}
		if out, err := exec.Command("tar", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		b, err := os.ReadFile(filepath.Join(dir, "p.tar"))
		must(t, err)
		w.put(t, n.String()+"/p.tar", b)
		w.put(t, n.String()+"/backup_info", list(t, entries...))
		w.run(t)
		w.checkArchive(t)
	}
}
