package runs

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// stampLayout sorts as text.
const stampLayout = "20060102T150405.000000Z"

// idPattern is the form of an ID: an instant, a job, and something random. It has
// nothing in it that a path or a URL could take for more than a name.
var idPattern = regexp.MustCompile(`^\d{8}T\d{6}\.\d{6}Z-([A-Za-z0-9_.~-]{1,120})-[0-9a-f]{8}$`)

func validID(id string) bool { return idPattern.MatchString(id) }

// newID makes an ID that nobody has had.
func newID(stamp time.Time, job string) string {
	var tail [4]byte
	_, _ = rand.Read(tail[:]) // never fails
	return stamp.UTC().Format(stampLayout) + "-" + escape(job) + "-" + hex.EncodeToString(tail[:])
}

// jobOf is the escaped job in an ID.
func jobOf(id string) string {
	if parts := idPattern.FindStringSubmatch(id); parts != nil {
		return parts[1]
	}
	return ""
}

// escape writes the name of a job, which may be any, in the letters that IDs
// take. Of long ones it is the beginning.
func escape(job string) string {
	var b strings.Builder
	for _, c := range []byte(job) {
		if b.Len() > 100 {
			break
		}
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '.', c == '-':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "~%02x", c)
		}
	}
	if b.Len() == 0 {
		return "~"
	}
	return b.String()
}
