package e2e

import (
	"encoding/json"
	"io/fs"
	"maps"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// shownVersion is an answer of `firn versions`.
type shownVersion struct {
	Name, Storage, Damaged string
	Time                   time.Time
	Files                  int
	Bytes                  int64
}

// shownFile is an answer of `firn ls`.
type shownFile struct {
	Path     string
	Folder   bool
	Size     int64
	SHA512   string
	Modified time.Time
	Mode     string
}

// shownChange is an answer of `firn diff`.
type shownChange struct {
	Kind, Path string
	Old, New   *struct {
		Size   int64
		SHA512 string
	}
}

// checkAnswers compares what the program tells of the versions with the copies.
func (n *nights) checkAnswers() {
	n.Helper()
	var versions []shownVersion
	n.firnJSON(&versions, "versions", n.archive, n.catalog())
	if len(versions) != len(n.all) {
		n.Fatalf("%d versions, not %d", len(versions), len(n.all))
	}
	for i, v := range n.all {
		var size int64
		for _, f := range v.files {
			size += f.size
		}
		got := versions[i]
		_, instant, _ := strings.Cut(v.backup, "_")
		if got.Name != v.backup || got.Storage != "file-storage" || got.Time.Format("2006-01-02T15:04:05.000Z") != instant ||
			got.Files != len(v.files) || got.Bytes != size || got.Damaged != "" {
			n.Errorf("version %d is shown as %+v, not %s with %d files of %d bytes", i, got, v.backup, len(v.files), size)
		}
		sameTree(n, "firn ls "+v.backup, n.list(v.backup, "-R"), v.files, 0o777)
	}
	n.checkFolder(n.all[0])
	for i := range n.all[1:] {
		n.checkDiff(n.all[i], n.all[i+1])
	}
	n.checkDiff(n.all[len(n.all)-1], n.all[0])
}

// list is what `firn ls` says, as a tree of files.
func (n *nights) list(args ...string) map[string]file {
	n.Helper()
	files := map[string]file{}
	for _, f := range answers[shownFile](n.world, append([]string{"ls", n.archive}, args...)...) {
		mode, err := strconv.ParseUint(f.Mode, 8, 9)
		if err != nil && !f.Folder {
			n.Errorf("%+v: %v", f, err)
		}
		files[unescaped(f.Path)] = file{f.Size, f.SHA512, f.Modified, fs.FileMode(mode)}
	}
	return files
}

// checkFolder compares the topmost folder, which is not listed as a whole.
func (n *nights) checkFolder(v night) {
	n.Helper()
	want := map[string]bool{}
	for name := range v.files {
		top, _, _ := strings.Cut(name, "/")
		want[top] = true
	}
	got := map[string]bool{}
	for name := range n.list(v.backup) {
		got[name] = true
	}
	if !maps.Equal(got, want) {
		n.Errorf("firn ls %s:\n%v\nnot\n%v", v.backup, got, want)
	}
	for name, f := range v.files {
		if dir := path.Dir(name); dir != "." {
			if got := n.list(v.backup, name); len(got) != 1 || got[name].hash != f.hash {
				n.Errorf("firn ls %s %q: %+v", v.backup, name, got)
			}
			break
		}
	}
}

func (n *nights) checkDiff(a, b night) {
	n.Helper()
	want := map[string]string{}
	for name, f := range a.files {
		g, ok := b.files[name]
		switch {
		case !ok:
			want[name] = "removed"
		case f.hash != g.hash:
			want[name] = "changed"
		}
	}
	for name := range b.files {
		if _, ok := a.files[name]; !ok {
			want[name] = "added"
		}
	}
	got := map[string]string{}
	for _, change := range answers[shownChange](n.world, "diff", n.archive, a.backup, b.backup) {
		name := unescaped(change.Path)
		got[name] = change.Kind
		if change.Old != nil && change.Old.SHA512 != a.files[name].hash || change.New != nil && change.New.SHA512 != b.files[name].hash {
			n.Errorf("diff of %q has other hashes: %+v", name, change)
		}
	}
	if len(want) == 0 || !maps.Equal(got, want) {
		n.Errorf("diff %s %s:\n%q\nnot\n%q", a.backup, b.backup, got, want)
	}
}

// answers reads what a command prints with --json, an object a line.
func answers[T any](w *world, args ...string) (all []T) {
	w.Helper()
	out := w.firn(append(args, w.catalog(), "--json")...)
	for line := range strings.Lines(out) {
		var one T
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			w.Fatalf("%q: %v in %q", args, err, line)
		}
		all = append(all, one)
	}
	return all
}

var escape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// unescaped is the path that stands in JSON: where anything in it looks like an
// escape, then all of it is escaped.
func unescaped(text string) string {
	if !escape.MatchString(text) {
		return text
	}
	name, err := url.PathUnescape(text)
	if err != nil {
		panic(err)
	}
	return name
}
