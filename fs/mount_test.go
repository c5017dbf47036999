package fs

import (
	"crypto/sha512"
	"encoding/json"
	"errors"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/keys/keystest"
	"github.com/chipster/firn/internal/manifest"
)

// Every version of every archive of the original system can be read.
func TestOriginalArchives(t *testing.T) {
	t.Parallel()
	for kind, o := range map[string]childOptions{
		"rsa": {KeyFile: original + "/keys/chipster.private.base64"}, "curve": {KeyFile: original + "/keys/curve.private.base64"},
		"passphrase": {Passphrase: passphrase(t)}, "plain": {},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(filepath.Join(original, kind, "expected.json"))
			var expected map[string]map[string]string
			if err != nil || json.Unmarshal(data, &expected) != nil || len(expected) < 4 {
				t.Fatal(err)
			}
			o.Archive = filepath.Join(original, kind, "archive")
			m := mount(t, o)
			for version, files := range expected {
				checkVersion(t, filepath.Join(m.dir, strings.Replace(version, "_", "/", 1)), files)
			}
			target, err := os.Readlink(m.path("latest"))
			if err != nil || target != "2021-03-04T01:10:00.123456Z" {
				t.Errorf("latest is %q, %v", target, err)
			}
		})
	}
}

func checkVersion(t *testing.T, folder string, want map[string]string) {
	t.Helper()
	found := 0
	err := filepath.WalkDir(folder, func(file string, d iofs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		found++
		b, err := os.ReadFile(file)
		if rel := strings.TrimPrefix(file, folder+"/"); manifest.Hash(sha512.Sum512(b)).String() != want[rel] {
			t.Errorf("%s differs: %d bytes, %v", file, len(b), err)
		}
		return err
	})
	if err != nil || found != len(want) {
		t.Errorf("%s: %d files, %v, want %d", folder, found, err, len(want))
	}
}

func passphrase(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(original + "/keys/passphrase.txt")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func TestAttributes(t *testing.T) {
	t.Parallel()
	at := time.Date(2020, 2, 29, 12, 34, 56, 789012345, time.UTC)
	a := newArchive(t)
	a.add(first, map[string]string{"ab/plain": "12345"})
	a.add(second, map[string]string{"ab/secret": "12345"}, manifest.Details{Modified: at, Mode: 0o4640, HasMode: true})
	m := a.mount(childOptions{})
	version, _ := time.Parse(time.RFC3339Nano, first)
	for path, want := range map[string]struct {
		mode iofs.FileMode
		at   time.Time
		size int64
	}{
		first:                 {0o555 | iofs.ModeDir, version, 0},
		first + "/ab":         {0o555 | iofs.ModeDir, version, 0},
		first + "/ab/plain":   {0o444, version, 5},
		second + "/ab/secret": {0o440, at, 5},
	} {
		info, err := os.Lstat(m.path(path))
		if err != nil || info.Mode() != want.mode || !info.ModTime().Equal(want.at) || info.Size() != want.size {
			t.Errorf("%s: %+v, %v", path, info, err)
			continue
		}
		if st := info.Sys().(*syscall.Stat_t); st.Nlink != 1 || int(st.Uid) != os.Getuid() || st.Blocks != (want.size+511)/512 {
			t.Errorf("%s: %+v", path, st)
		}
	}
	var fs unix.Statfs_t
	err := uninterrupted(func() error { return unix.Statfs(m.dir, &fs) })
	if err != nil || fs.Files != 2 || fs.Bfree != 0 || fs.Namelen != 255 {
		t.Errorf("%+v, %v", fs, err)
	}
	err = uninterrupted(func() error {
		_, err := unix.Listxattr(m.path(first, "ab/plain"), nil)
		return err
	})
	if err != unix.ENOTSUP && err != nil {
		t.Errorf("extended attributes: %v", err)
	}
	before := inode(t, m.path(first, "ab/plain"))
	if err := m.stop(t); err != nil {
		t.Fatal(err, m.log)
	}
	again := a.mount(childOptions{})
	if after := inode(t, again.path(first, "ab/plain")); after != before || before == inode(t, again.path(second, "ab/secret")) {
		t.Errorf("the inode was %d and is %d", before, after)
	}
}

func inode(t testing.TB, file string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	a.add(first, map[string]string{"ab/file": "x"})
	m := a.mount(childOptions{})
	file := m.path(first, "ab/file")
	open := func(name string, flags int) error {
		f, err := os.OpenFile(name, flags, 0o600)
		if err == nil {
			f.Close()
		}
		return err
	}
	for what, err := range map[string]error{
		"create": open(file+"2", os.O_CREATE|os.O_WRONLY), "write": open(file, os.O_WRONLY), "append": open(file, os.O_RDWR|os.O_APPEND),
		"truncate": os.Truncate(file, 0), "remove": os.Remove(file), "rename": os.Rename(file, file+"2"), "mkdir": os.Mkdir(m.path("x"), 0o700),
		"chmod": os.Chmod(file, 0o777), "touch": os.Chtimes(file, time.Now(), time.Now()), "link": os.Link(file, file+"2"),
		"symlink": os.Symlink("x", m.path("x")), "rmdir": os.Remove(m.path(first)), "unlink latest": os.Remove(m.path("latest")),
	} {
		if !errors.Is(err, unix.EROFS) {
			t.Errorf("%s: %v", what, err)
		}
	}
	checkFile(t, file, "x")
}

func TestVersionsComeAndGo(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	a.add(first, map[string]string{"ab/old": "old", "ab/both": "both"})
	a.add(second, map[string]string{"ab/new": "new"})
	m := a.mount(childOptions{})
	checkNames(t, m.path(), second, first, "latest")
	checkFile(t, m.path("latest/ab/new"), "new")

	open, err := os.Open(m.path(first, "ab/old"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	a.add(third, map[string]string{"ab/newest": "newest"})
	eventually(t, "the new version appears", func() bool {
		b, err := os.ReadFile(m.path("latest/ab/newest"))
		return err == nil && string(b) == "newest"
	})
	checkNames(t, m.path(), first, second, third, "latest")

	if err := os.RemoveAll(a.folder(first)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pruned version goes", func() bool {
		_, err := os.Stat(m.path(first))
		return errors.Is(err, iofs.ErrNotExist)
	})
	b := make([]byte, 10)
	if n, _ := open.ReadAt(b, 0); string(b[:n]) != "old" {
		t.Errorf("the file that was open reads %q", b[:n])
	}
	checkNames(t, m.path(), second, third, "latest")
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never comes that %s", what)
		}
	}
}

