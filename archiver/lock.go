package archiver

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lock takes the archive for this run, until close. The system drops the lock
// of a process that dies. The file's text is for people only.
func (d *disk) lock(now time.Time) error {
	if err := d.mkdirAll(downloadDir); err != nil {
		return err
	}
	f, err := d.root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 1000))
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("%w: %s: %s", ErrLocked, d.root.Name(), strings.TrimSpace(string(holder)))
		}
		return fmt.Errorf("locking %s/%s: %w", d.root.Name(), lockFile, err)
	}
	d.held = f
	host, _ := os.Hostname()
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "process %d on %s since %s\n", os.Getpid(), host, now.UTC().Format(time.RFC3339))
	return err
}
