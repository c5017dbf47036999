package runs

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// stampLayout sorts as text.
const stampLayout = "20060102T150405.000000Z"

// tailLength is that of the random end of an ID, in digits.
const tailLength = 8

// longestJob is more than escape returns.
const longestJob = 120

// validID tells whether an ID has the form of one: an instant, a job, and
// something random. Such a one has nothing in it that a path or a URL could take
// for more than a name.
func validID(id string) bool {
	const stamp = len(stampLayout)
	if len(id) < stamp+tailLength+3 || len(id) > stamp+longestJob+tailLength+2 {
		return false
	}
	for i := range stamp {
		if isDigit(stampLayout[i]) != isDigit(id[i]) || !isDigit(id[i]) && id[i] != stampLayout[i] {
			return false
		}
	}
	job, tail := jobOf(id), id[len(id)-tailLength:]
	return id[stamp] == '-' && id[len(id)-tailLength-1] == '-' && isJob(job) && isTail(tail)
}

// isJob tells whether a text could be of escape.
func isJob(text string) bool {
	for _, c := range []byte(text) {
		if !isLetter(c) && c != '~' {
			return false
		}
	}
	return true
}

func isLetter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c) || c == '_' || c == '.' || c == '-'
}

func isTail(text string) bool {
	for _, c := range []byte(text) {
		if !isDigit(c) && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// newID makes an ID that nobody has had.
func newID(stamp time.Time, job string) string {
	var tail [4]byte
	_, _ = rand.Read(tail[:]) // never fails
	return stamp.UTC().Format(stampLayout) + "-" + escape(job) + "-" + hex.EncodeToString(tail[:])
}

// jobOf is the escaped job in a valid ID.
func jobOf(id string) string { return id[len(stampLayout)+1 : len(id)-tailLength-1] }

// escape writes the name of a job, which may be any, in the letters that IDs
// take. Of long ones it is the beginning.
func escape(job string) string {
	var b strings.Builder
	for _, c := range []byte(job) {
		if b.Len() > 100 {
			break
		}
		if isLetter(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "~%02x", c)
		}
	}
	if b.Len() == 0 {
		return "~"
	}
	return b.String()
}