func checkNames(t testing.TB, folder string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	slices.Sort(want)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%s holds %q, %v, want %q", folder, got, err, want)
	}
}

// The archiver moves a file from one folder to the next while it is open, and
// before it is opened again.
func TestFilesMove(t *testing.T) {
	t.Parallel()
	large := string(content(3 << 20))
	a := newArchive(t)
	a.add(first, map[string]string{"ab/file": large})
	m := a.mount(childOptions{})
	open, err := os.Open(m.path(first, "ab/file"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	a.add(second, map[string]string{"ab/file": large})
	if err := os.Remove(a.sealed(first, "ab/file")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(large))
	if n, err := open.ReadAt(b, 0); err != nil || string(b[:n]) != large {
		t.Errorf("%d bytes, %v", n, err)
	}
	checkFile(t, m.path(first, "ab/file"), large)
}

func TestDamagedFile(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	a.add(first, map[string]string{"ab/large": string(content(9 << 20)), "ab/small": "12345", "ab/missing": "x", "ab/good": "good"})
	a.damage(first, "ab/large")
	a.damage(first, "ab/small")
	if err := os.Remove(a.sealed(first, "ab/missing")); err != nil {
		t.Fatal(err)
	}
	m := a.mount(childOptions{})
	for _, name := range []string{"large", "small", "missing"} {
		for range 2 {
			if _, err := tryCommand(t, "cp", m.path(first, "ab", name), t.TempDir()); err == nil || !strings.Contains(err.Error(), "Input/output error") {
				t.Errorf("cp of the %s file: %v", name, err)
			}
		}
	}
	checkFile(t, m.path(first, "ab/good"), "good")
	checkNames(t, m.path(first, "ab"), "good", "large", "missing", "small")
	m.stop(t) // the log is whole when the child has ended
	for _, name := range []string{"large", "small", "missing"} {
		lines := slices.DeleteFunc(strings.Split(m.log.String(), "\n"), func(line string) bool { return !strings.Contains(line, "path=ab/"+name) })
		if len(lines) != 2 || !strings.Contains(lines[0], "version=file-storage_"+first) || name != "missing" && !strings.Contains(lines[0], "offset=") {
			t.Errorf("two attempts logged %q", lines)
		}
	}
}

func TestWrongKey(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	a.recipients = envelope.Recipients{Keys: keystest.Private(t, "curve")}
	a.add(first, map[string]string{"ab/1": "x", "ab/2": "x", "ab/3": "x"})
	m := a.mount(childOptions{KeyFile: original + "/keys/chipster.private.base64"})
	for _, name := range []string{"1", "2", "3"} {
		if _, err := os.ReadFile(m.path(first, "ab", name)); !errors.Is(err, unix.EACCES) {
			t.Errorf("%s: %v", name, err)
		}
	}
	m.stop(t) // the log is whole when the child has ended
	if log := m.log.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "no key opens the sealed file: it is sealed for key ") {
		t.Errorf("logged %q", log)
	}
}

func TestOneVersionOrStorage(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	a.add(first, map[string]string{"ab/file": "first"})
	a.add(second, map[string]string{"ab/file": "second"})
	other := filepath.Join(a.root, "other_"+third)
	a.mkdir(other)
	if err := os.WriteFile(filepath.Join(other, manifest.ArchiveInfo), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	m := a.mount(childOptions{Version: "file-storage/" + first})
	checkFile(t, m.dir+"/ab/file", "first")
	checkNames(t, m.dir, "ab")
	checkNames(t, a.mount(childOptions{}).dir, "file-storage", "other")
	m = a.mount(childOptions{Storage: "other"})
	checkNames(t, m.dir, "other")
	checkNames(t, m.dir+"/other", third, "latest")
	checkNames(t, m.dir+"/other/latest")
}

// uninterrupted calls again what a signal interrupts, as package os does: Go sends
// its own threads signals.
func uninterrupted(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
