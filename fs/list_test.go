package fs

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	gofuse "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/internal/manifest"
)

// listed is a version of which there is only the list, without a mount: the files
// 0, 1, 2, ... of as many bytes, and a folder of more of them.
func listed(t *testing.T, files int) *folderNode {
	t.Helper()
	name, err := backupname.Parse("file-storage_" + first)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	var list strings.Builder
	w := manifest.NewWriter(&list)
	for i := range files {
		for _, path := range []string{fmt.Sprintf("%05d", i), fmt.Sprintf("folder/%05d", i)} {
			if err := w.Write(&manifest.Entry{Path: path, Size: int64(i), SealedPath: path + ".lz4", Backup: name}); err != nil {
				t.Fatal(err)
			}
		}
	}
	err = os.Mkdir(filepath.Join(root, name.String()), 0o755)
	if err != nil || w.Flush() != nil || os.WriteFile(filepath.Join(root, name.String(), manifest.ArchiveInfo), []byte(list.String()), 0o644) != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	c, err := catalog.Open(t.Context(), root, catalog.Options{Path: filepath.Join(t.TempDir(), "c"), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	node := newVersionNode(&tree{ctx: context.Background(), catalog: c, log: log}, catalog.Version{Name: name})
	gofuse.NewNodeFS(node, &gofuse.Options{})
	return node
}

func (n *folderNode) openForTest(t *testing.T) *folderHandle {
	t.Helper()
	h, _, errno := n.OpendirHandle(t.Context(), 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	return h.(*folderHandle)
}

// Where an entry says that the next one follows, it does, forwards and backwards,
// whatever is asked for in between.
func TestSeekInFolder(t *testing.T) {
	const files = 5000
	n := listed(t, files)
	h := n.openForTest(t)
	var all []fuse.DirEntry
	for {
		e, errno := h.Readdirent(t.Context())
		if errno != 0 {
			t.Fatal(errno)
		}
		if e == nil {
			break
		}
		all = append(all, *e)
	}
	if len(all) != files+3 || all[0].Name != "." || all[1].Name != ".." || all[2].Name != "00000" || all[files+2].Name != "folder" || all[files+2].Mode != syscall.S_IFDIR {
		t.Fatalf("%d entries: %+v", len(all), all[:min(3, len(all))])
	}
	n.t.wanted.Store(1 << 40)
	// Pages end at 1026, 2050, 3074 and 4098.
	for i, to := range []int{0, 3, 2, 1025, 1026, 1027, 2049, 2050, 2051, 2050, 1, 4098, 4097, 2500, 4999, files + 2, 0, 2049, 7} {
		offset := uint64(0)
		if to > 0 {
			offset = all[to-1].Off
		}
		if errno := h.Seekdir(t.Context(), offset); errno != 0 {
			t.Fatal(errno)
		}
		for step := range 3 {
			e, errno := h.Readdirent(t.Context())
			if errno != 0 || to+step < len(all) && (e == nil || *e != all[to+step]) || to+step >= len(all) && e != nil {
				t.Fatalf("seek %d, to %d, and %d entries on: %+v, %v", i, to, step, e, errno)
			}
			if e == nil || to+step < 2 || i%3 == 0 {
				continue
			}
			var out fuse.EntryOut
			node, errno := h.Lookup(t.Context(), e.Name, &out)
			if errno != 0 || node.StableAttr().Ino != e.Ino || e.Mode == syscall.S_IFREG && fmt.Sprintf("%05d", out.Size) != e.Name {
				t.Fatalf("%s has %d bytes and is %v, %v", e.Name, out.Size, node, errno)
			}
		}
	}
	if errno := h.Seekdir(t.Context(), files+100); errno != 0 {
		t.Error("behind the end:", errno)
	}
	h = n.openForTest(t)
	for _, offset := range []uint64{3000, 2} {
		if errno := h.Seekdir(t.Context(), offset); errno != 0 {
			t.Fatal(errno)
		}
	}
	var out fuse.EntryOut
	if e, _ := h.Readdirent(t.Context()); e == nil || e.Name != "00000" {
		t.Fatalf("after a rewind comes %+v", e)
	}
	if _, errno := h.Lookup(t.Context(), "00000", &out); errno != 0 {
		t.Error("the first one, after a rewind:", errno)
	}
}

// A listing that fails half way is an error each time that somebody reads on, not
// an end.
func TestListingFails(t *testing.T) {
	const files = 10000 // more pages than are read ahead
	n := listed(t, files)
	h := n.openForTest(t)
	for range 100 {
		if _, errno := h.Readdirent(t.Context()); errno != 0 {
			t.Fatal(errno)
		}
	}
	if err := n.t.catalog.Close(); err != nil {
		t.Fatal(err)
	}
	read, errno := 100, syscall.Errno(0)
	for errno == 0 && read <= files {
		_, errno = h.Readdirent(t.Context())
		read++
	}
	if errno != syscall.EIO {
		t.Fatalf("after %d entries: %v", read, errno)
	}
	var out fuse.EntryOut
	if e, errno := h.Readdirent(t.Context()); e != nil || errno != syscall.EIO {
		t.Errorf("read on: %+v, %v", e, errno)
	}
	if _, errno := h.Lookup(t.Context(), "00000", &out); errno == 0 {
		t.Error("a name is given")
	}
	if errno := h.Seekdir(t.Context(), 0); errno != 0 {
		t.Error(errno)
	}
	for read, errno = 0, 0; errno == 0 && read <= files; read++ {
		_, errno = h.Readdirent(t.Context())
	}
	if errno != syscall.EIO {
		t.Errorf("from the beginning, after %d entries: %v", read, errno)
	}
}

// Names come with attributes where somebody wants those of files. A folder's
// come always.
func TestAttributesWithNames(t *testing.T) {
	n := listed(t, 3)
	given := func(h *folderHandle) (names string) {
		t.Helper()
		for {
			e, errno := h.Readdirent(t.Context())
			if errno != 0 {
				t.Fatal(errno)
			}
			if e == nil {
				return names
			}
			if strings.HasPrefix(e.Name, ".") {
				continue
			}
			var out fuse.EntryOut
			if _, errno := h.Lookup(t.Context(), e.Name, &out); errno == 0 {
				names += e.Name + " "
			}
		}
	}
	if got := given(n.openForTest(t)); got != "folder " {
		t.Errorf("nobody looked up anything, and %sare given", got)
	}
	var out fuse.EntryOut
	if _, errno := n.Lookup(t.Context(), "folder", &out); errno != 0 || given(n.openForTest(t)) != "folder " {
		t.Error("a folder that was looked up makes files be given", errno)
	}
	if _, errno := n.Lookup(t.Context(), "00002", &out); errno != 0 || out.Size != 2 {
		t.Errorf("%d bytes, %v", out.Size, errno)
	}
	for i := range foldersWanted + 1 {
		want := "00000 00001 00002 folder "
		if i == foldersWanted {
			want = "folder "
		}
		if got := given(n.openForTest(t)); got != want {
			t.Errorf("in folder %d, %sare given", i, got)
		}
	}
	// An answer that is given again is nobody's wish; where files are given, they
	// are again.
	for _, wanted := range []bool{false, true} {
		n.t.wanted.Store(0)
		if _, errno := n.Lookup(t.Context(), "00002", &out); wanted && errno != 0 {
			t.Error(errno)
		} else if !wanted {
			n.t.wanted.Store(0)
		}
		h := n.openForTest(t)
		if h.list.attributes != wanted { // else the first page is read twice
			t.Errorf("attributes are read with the names: %v", !wanted)
		}
		for range 4 {
			if _, errno := h.Readdirent(t.Context()); errno != 0 {
				t.Fatal(errno)
			}
		}
		h.Lookup(t.Context(), "00001", &out)
		before := n.t.wanted.Load()
		if _, errno := h.Lookup(t.Context(), "00000", &out); (errno == 0) != wanted {
			t.Error(errno)
		}
		if !wanted && n.t.wanted.Load() != before {
			t.Error("files are given from now on")
		}
	}
}

// A program whose buffer takes only a part of an answer, as those of musl do, gets
// all names, whatever is looked up in between.
func TestSmallBuffers(t *testing.T) {
	t.Parallel()
	const count = 1500
	steps := []int{1, 2, 5, 6, 7, 1000}
	files := map[string]string{}
	for _, every := range steps {
		for i := range count {
			files[fmt.Sprintf("%d/%05d", every, i)] = ""
		}
	}
	a := newArchive(t)
	a.add(first, files)
	m := a.mount(childOptions{})
	for _, every := range steps {
		folder := filepath.Join(m.path(first), fmt.Sprint(every)) // which nobody has read
		fd, err := syscall.Open(folder, syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]int{}
		for buf, n := make([]byte, 2048), 0; ; n++ {
			length, err := syscall.ReadDirent(fd, buf)
			if err != nil {
				t.Fatal(err)
			}
			if length == 0 {
				break
			}
			_, _, names := syscall.ParseDirent(buf[:length], -1, nil)
			for _, name := range names {
				seen[name]++
			}
			if n%every == every-1 {
				if _, err := os.Lstat(filepath.Join(folder, names[0])); err != nil {
					t.Error(err)
				}
			}
		}
		syscall.Close(fd)
		for name, times := range seen {
			if times != 1 {
				t.Fatalf("every %d: %s comes %d times", every, name, times)
			}
		}
		if len(seen) != count {
			t.Errorf("every %d: %d names of %d", every, len(seen), count)
		}
	}
}

// The numbers in listings are those of the files, and another version's are others.
func TestInodeNumbers(t *testing.T) {
	t.Parallel()
	a := newArchive(t)
	files := map[string]string{"ab/1": "x", "ab/2": "x", "ab/deep/3": "x", "4": "x"}
	a.add(first, files)
	a.add(second, files)
	m := a.mount(childOptions{})
	seen := map[string]string{}
	for _, at := range []string{first, second} {
		for _, line := range strings.Fields(command(t, "find", m.path(at), "-mindepth", "1", "-printf", "%i=%p\n")) {
			number, path, _ := strings.Cut(line, "=")
			if other := seen[number]; other != "" {
				t.Errorf("%s and %s have the number %s", path, other, number)
			}
			seen[number] = path
		}
		for _, line := range strings.Split(strings.TrimSpace(command(t, "ls", "-i1", m.path(at, "ab"))), "\n") {
			f := strings.Fields(line)
			if got := fmt.Sprint(inode(t, m.path(at, "ab", f[1]))); got != f[0] {
				t.Errorf("%s is listed as %s and is %s", f[1], f[0], got)
			}
		}
	}
	if len(seen) != 2*6 {
		t.Errorf("%d numbers", len(seen))
	}
}

// Many can look at one large folder at once, each in its own way.
func TestLargeFolderAtOnce(t *testing.T) {
	t.Parallel()
	files := map[string]string{}
	for i := range 1500 {
		files[fmt.Sprintf("ab/%04d", i)] = ""
		files[fmt.Sprintf("ab/%02d/%04d", i%50, i)] = ""
	}
	a := newArchive(t)
	a.add(first, files)
	m := a.mount(childOptions{})
	var wg sync.WaitGroup
	for range 3 {
		for _, c := range [][]string{
			{"find", m.path(first), "-type", "f"}, {"find", m.path(first), "-type", "f", "-size", "0"},
			{"rsync", "-a", "--dry-run", "--out-format=%n", "--no-dirs", m.path(first) + "/", t.TempDir()},
		} {
			wg.Go(func() {
				out, err := tryCommand(t, c[0], c[1:]...)
				lines := 0
				for line := range strings.Lines(out) {
					if !strings.HasSuffix(line, "/\n") {
						lines++
					}
				}
				if err != nil || lines != len(files) {
					t.Errorf("%q: %d files of %d, %v", c, lines, len(files), err)
				}
			})
		}
	}
	wg.Wait()
}
