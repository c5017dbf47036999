package envelope

import (
	"crypto/sha256"
	"io"

	"github.com/chipster/firn/internal/manifest"
)

// Range is a part of a sealed file, in bytes.
type Range struct {
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
}

// Locate says where a sealed file, size bytes long, is not what the entry says:
// the ranges that no right hash of the list's table of blocks speaks for, in
// order and apart from one another. It needs no key, and is meant for a file
// whose SHA-512 is known to be wrong.
//
// Whatever byte is wrong is in a range, among up to a block of right ones, or
// two where it is close to the edge between them. What should be there and is
// not, and what is there and should not be, is in a range too. Where the list
// has no table, or one that does not fit or finds nothing, the file is one range.
//
// It reads the file once, a piece of up to 4 MiB at a time. An error is sealed's.
func Locate(sealed io.ReaderAt, size int64, e *manifest.Entry) ([]Range, error) {
	whole := []Range{{0, max(size, e.SealedSize)}}
	starts, hashes := pieces(e)
	if starts == nil {
		return whole, nil
	}
	var wrong []Range
	known := int64(0) // up to here all bytes were looked at
	buf := make([]byte, 128<<10)
	for i, hash := range hashes {
		from, to := max(0, starts[i]-pieceContext), starts[i+1]
		right, err := hasHash(sealed, from, to, hash, buf)
		if err != nil {
			return nil, err
		}
		if right { // also what this hash has of the piece before
			wrong = cutFrom(wrong, from)
		} else {
			wrong = addRange(wrong, known, to)
		}
		known = to
	}
	wrong = addRange(wrong, known, size)
	if len(wrong) == 0 {
		return whole, nil
	}
	return wrong, nil
}

// addRange adds the bytes between two places, of which the first is where the
// last range ends or behind it.
func addRange(all []Range, from, to int64) []Range {
	if from >= to {
		return all
	}
	if n := len(all); n > 0 && all[n-1].Offset+all[n-1].Length == from {
		all[n-1].Length += to - from
		return all
	}
	return append(all, Range{from, to - from})
}

// cutFrom takes away what is behind a place.
func cutFrom(all []Range, from int64) []Range {
	for n := len(all); n > 0 && all[n-1].Offset+all[n-1].Length > from; n-- {
		if all[n-1].Offset < from {
			all[n-1].Length = from - all[n-1].Offset
			return all
		}
		all = all[:n-1]
	}
	return all
}

func hasHash(sealed io.ReaderAt, from, to int64, want BlockHash, buf []byte) (bool, error) {
	sum := sha256.New()
	n, err := io.CopyBuffer(sum, io.NewSectionReader(sealed, from, to-from), buf)
	// A file that is shorter has not all of these bytes.
	return n == to-from && BlockHash(sum.Sum(nil)[:len(want)]) == want, err
}

// pieces says where the pieces of an entry's table begin in the sealed file,
// with the end of the last one, and which hash each has. It returns nil where
// there is no table, or none that fits the size in the list.
//
// All follows from the list. What it does not tell is how long the packets with
// the session key are; but all behind these is as long as Writer makes it.
func pieces(e *manifest.Entry) (starts []int64, hashes []BlockHash) {
	if e.Blocks == "" {
		return nil, nil
	}
	t, err := parseBlockTable(e.Blocks)
	if err != nil || len(t.Blocks) == 0 {
		return nil, nil
	}
	frames := int64(frameHeader + frameTrailer)
	for _, row := range t.Blocks {
		frames += int64(row.Length)
	}
	at := placesOf(e, frames)
	if at == nil {
		return nil, nil
	}
	starts, hashes = []int64{0}, []BlockHash{t.Header}
	x := int64(frameHeader)
	for _, row := range t.Blocks {
		starts, hashes = append(starts, at(x)), append(hashes, row.Hash)
		x += int64(row.Length)
	}
	return append(starts, e.SealedSize), hashes
}

// placesOf tells where in the sealed file each byte of the frames is, if Writer
// made it and the frames are of some length; nil where the list says that the
// file has another size.
func placesOf(e *manifest.Entry, frames int64) func(x int64) int64 {
	if !IsEncrypted(e.SealedPath) {
		if frames != e.SealedSize {
			return nil
		}
		return func(x int64) int64 { return x }
	}
	literal := literalHeader + frames
	content := versionSize + prefixSize + 1 + packetLength(literal) + mdcSize
	sessionKeys := e.SealedSize - 1 - packetLength(content)
	if sessionKeys < 0 {
		return nil
	}
	inner, outer := writtenChunks(prefixSize, literal), writtenChunks(sessionKeys, content)
	return func(x int64) int64 { return outer.at(versionSize + inner.at(literalHeader+x)) }
}

// writtenChunks are those of a packet that Writer wrote, from its tag on.
func writtenChunks(tag, length int64) *chunks {
	if length > chunkSize {
		return firstChunk{data: tag + 2, size: chunkSize, partial: true}.of(length)
	}
	return firstChunk{data: tag + 1 + lengthOfLength(length), size: length}.of(length)
}
