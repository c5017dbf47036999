package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
)

// asProgram makes of the test the program.
const asProgram = "FIRN_SCALE_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func mustLists(t *testing.T, files, versions int) *lists {
	t.Helper()
	l, err := newLists(files, versions)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *lists) whole(version int) []byte { return l.appendRange(nil, version, 0, l.size()) }

// entriesOf reads a list as firn does.
func entriesOf(t *testing.T, list []byte) []manifest.Entry {
	t.Helper()
	var all []manifest.Entry
	for e, err := range manifest.Read(bytes.NewReader(list)) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func TestListsAreAsFirnWritesThem(t *testing.T) {
	l := mustLists(t, 25_600, 3)
	entries := entriesOf(t, l.whole(2))
	if len(entries) != l.files {
		t.Fatalf("%d lines, not %d", len(entries), l.files)
	}
	var written []byte
	folders, hashes := map[string]int{}, map[[64]byte]bool{}
	for i, e := range entries {
		if i > 0 && e.Path <= entries[i-1].Path {
			t.Fatalf("%s does not come after %s", e.Path, entries[i-1].Path)
		}
		folder, name := filepath.Split(e.Path)
		if folder[:2] != name[:2] || e.SealedPath != e.Path+".lz4.gpg" || !strings.HasPrefix(e.Package, name[:4]+"_") || e.Backup.String() != l.name(2) {
			t.Fatalf("line %d is %+v", i, e)
		}
		folders[folder]++
		hashes[e.SHA512], hashes[e.SealedSHA512] = true, true
		var err error
		if written, err = manifest.AppendLine(written, &e); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(written, l.whole(2)) {
		t.Error("firn would write another list")
	}
	if len(hashes) != 2*l.files {
		t.Errorf("%d different hashes of %d files", len(hashes), l.files)
	}
	for folder, n := range folders {
		if n != 100 {
			t.Errorf("%d files in %s, not 100", n, folder)
		}
	}
}

func TestOneInAHundredIsReplacedEachNight(t *testing.T) {
	l := mustLists(t, 100_000, 203)
	for _, v := range []int{1, 2, 59, 100, 101, 202} {
		differ := 0
		for i := range uint64(l.files) {
			before, _, _ := strings.Cut(string(l.appendLine(nil, v-1, i)), "\t")
			if after := l.appendLine(nil, v, i); !bytes.HasPrefix(after, []byte(before)) {
				differ++
			}
		}
		if differ < 900 || differ > 1100 {
			t.Errorf("version %d has %d names that the one before had not", v, differ)
		}
	}
}

func TestAnyPartOfAListIsTheSame(t *testing.T) {
	l := mustLists(t, 300, 2)
	whole := l.whole(1)
	if int64(len(whole)) != l.size() {
		t.Fatalf("%d bytes, not %d", len(whole), l.size())
	}
	for _, length := range []int64{0, 1, l.length() - 1, l.length(), l.length() + 1, 4096} {
		for from := int64(0); from+length <= l.size(); from += 97 {
			room := append(make([]byte, 0, 6+length), "before"...)
			part := l.appendRange(room, 1, from, from+length)
			if !bytes.Equal(part[6:], whole[from:from+length]) || string(part[:6]) != "before" {
				t.Fatalf("%d bytes from %d on differ", length, from)
			}
			if &part[0] != &room[0] {
				t.Fatalf("%d bytes from %d on need more room than they take", length, from)
			}
		}
	}
}

func TestMount(t *testing.T) {
	l := mustLists(t, 10_000, 3)
	dir := t.TempDir()
	// A process that reads from itself gets stuck where its runtime cannot wait.
	server := exec.Command(os.Args[0], "10000", "3", dir)
	server.Env = append(os.Environ(), asProgram+"=1")
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(server.Process.Signal(syscall.SIGTERM), server.Wait()); err != nil {
			t.Error(err)
		}
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if inside, err := os.ReadDir(dir); err != nil || len(inside) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the mount does not come up: is fuse3 installed? (make tools)")
		}
	}
	folders, err := os.ReadDir(dir)
	if err != nil || len(folders) != l.versions {
		t.Fatalf("%d folders, %v", len(folders), err)
	}
	for v, folder := range folders {
		name, err := backupname.Parse(folder.Name())
		if err != nil || !name.Time().Equal(l.time(v)) {
			t.Errorf("version %d is %s, %v", v, folder.Name(), err)
		}
		inside, err := os.ReadDir(filepath.Join(dir, folder.Name()))
		if err != nil || len(inside) != 1 || inside[0].Name() != "archive-info" {
			t.Errorf("in %s is %v, %v", folder.Name(), inside, err)
		}
		path := filepath.Join(dir, folder.Name(), "archive-info")
		for _, of := range []string{filepath.Dir(path), path} {
			if info, err := os.Stat(of); err != nil || !info.ModTime().Equal(l.time(v)) {
				t.Errorf("%s is not from %v: %v, %v", of, l.time(v), info, err)
			}
		}
		list, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(list, l.whole(v)) {
			t.Errorf("the list of version %d differs: %d bytes, not %d, %v", v, len(list), l.size(), err)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, ".firn")); !os.IsNotExist(err) {
		t.Errorf("what is not there: %v", err)
	}
	for _, path := range []string{"new", l.name(0) + "/archive-info"} {
		if err := os.WriteFile(filepath.Join(dir, path), nil, 0o644); !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s can be written: %v", path, err)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"1", "2"}, {"x", "1", "d"}, {"0", "1", "d"}, {"1", "0", "d"}, {"17000000", "1", "d"}} {
		if err := command(args); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}
