package archiver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// errLost ends a run that did not show for so long that another one may have
// taken its place.
var errLost = errors.New("the lock could not be renewed for too long; run it again")

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
	file    *os.File
	content string
	renewed atomic.Int64 // Unix nanoseconds, by this host's clock
	stop    func()
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
	boot := bootID()
	if err := d.acquire(f, boot); err != nil {
		f.Close()
		return nil, err
	}
	host, _ := os.Hostname()
	l := &heldLock{
		file:    f,
		content: fmt.Sprintf("process %d on %s since %s\n%s\n", os.Getpid(), host, now.UTC().Format(time.RFC3339), boot),
	}
	if err := errors.Join(f.Truncate(0), l.write()); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s/%s: %w", d.root.Name(), lockFile, err)
	}
	d.held = l
	return l.keep(ctx), nil
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

// bootID tells this system from others, and from itself before it was started
// anew. Where the system does not tell, it is "".
func bootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}

func (l *heldLock) write() error {
	at := time.Now()
	_, err := l.file.WriteAt([]byte(l.content), 0)
	if err = errors.Join(err, l.file.Sync()); err == nil {
		l.renewed.Store(at.UnixNano()) // the wall clock's: the other one stands still while a host sleeps
	}
	return err
}

// keep renews the lock until release.
func (l *heldLock) keep(ctx context.Context) context.Context {
	ctx, lose := context.WithCancelCause(ctx)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(lockRenewed)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			err := l.check() // first: to write after a long sleep does not give it back
			if err == nil {
				_ = l.write() // what counts is when it last succeeded
				err = l.check()
			}
			if err != nil {
				lose(err)
				return
			}
		}
	}()
	l.stop = func() {
		close(stop)
		<-stopped
		lose(nil)
	}
	return ctx
}

// check tells whether others still take this run for alive.
func (l *heldLock) check() error {
	if since := time.Now().UnixNano() - l.renewed.Load(); since < 0 || since > int64(lockLost) {
		return errLost
	}
	return nil
}

// reasonOf is the error of a run, or why it had to end: that it lost the lock.
func reasonOf(held context.Context, err error) error {
	if cause := context.Cause(held); err != nil && errors.Is(cause, errLost) {
		return cause
	}
	return err
}

// release lets others begin, also those that cannot see the system's lock.
func (l *heldLock) release() {
	l.stop()
	_ = l.file.Truncate(0) // where that fails, other hosts wait for some minutes
	_ = l.file.Close()
}
