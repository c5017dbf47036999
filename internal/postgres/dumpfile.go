package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// CheckDump looks at the dump in a file as far as that goes without a server: a
// plain one must have pg_dump's mark at its end, and of a custom one pg_restore
// must be able to read the table of contents. ErrTool says that there is no
// pg_restore to ask.
func (t Tools) CheckDump(ctx context.Context, name string) (Format, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	start := make([]byte, len(archiveMagic))
	if _, err := io.ReadFull(f, start); err == nil && string(start) == archiveMagic {
		return Custom, t.list(ctx, name)
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return Plain, err
	}
	tail := make([]byte, min(end, maxTail))
	if _, err := f.ReadAt(tail, end-int64(len(tail))); err != nil && err != io.EOF {
		return Plain, err
	}
	if !bytes.Contains(tail, []byte(endOfDump)) {
		return Plain, fmt.Errorf("the dump has no end: %w", io.ErrUnexpectedEOF)
	}
	return Plain, nil
}

// list has the newest pg_restore read the contents: it reads the dumps of older
// ones, and not the other way around.
func (t Tools) list(ctx context.Context, name string) error {
	var newest tool
	var broken []error
	for _, path := range t.candidates("pg_restore") {
		version, err := versionOf(ctx, path)
		if err != nil {
			broken = append(broken, err)
		} else if version > newest.version {
			newest = tool{"pg_restore", path, version}
		}
	}
	if newest.path == "" {
		return errors.Join(fmt.Errorf("%w: there is no pg_restore to look into the dump with", ErrTool), errors.Join(broken...))
	}
	p := (&Database{}).program(ctx, newest, nil, "--list", name)
	return p.failure(p.Run())
}
