package archiver

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// treeKey sorts paths such that what lies below a folder directly follows a file
// of the same path: the key of the one begins with the key of the other.
func treeKey(b []byte, path string) []byte {
	b = append(b, path...)
	asParts(b[len(b)-len(path):])
	return append(b, 0)
}

// asParts ends the parts of a path by a byte that none of them holds, and that
// sorts before all others.
func asParts(path []byte) {
	for i, c := range path {
		if c == '/' {
			path[i] = 0
		}
	}
}

// folderKey sorts paths such that the files of a folder follow one another, and
// what is below its folders comes behind them.
func folderKey(b []byte, path string) []byte {
	slash := strings.LastIndexByte(path, '/')
	return nameKey(b, path[:max(slash, 0)], path[slash+1:])
}

// nameKey is the folderKey of a name in a folder, "" for the top.
func nameKey(b []byte, dir, name string) []byte {
	if dir != "" {
		b = treeKey(b, dir)
	}
	b = append(b, 0)
	return append(append(b, name...), 0)
}

// cutKey takes apart what begins with a folderKey: the part that is the same for
// all files of the folder, the name, and what is behind the key.
func cutKey(b []byte) (dirKey, name, rest []byte) {
	end := 1
	if b[0] != 0 {
		end = bytes.Index(b, []byte{0, 0}) + 2
	}
	name, rest, _ = bytes.Cut(b[end:], []byte{0})
	return b[:end], name, rest
}

// keyOf is the folderKey that b begins with.
func keyOf(b []byte) []byte {
	_, _, rest := cutKey(b)
	return b[:len(b)-len(rest)]
}

// dirOfKey is the folder that a dirKey stands for, "" for the top.
func dirOfKey(dirKey []byte) string {
	return strings.ReplaceAll(string(dirKey[:max(len(dirKey)-2, 0)]), "\x00", "/")
}

// item is what is known of a line without reading it. Sorted, items are in
// the order of folderKey of their sealed paths.
type item struct {
	dir, name string // the sealed path: its folder, "" for the top, and the rest
	number    int64  // of the line, from 0
	offset    int64  // of the line in the list, bytes
	size      int64  // of the sealed file, bytes
	from      uint32 // where the line says that the file lies
}

// What a item's from can be. Folders of the archive are counted from
// fromFolder, in the order of job.folders.
const (
	fromPackage   = iota // a new file
	fromElsewhere        // a version that is not in the archive
	fromFolder
)

// appendTo appends the item as it is sorted; sealedPath is dir and name.
func (r *item) appendTo(b []byte, sealedPath string) []byte {
	b = folderKey(b, sealedPath)
	b = binary.BigEndian.AppendUint64(b, uint64(r.number))
	b = binary.BigEndian.AppendUint64(b, uint64(r.offset))
	b = binary.BigEndian.AppendUint64(b, uint64(r.size))
	return binary.BigEndian.AppendUint32(b, r.from)
}

func (r *item) path() string { return join(r.dir, r.name) }

// join is a path below a folder, either of which may be "".
func join(dir, name string) string {
	if dir == "" || name == "" {
		return dir + name
	}
	return dir + "/" + name
}

// decoder reads items. Those of one folder share its name.
type decoder struct {
	dirKey []byte
	dir    string
}

func (d *decoder) item(b []byte) item {
	dirKey, name, rest := cutKey(b)
	if !bytes.Equal(dirKey, d.dirKey) {
		d.dirKey, d.dir = append(d.dirKey[:0], dirKey...), dirOfKey(dirKey)
	}
	return item{
		dir: d.dir, name: string(name),
		number: int64(binary.BigEndian.Uint64(rest)),
		offset: int64(binary.BigEndian.Uint64(rest[8:])),
		size:   int64(binary.BigEndian.Uint64(rest[16:])),
		from:   binary.BigEndian.Uint32(rest[24:]),
	}
}

// bits are what is known of each line, by its number.
type bits []uint64

func newBits(n int64) bits { return make(bits, (n+63)/64) }

func (b bits) has(i int64) bool { return b[i/64]&(1<<(i%64)) != 0 }
func (b bits) set(i int64)      { b[i/64] |= 1 << (i % 64) }
func (b bits) clear(i int64)    { b[i/64] &^= 1 << (i % 64) }
