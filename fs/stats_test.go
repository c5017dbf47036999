package fs

import (
	"encoding/json"
	"errors"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/keys/keystest"
)

// stats reads the mount's numbers.
func (m *mounted) stats(t testing.TB) (r Stats) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(m.dir, statsName))
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		t.Fatalf("%v: %q", err, b)
	}
	return r
}

// The mount tells what it did, in a file that nobody sees who does not ask.
func TestStats(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	a.add(first, map[string]string{"ab/large": string(content(9 << 20)), "ab/bad": "12345"})
	a.damage(first, "ab/bad")
	m := a.mount(childOptions{})
	if r := m.stats(t); r.Reads != 0 || r.CacheLimit != DefaultCacheBytes || len(r.Errors) != 0 {
		t.Errorf("at the beginning: %+v", r)
	}
	checkFile(t, m.path(first, "ab/large"), string(content(9<<20)))
	if _, err := os.ReadFile(m.path(first, "ab/bad")); err == nil {
		t.Error("a damaged file was read")
	}
	r := m.stats(t)
	if r.Opens != 2 || r.BytesRead != 9<<20 || r.BlockMisses+r.BlocksAhead < 9 || r.SealedBytesRead < 4<<20 || r.CacheBytes < 9<<20 || r.Errors["EIO"] == 0 {
		t.Errorf("after a file was read: %+v", r)
	}
	checkNames(t, m.dir, "file-storage")
	if err := os.WriteFile(filepath.Join(m.dir, statsName), nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("the numbers are written: %v", err)
	}
	m = a.mount(childOptions{Version: "file-storage/" + first})
	if _, err := os.Stat(filepath.Join(m.dir, statsName)); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("numbers in a version: %v", err)
	}
}

// When all files are closed, the mount holds none.
func TestNothingStaysOpen(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	a.recipients = envelope.Recipients{Keys: keystest.Private(t, "curve")}
	files := someFiles()
	a.add(first, files)
	m := a.mount(childOptions{KeyFile: original + "/keys/curve.private.base64"})
	count := func() int {
		open := 0
		entries, err := os.ReadDir("/proc/" + strconv.Itoa(m.cmd.Process.Pid) + "/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if target, err := os.Readlink("/proc/" + strconv.Itoa(m.cmd.Process.Pid) + "/fd/" + e.Name()); err == nil && len(target) > len(a.root) && target[:len(a.root)] == a.root {
				open++
			}
		}
		return open
	}
	f, err := os.Open(m.path(first, "large"))
	if err != nil {
		t.Fatal(err)
	}
	if count() != 1 || m.stats(t).OpenFiles != 1 {
		t.Errorf("%d descriptors, %d files are open", count(), m.stats(t).OpenFiles)
	}
	for path, want := range files {
		checkFile(t, m.path(first, path), want)
	}
	f.Close()
	eventually(t, "all is closed", func() bool { return count() == 0 && m.stats(t).OpenFiles == 0 })
}

// Only who reads straight ahead has something fetched that he did not ask for.
func TestReadAheadInMount(t *testing.T) {
	t.Parallel()
	large := string(content(40 << 20))
	a := newArchive(t)
	a.add(first, map[string]string{"ab/large": large})
	m := a.mount(childOptions{})
	f, err := os.Open(m.path(first, "ab/large"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 100)
	for _, mib := range []int64{30, 10, 22, 2, 16, 36} {
		if _, err := f.ReadAt(b, mib<<20+500); err != nil || string(b) != large[mib<<20+500:mib<<20+600] {
			t.Error(err)
		}
	}
	if r := m.stats(t); r.BlocksAhead != 0 || r.BlockMisses > 12 {
		t.Errorf("random reads: %+v", r)
	}
	checkFile(t, m.path(first, "ab/large"), large)
	if r := m.stats(t); r.BlocksAhead == 0 || r.BlocksAheadUsed == 0 || r.BlockMisses+r.BlocksAhead != 40 {
		t.Errorf("straight ahead: %+v", r)
	}
}
