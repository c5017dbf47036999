package backupname

import (
	"errors"
	"strings"
	"testing"
)

// A name comes from a list, a bucket or a folder, and may be anything. What is
// none is refused with a message that can be shown, however long it was.
func TestHostileNames(t *testing.T) {
	const instant = "_2024-01-01T00:00:00Z"
	long := strings.Repeat("\x01", 10<<20)
	for _, text := range []string{
		long, "fs_" + long, long + instant, strings.Repeat("_", 10<<20), strings.Repeat("a", MaxStorage+1) + instant,
		"." + instant, ".." + instant, "../fs" + instant, "/fs" + instant, "fs/.." + instant, `fs\x` + instant, "fs\x00" + instant, "fs\n" + instant, "fs\xff" + instant,
		"fs" + instant + "/", "fs" + instant + "\x00", "fs" + instant + "\n", "fs_" + instant, "fs" + strings.ToLower(instant), "fs_2024-01-01T00:00:00,000Z", "fs_2024-01-01T00:00:00.0Z",
		"fs_2024-01-01T24:00:00Z", "fs_2024-02-30T00:00:00Z", "fs_2024-01-01T00:00:60Z", "fs_-001-01-01T00:00:00Z", "fs_12024-01-01T00:00:00Z", "fs_2024-01-01T00:00:00+00:00",
		"fs_٢٠٢٤-01-01T00:00:00Z",
	} {
		if n, err := Parse(text); !errors.Is(err, ErrInvalid) || !n.IsZero() || len(err.Error()) > 2000 {
			t.Errorf("%.60q is read as %.60q, %.300v", text, n, err)
		}
	}
	if _, err := Parse(strings.Repeat("a", MaxStorage) + "_2024-01-01T00:00:00.000000000Z"); err != nil {
		t.Errorf("the longest name: %v", err)
	}
}
