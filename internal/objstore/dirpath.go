package objstore

import "strings"

// A key is the path of its file, but for these names between slashes, which a
// folder cannot hold or which mean something else there: the empty one (in
// "name//abs/x.tar"), ".", "..", one with a zero byte, one of more than 255
// bytes, tmpDir, and those that begin with one of the marks below. They are
// written as
//
//	.firn%TEXT            TEXT is the name with %00 for a zero byte and %25 for %
//	.firn+TEXT/.firn%TEXT a TEXT of more than 200 bytes, 200 in each but the last
//
// so "a//b" is a/.firn%/b. Every key has exactly one path. Files whose path is
// that of no key are not listed.
const (
	markLast = ".firn%"
	markMore = ".firn+"
	// tmpDir is the folder of the unfinished writes, at the top of the store.
	tmpDir = ".firn-tmp"

	maxName  = 255
	maxPiece = 200
)

var (
	escape   = strings.NewReplacer("%", "%25", "\x00", "%00")
	unescape = strings.NewReplacer("%25", "%", "%00", "\x00")
)

// keyPath is the path of a key's file, relative to the store.
func keyPath(key string) (string, error) {
	if key == "" {
		return "", errNoKey
	}
	names := strings.Split(key, "/")
	for i, name := range names {
		names[i] = encodeName(name)
	}
	return strings.Join(names, "/"), nil
}

func encodeName(name string) string {
	if isPlainName(name) {
		return name
	}
	var b strings.Builder
	text := escape.Replace(name)
	for ; len(text) > maxPiece; text = text[maxPiece:] {
		b.WriteString(markMore + text[:maxPiece] + "/")
	}
	return b.String() + markLast + text
}

func isPlainName(name string) bool {
	switch name {
	case "", ".", "..", tmpDir:
		return false
	}
	return len(name) <= maxName && !strings.ContainsRune(name, 0) &&
		!strings.HasPrefix(name, markLast) && !strings.HasPrefix(name, markMore)
}

// decodeName turns what encodeName wrote, the pieces before it already joined
// in text, back into the name. It does not check that this is the one way to
// write it: isPathOf does.
func decodeName(text, last string) string {
	if rest, ok := strings.CutPrefix(last, markLast); ok {
		return unescape.Replace(text + rest)
	}
	return text + last
}

// isPathOf tells whether file is where the object of this key belongs.
func isPathOf(key, file string) bool {
	want, err := keyPath(key)
	return err == nil && want == file
}
