package uploader

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/chipster/firn/internal/extsort"
)

// The original's rules for what goes into a package together. It grouped by
// the first characters of the file names to keep packages at a size that one
// can download to restore a few files.
const (
	smallSize  = 1 << 20 // files below go into "<prefix>_small_files.tar"
	mediumSize = 1 << 30 // files below go into "<prefix>_medium_files.tar", others have one each
)

// prefixLengths are how many characters of a file's name choose its package, by
// the number of new files. For medium files they are the original's. For small ones
// that would be 65,536 packages of 15 files each for a million, and each package
// costs a request, a wait for the disk and a session key: they have some hundred
// files where there are many, and at most some gigabytes.
func prefixLengths(files int) (small, medium int) {
	switch {
	case files < 500:
		return 0, 0
	case files < 10_000:
		return 1, 1
	case files < 100_000:
		return 2, 2
	case files < 1_000_000:
		return 2, 3
	}
	return 3, 4
}

// packageOfFile is the name of the package that a new file goes into, by the
// lengths of prefixes.
func packageOfFile(f *file, small, medium int) string {
	base := packageText(path.Base(f.path))
	switch {
	case f.size < smallSize:
		return base[:min(small, len(base))] + "_small_files.tar"
	case f.size < mediumSize:
		return base[:min(medium, len(base))] + "_medium_files.tar"
	}
	return base + ".tar"
}

// byPackage sorts new files by their packages, on disk: records of packages'
// names and files' records. The caller closes the result.
func byPackage(all *fresh) (*extsort.Sorter, error) {
	small, medium := prefixLengths(int(all.Len()))
	sorted := extsort.New(sortMemory)
	for record, err := range all.All() {
		if err == nil {
			f := parseFile(cutRecord(record))
			err = sorted.Add([]byte(packageOfFile(&f, small, medium)), []byte(nul), record)
		}
		if err != nil {
			return nil, errors.Join(err, sorted.Close())
		}
	}
	return sorted, nil
}

// group is the files of one package, as they come from disk.
type group struct {
	name  string      // of the package: the last part of its key
	small bool        // the files are
	paths chan string // of the files; closed behind the last
}

// handedOut is how many files of a package are handed out before somebody takes
// them: of most packages all, so that the next one can begin meanwhile.
const handedOut = 500

// handOut begins each package, one after the other, with start, which may wait,
// and then hands out its files.
func handOut(ctx context.Context, sorted iter.Seq2[[]byte, error], start func(*group)) error {
	var g *group
	var name []byte // before a number was put into it
	same := 1       // packages of large files of this name
	for record, err := range sorted {
		if err != nil {
			return err // and ctx ends, so nobody waits for more files
		}
		pkg, rest := cutRecord(record)
		f := parseFile(cutRecord(rest))
		switch {
		case g == nil || !bytes.Equal(pkg, name):
			g, same = nextGroup(g, string(pkg), f.size), 1
			start(g)
		case f.size >= mediumSize:
			same++
			g = nextGroup(g, numbered(string(pkg), same), f.size)
			start(g)
		}
		name = append(name[:0], pkg...)
		select {
		case g.paths <- f.path:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if g != nil {
		close(g.paths)
	}
	return nil
}

// nextGroup ends a group and makes the next.
func nextGroup(before *group, name string, size int64) *group {
	if before != nil {
		close(before.paths)
	}
	return &group{name: name, small: size < smallSize, paths: make(chan string, handedOut)}
}

// numbered tells the packages of large files with one name apart. No file's own
// name has a "_" in a package's, so this one is no other's.
func numbered(pkg string, n int) string {
	return fmt.Sprintf("%s_%d.tar", strings.TrimSuffix(pkg, ".tar"), n)
}

// next is the path of a file that nobody else has taken; false: there is none.
func (g *group) next(ctx context.Context) (path string, ok bool, err error) {
	select {
	case path, ok = <-g.paths:
		return path, ok, nil
	case <-ctx.Done():
		return "", false, ctx.Err()
	}
}

// packageText makes a file's name fit for an object's key that people type: a
// byte for a character, and nothing that a shell or a URL reads its own way.
func packageText(s string) string {
	var b strings.Builder
	for len(s) > 0 && b.Len() < 100 {
		r, n := utf8.DecodeRuneInString(s)
		if r < utf8.RuneSelf && (isAlphanumeric(byte(r)) || strings.ContainsRune("-.", r) && b.Len() > 0) {
			b.WriteByte(byte(r))
		} else {
			b.WriteByte('=')
		}
		s = s[n:]
	}
	return b.String()
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
