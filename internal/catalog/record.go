package catalog

import (
	"bytes"
	"encoding/binary"

	"github.com/chipster/firn/internal/manifest"
)

// A record is a node in a form that is sorted and compared by its bytes: the path
// of its folder below the storage, NUL, its name, NUL, and what it is. Paths hold
// no NUL, so records are in the order of folders.path and nodes.name.
const (
	isGone   byte = iota // not listed any more: only among changes
	isFolder             // and nothing else
	isFile               // and fileRecord follows
)

func appendRecord[T ~string | ~[]byte](b []byte, dir, name T, kind byte) []byte {
	b = append(append(b, dir...), 0)
	b = append(append(b, name...), 0)
	return append(b, kind)
}

// nodeKey is a record's folder and name, each with its NUL, and is what comes first
// in all records of a node.
func nodeKey(record []byte) []byte {
	end := bytes.IndexByte(record, 0) + 1
	return record[:end+bytes.IndexByte(record[end:], 0)+1]
}

// cutKey takes a key apart.
func cutKey(key []byte) (dir, name []byte) {
	end := bytes.IndexByte(key, 0)
	return key[:end], key[end+1 : len(key)-1]
}

// fileRecord is what a file's record says. Its slices are of whatever it was made
// from.
type fileRecord struct {
	size, sealedSize                  int64
	sha, sealedSHA, sealedPath, extra []byte
}

func (f *fileRecord) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(f.size))
	b = append(b, f.sha...)
	b = binary.BigEndian.AppendUint64(b, uint64(f.sealedSize))
	b = append(b, f.sealedSHA...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.sealedPath)))
	b = append(b, f.sealedPath...)
	return append(b, f.extra...)
}

func parseFile(b []byte) (f fileRecord) {
	cut := func(n int) (part []byte) {
		part, b = b[:n], b[n:]
		return part
	}
	f.size = int64(binary.BigEndian.Uint64(cut(8)))
	f.sha = cut(len(manifest.Hash{}))
	f.sealedSize = int64(binary.BigEndian.Uint64(cut(8)))
	f.sealedSHA = cut(len(manifest.Hash{}))
	f.sealedPath = cut(int(binary.BigEndian.Uint32(cut(4))))
	f.extra = b
	return f
}
