package verify

import (
	"crypto/sha512"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/faultfs"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/memorytest"
)

// manyEmpty is an archive of so many empty files, and some that no list names.
func manyEmpty(t *testing.T, root string, count, extra int) {
	t.Helper()
	n, err := backupname.New("s", time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	must(t, err)
	must(t, os.MkdirAll(filepath.Join(root, n.String()), 0o755))
	list, err := os.Create(filepath.Join(root, n.String(), manifest.ArchiveInfo))
	must(t, err)
	w := manifest.NewWriter(list)
	nothing := manifest.Hash(sha512.Sum512(nil))
	for i := range count + extra {
		p := fmt.Sprintf("%02x/%02x-%s", i%256, i, strings.Repeat("x", 60))
		if i < 256 {
			must(t, os.Mkdir(filepath.Join(root, n.String(), p[:2]), 0o755))
		}
		must(t, os.WriteFile(filepath.Join(root, n.String(), p+".lz4"), nil, 0o644))
		if i < count {
			must(t, w.Write(&manifest.Entry{Path: p, SHA512: nothing, SealedPath: p + ".lz4", SealedSHA512: nothing, Backup: n}))
		}
	}
	must(t, errors.Join(w.Flush(), list.Close()))
}

// Memory does not grow with the number of files, of those that no list names
// neither.
func TestMemory(t *testing.T) {
	old := sortMemory
	sortMemory = 256 << 10
	t.Cleanup(func() { sortMemory = old })
	few, many := 10_000, 100_000
	if underRace {
		few, many = few/10, many/10
	}
	peaks := map[int]uint64{}
	for _, count := range []int{few, many} {
		root := t.TempDir()
		faultfs.Tmpfs(t, root, "size=1g")
		manyEmpty(t, root, count, count/100)
		c := openCatalog(t, root)
		var report *Report
		var err error
		peaks[count] = memorytest.Peak(func() { report, err = Run(t.Context(), Options{Catalog: c, Root: root, Logger: quiet, Workers: 2}) })
		if !errors.Is(err, ErrDamaged) || report.Files != int64(count) || report.Extra != int64(count/100) || report.Count != report.Extra {
			t.Fatalf("%v: %d files, %d extra of %d problems", err, report.Files, report.Extra, report.Count)
		}
	}
	t.Logf("at most %d KiB with %d files, %d KiB with %d", peaks[few]>>10, few, peaks[many]>>10, many)
	// The report has 900 problems more, and the heap some garbage. The places alone
	// would be 20 MiB.
	if peaks[many] > peaks[few]+4<<20 {
		t.Errorf("%d bytes with %d files, %d with %d", peaks[few], few, peaks[many], many)
	}
}
