package fs

import (
	"bytes"
	"crypto/sha512"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/envelope"
	"github.com/chipster/firn/internal/keys/keystest"
)

// someFiles are of all sizes around a block, with names of all kinds.
func someFiles() map[string]string {
	files := map[string]string{
		"empty": "", "one": "1", "block": string(content(1 << 20)), "more": string(content(1<<20 + 1)),
		"large": string(content(9<<20 + 17)),
	}
	for _, name := range []string{"-rf", "a b", "line\nfeed", "tab\t", "\xff\xfe", "日本", "\\", "*", strings.Repeat("x", 255)} {
		files["odd/"+name] = name
	}
	files[strings.Repeat("deep/", 100)+"file"] = "far down"
	return files
}

// What people copy with gives back what was backed up.
func TestTools(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	a.recipients = envelope.Recipients{Keys: keystest.Private(t, "curve")}
	files := someFiles()
	a.add(first, files)
	m := a.mount(childOptions{KeyFile: original + "/keys/curve.private.base64"})
	from := m.path("latest") + "/"
	large := from + "large"

	t.Run("copies", func(t *testing.T) {
		for what, copy := range map[string]func(to string){
			"cp":    func(to string) { command(t, "cp", "-a", from+".", to) },
			"rsync": func(to string) { command(t, "rsync", "-aHAX", "--checksum", from, to) },
			"tar": func(to string) {
				command(t, "tar", "-C", from, "-cf", to+"/all.tar", ".")
				command(t, "tar", "-C", to, "-xf", to+"/all.tar")
			},
		} {
			to := t.TempDir()
			copy(to)
			for path, want := range files {
				checkFile(t, filepath.Join(to, path), want)
			}
			if n := len(command(t, "find", to, "-type", "f", "!", "-name", "all.tar", "-printf", "x")); n != len(files) {
				t.Errorf("%s copied %d files, not %d", what, n, len(files))
			}
		}
	})
	t.Run("looks", func(t *testing.T) {
		if got := command(t, "find", from, "-type", "f", "-printf", "x"); len(got) != len(files) {
			t.Errorf("find sees %d files, not %d", len(got), len(files))
		}
		if got := command(t, "ls", "-la", from); !strings.Contains(got, "-r--r--r-- 1 ") || !strings.Contains(got, " large\n") || !strings.Contains(got, " ..\n") {
			t.Errorf("ls says %s", got)
		}
		want := fmt.Sprintf("%x  %s\n", sha512.Sum512([]byte(files["large"])), large)
		if got := command(t, "sha512sum", large); got != want {
			t.Errorf("sha512sum says %s", got)
		}
		if got := command(t, "head", "-c", "1000", large); got != files["large"][:1000] {
			t.Error("head differs")
		}
		if got := command(t, "tail", "-c", "100000", large); got != files["large"][len(files["large"])-100000:] {
			t.Error("tail differs")
		}
	})
	t.Run("mmap", func(t *testing.T) { checkMapped(t, large, files["large"]) })
	t.Run("several", func(t *testing.T) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { checkFile(t, large, files["large"]) })
			wg.Go(func() { checkFile(t, from+"more", files["more"]) })
		}
		wg.Wait()
	})
}

// checkMapped reads a file from its end to its beginning through a mapping.
func checkMapped(t *testing.T, file, want string) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := unix.Mmap(int(f.Fd()), 0, len(want), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(b)
	const step = 1 << 20
	for end := len(b); end > 0; end -= step {
		begin := max(0, end-step)
		if !bytes.Equal(b[begin:end], []byte(want[begin:end])) {
			t.Errorf("%d to %d differ", begin, end)
		}
	}
}

// A large folder is listed whole, and again after a rewind, and from its middle.
func TestLargeFolder(t *testing.T) {
	t.Parallel()
	files := map[string]string{}
	for i := range 1500 {
		files[fmt.Sprintf("ab/%05d-%s", i, strings.Repeat("x", i%100))] = ""
	}
	a := newArchive(t)
	a.add(first, files)
	m := a.mount(childOptions{})
	dir, err := os.Open(m.path(first, "ab"))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	begin, err := dir.Readdirnames(1000)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dir.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	all, err := dir.Readdirnames(-1)
	if err != nil || len(all) != len(files) || all[999] != begin[999] {
		t.Fatalf("%d names of %d, %v", len(all), len(files), err)
	}
	if n := strings.Count(command(t, "ls", "-f", m.path(first, "ab")), "\n"); n != len(files)+2 {
		t.Errorf("ls -f has %d lines", n)
	}
}

