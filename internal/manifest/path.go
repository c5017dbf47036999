package manifest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// CheckPath says why a path cannot be one of a file below a folder, or nil. It
// holds for plain and for sealed paths, and is what keeps a hostile list from
// reaching outside.
func CheckPath(p string) error {
	switch {
	case p == "":
		return errors.New("the path is empty")
	case len(p) > maxPath:
		return fmt.Errorf("the path is longer than %d bytes", maxPath)
	case strings.IndexByte(p, 0) >= 0:
		return fmt.Errorf("the path %s holds a NUL", quote(p))
	case strings.Count(p, "/") >= maxParts:
		return fmt.Errorf("the path %s has more than %d parts", quote(p), maxParts)
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("the path %s is not one below a folder", quote(p))
		}
	}
	return nil
}

// maxPath is far above Linux's 4,096 bytes a path, since a deep folder can be
// reached in steps, and low enough that no list can fill the memory with one.
const maxPath = 64 << 10

// maxParts is as deep as a path can be that Linux takes in one piece, and
// maxSealedParts as one of maxSealedPath bytes. To keep the paths of all folders
// above a file, or to go to each of them from the top, takes the square of that.
const (
	maxParts       = 2048
	maxSealedParts = 500
)

// quote shows the beginning of a text that may be long.
func quote(s string) string { return strconv.Quote(shorten(s)) }

func shorten(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

func checkSealedPath(p string) error {
	if strings.ContainsAny(p, "\t\n") {
		return fmt.Errorf("the sealed path %s does not fit into a column", quote(p))
	}
	if strings.Count(p, "/") >= maxSealedParts {
		return fmt.Errorf("the sealed path %s has more than %d parts", quote(p), maxSealedParts)
	}
	return CheckPath(p)
}

// EscapePath writes a path such that it fits into a column: control characters
// and bytes that are no UTF-8 as %XX. To be sure that no two paths become one,
// the percent signs are escaped too, and a path that looks like an escaped one
// is escaped. Most paths are returned as they are.
func EscapePath(p string) string {
	if !needsEscape(p) {
		return p
	}
	var b strings.Builder
	for i := 0; i < len(p); {
		r, n := utf8.DecodeRuneInString(p[i:])
		if r == utf8.RuneError && n == 1 || isControl(r) || r == '%' {
			fmt.Fprintf(&b, "%%%02X", p[i])
		} else {
			b.WriteString(p[i : i+n])
		}
		i += n
	}
	return b.String()
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

func needsEscape(p string) bool {
	for i := 0; i < len(p); i++ {
		if isControl(rune(p[i])) || isEscape(p[i:]) {
			return true
		}
	}
	return !utf8.ValidString(p)
}

func isEscape(s string) bool {
	return len(s) >= 3 && s[0] == '%' && hexDigit(s[1]) <= 15 && hexDigit(s[2]) <= 15
}

func hexDigit(c byte) byte {
	if 'A' <= c && c <= 'F' {
		return c - 'A' + 10
	}
	return unhex(c)
}

func unescapePath(s string) (string, error) {
	if len(s) > 3*maxPath {
		return "", fmt.Errorf("the escaped path is longer than %d bytes", 3*maxPath)
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if !isEscape(s[i:]) {
			return "", fmt.Errorf("%s has a %% that is not followed by two hexadecimal digits", quote(s))
		}
		b.WriteByte(hexDigit(s[i+1])<<4 | hexDigit(s[i+2]))
		i += 2
	}
	return b.String(), nil
}

const (
	maxSealedName = 255  // bytes in a file name, on Linux's file systems
	maxSealedPath = 1000 // bytes; an object's key, which the path may become part of, has at most 1,024
	longNames     = "long-names"
)

// SealedPath is where the sealed file of a path lies below the folder of its
// backup: the escaped path and the suffix, ".lz4.gpg" or ".lz4". What no file
// system could hold, or not beside other sealed files and the list, is named by
// the SHA-256 of the path instead; the manifest tells which path that was.
func SealedPath(path, suffix string) string {
	p := EscapePath(path) + suffix
	fits := len(p) <= maxSealedPath && !isReserved(p)
	for part := range strings.SplitSeq(p, "/") {
		fits = fits && len(part) <= maxSealedName
	}
	if fits {
		return p
	}
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(path)))
	return longNames + "/" + sum[:2] + "/" + sum + suffix
}

// isReserved tells whether a sealed path would be in the way of others in a
// version's folder: below a folder that has the name of a list, or maybe that of
// another sealed file.
func isReserved(p string) bool {
	folders := strings.Split(p, "/")
	folders = folders[:len(folders)-1]
	if len(folders) > 0 && (folders[0] == longNames || IsListName(folders[0])) {
		return true
	}
	return slices.ContainsFunc(folders, func(f string) bool {
		return strings.HasSuffix(f, ".lz4") || strings.HasSuffix(f, ".lz4.gpg")
	})
}

// IsListName tells whether a file below a version's folder would be taken for
// one of its lists.
func IsListName(name string) bool {
	return slices.Contains(BackupInfoNames, name) || slices.Contains(ArchiveInfoNames, name)
}
