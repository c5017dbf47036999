package archiver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/heartbeat"
)

const (
	lockRenewed = 20 * time.Second // how often the lock file is written
	lockLost    = 90 * time.Second // after which its holder gives up
	lockDead    = 2 * time.Minute  // after which other hosts take it for dead, by the disk's clock
)

// heldLock is the archive's lock. On one host the system keeps it, and drops it
// with a process that dies. Not every network file system shows it to other
// hosts: for these the file is written again and again, and its time, which is
// the server's, tells whether its holder lives.
type heldLock struct {
	*heartbeat.Heart
	file    *os.File
	content string
}

// lock takes the archive for this run, until close. The context that it returns
// ends when the run has to.
func (d *disk) lock(ctx context.Context, now time.Time) (context.Context, error) {
	err := d.mkdirAll(downloadDir)
	var f *os.File
	if err == nil {
		f, err = d.root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, fileMode)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot write to the archive %s: %w", d.root.Name(), err)
	}
	boot := heartbeat.BootID()
	if err := d.acquire(f, boot); err != nil {
		f.Close()
		return nil, err
	}
	host, _ := os.Hostname()
	l := &heldLock{
		file:    f,
		content: fmt.Sprintf("process %d on %s since %s\n%s\n", os.Getpid(), host, now.UTC().Format(time.RFC3339), boot),
	}
	l.Heart = heartbeat.New(lockLost, l.write)
	if err := errors.Join(f.Truncate(0), l.Beat(ctx)); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s/%s: %w", d.root.Name(), lockFile, err)
	}
	d.held = l
	return l.Keep(ctx, lockRenewed), nil
}

func (d *disk) acquire(f *os.File, boot string) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("locking %s/%s: %w", d.root.Name(), lockFile, err)
	}
	content, rerr := io.ReadAll(io.LimitReader(f, 1000))
	who, where, _ := strings.Cut(strings.TrimSpace(string(content)), "\n")
	if err == nil && rerr == nil && who != "" && where != boot {
		var alive bool
		if alive, rerr = d.isFresh(f); alive {
			err = syscall.EWOULDBLOCK
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %s", ErrLocked, d.root.Name(), who)
	}
	return rerr
}

// isFresh tells whether the lock file was written lately, by the clock of the
// disk that it is on.
func (d *disk) isFresh(f *os.File) (bool, error) {
	const probe = lockFile + "-now"
	if err := d.removeAll(probe); err != nil {
		return false, err
	}
	p, err := d.create(probe)
	if err != nil {
		return false, err
	}
	defer p.Close()
	now, err := p.Stat()
	then, err2 := f.Stat()
	if err := errors.Join(err, err2, d.removeAll(probe)); err != nil {
		return false, err
	}
	return now.ModTime().Sub(then.ModTime()) < lockDead, nil
}

func (l *heldLock) write(context.Context) error {
	_, err := l.file.WriteAt([]byte(l.content), 0)
	return errors.Join(err, l.file.Sync())
}

// release lets others begin, also those that cannot see the system's lock.
func (l *heldLock) release() {
	l.Stop()
	if l.Check() == nil { // else it may be another host's by now
		_ = l.file.Truncate(0) // where that fails, other hosts wait for some minutes
	}
	_ = l.file.Close()
}