// An ordinary user mounts for himself, with the help of fusermount3.
func TestUserMount(t *testing.T) {
	t.Parallel()
	const nobody = 65534
	base, err := os.MkdirTemp("", "firn-user-mount-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	program := filepath.Join(base, "program")
	a := &archive{TB: t, root: filepath.Join(base, "archive")}
	a.add(first, map[string]string{"ab/file": "content"})
	command(t, "cp", os.Args[0], program)
	for _, dir := range []string{"mount", "catalog", "dev"} {
		a.mkdir(filepath.Join(base, dir))
		if err := os.Chown(filepath.Join(base, dir), nobody, nobody); err != nil {
			t.Fatalf("this test changes its user, as root: %v", err)
		}
	}
	command(t, "chmod", "-R", "a+rX", base)
	// Not everywhere can users open /dev/fuse, so the mount gets a world of its
	// own, where they can. Copies of other tests' mounts would keep these alive.
	const world = `set -e
		umount --all --lazy --types fuse.firn || :
		mount -t tmpfs tmpfs "$0/dev" && mknod -m 666 "$0/dev/fuse" c 10 229 && mount --bind "$0/dev/fuse" /dev/fuse
		exec "$@"`
	user := []string{"setpriv", fmt.Sprint("--reuid=", nobody), fmt.Sprint("--regid=", nobody), "--clear-groups"}
	o := childOptions{Archive: a.root, Mountpoint: filepath.Join(base, "mount"), CatalogPath: filepath.Join(base, "catalog", "db")}
	m := start(t, o, slices.Concat([]string{"unshare", "--mount", "sh", "-c", world, base}, user, []string{program})...)
	inside := func(args ...string) (string, error) {
		return tryCommand(t, "nsenter", append([]string{"--mount", "--target", fmt.Sprint(m.cmd.Process.Pid)}, args...)...)
	}
	asUser := func(args ...string) (string, error) { return inside(slices.Concat(user, args)...) }
	file := m.path("latest/ab/file")
	if got, err := asUser("stat", "-L", "-c", "%u %s", file); got != "65534 7\n" {
		t.Errorf("stat says %q, %v", got, err)
	}
	if got, err := asUser("cat", file); got != "content" {
		t.Errorf("cat says %q, %v", got, err)
	}
	if _, err := asUser("touch", file); err == nil || !strings.Contains(err.Error(), "Read-only file system") {
		t.Errorf("touch: %v", err)
	}
	if _, err := inside("stat", file); err == nil {
		t.Error("root sees a user's mount") // against FUSE's rule, without allow_other
	}
	if err := m.stop(t); err != nil {
		t.Error(err, m.log)
	}
}

func TestUnmount(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	a.add(first, map[string]string{"ab/file": string(content(2 << 20))})
	t.Run("by others", func(t *testing.T) {
		m := a.mount(childOptions{})
		command(t, "umount", m.dir)
		if err := m.wait(t); err != nil {
			t.Error(err, m.log)
		}
		m.once.Do(func() {})
	})
	t.Run("while in use", func(t *testing.T) {
		m := a.mount(childOptions{})
		f, err := os.Open(m.path(first, "ab/file"))
		if err != nil {
			t.Fatal(err)
		}
		_ = m.cmd.Process.Signal(syscall.SIGTERM)
		eventually(t, "the mountpoint is free", func() bool {
			entries, err := os.ReadDir(m.dir)
			return err == nil && len(entries) == 0
		})
		b := make([]byte, 10)
		if _, err := f.ReadAt(b, 1<<20); err != nil {
			t.Errorf("the open file cannot be read any more: %v", err)
		}
		f.Close()
		if err := m.wait(t); err != nil || !strings.Contains(m.log.String(), "busy") {
			t.Error(err, m.log)
		}
		m.once.Do(func() {})
	})
}

func TestUnfitMountpoints(t *testing.T) {
	a := newArchive(t)
	a.add(first, nil)
	full, file, link := t.TempDir(), filepath.Join(t.TempDir(), "file"), filepath.Join(t.TempDir(), "link")
	for _, err := range []error{os.Mkdir(full+"/x", 0o700), os.WriteFile(file, nil, 0o600), os.Symlink(a.folder(first), link)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	a.mkdir(a.folder(first) + "/empty")
	for what, c := range map[string]struct{ mountpoint, want string }{
		"full":           {full, `it is not empty, it has "x" in it`},
		"file":           {file, "it is not a folder"},
		"missing":        {file + "2", "no such file or directory"},
		"archive":        {a.root, "it lies in the archive"},
		"in the archive": {a.folder(first) + "/empty", "it lies in the archive"},
		"linked":         {link + "/empty", "it lies in the archive"},
		"around":         {filepath.Dir(a.root), "lies in it"},
	} {
		if _, err := Mount(Options{Archive: a.root, Mountpoint: c.mountpoint}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Whoever is killed while he waits is gone at once.
func TestInterruptedReader(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	a.add(first, map[string]string{"ab/file": string(content(8 << 20))})
	m := a.mount(childOptions{})
	for range 5 {
		_, err := tryCommand(t, "timeout", "-s", "INT", "0.01", "cat", m.path(first, "ab/file"))
		if err != nil && strings.Contains(err.Error(), "Input/output error") {
			t.Error(err)
		}
	}
	begun := time.Now()
	if got := command(t, "cat", m.path(first, "ab/file")); len(got) != 8<<20 || time.Since(begun) > 10*time.Second {
		t.Errorf("%d bytes after %v", len(got), time.Since(begun))
	}
}
