package manifest

import (
	"bytes"
	"crypto/sha512"
	"fmt"
	"io"
	"io/fs"
	"testing"
	"time"

	"github.com/chipster/firn/internal/backupname"
)

// listOf makes a list as the uploader writes it.
func listOf(t testing.TB, lines int) []byte {
	t.Helper()
	name, err := backupname.Parse("file-storage_2019-05-08T09:26:17.038Z")
	if err != nil {
		t.Fatal(err)
	}
	var list bytes.Buffer
	w := NewWriter(&list)
	for i := range lines {
		path := fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i)
		sum := sha512.Sum512([]byte(path))
		err := w.Write(&Entry{
			Path: path, Size: int64(i), SHA512: sum, SealedPath: path + ".lz4.gpg", SealedSize: int64(i) + 600, SealedSHA512: sum, Backup: name,
			Details: Details{Modified: time.Unix(1557307577, int64(i)), Mode: fs.FileMode(0o640), HasMode: true,
				Package: "0000_small_files.tar", Offset: int64(i) * 1024, Key: "3f2a9b1c4d5e6f70"},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return list.Bytes()
}

// The list of a million files is read, and written.
func BenchmarkMillionLines(b *testing.B) {
	list := listOf(b, 100_000)
	again := func() io.Reader {
		var ten []io.Reader
		for range 10 {
			ten = append(ten, bytes.NewReader(list))
		}
		return io.MultiReader(ten...)
	}
	b.Run("read", func(b *testing.B) {
		b.SetBytes(10 * int64(len(list)))
		b.ReportAllocs()
		for b.Loop() {
			for _, err := range Read(again()) {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("write", func(b *testing.B) {
		var entries []Entry
		for e := range Read(bytes.NewReader(list)) {
			entries = append(entries, e)
		}
		b.SetBytes(10 * int64(len(list)))
		b.ReportAllocs()
		for b.Loop() {
			w := NewWriter(io.Discard)
			for range 10 {
				for i := range entries {
					if err := w.Write(&entries[i]); err != nil {
						b.Fatal(err)
					}
				}
			}
		}
	})
}
