package uploader

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/heartbeat"
	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/shard"
)

// ErrLocked says that another upload of the same storage is going on.
var ErrLocked = errors.New("another upload of this storage is going on")

// leasePrefix begins the last part of the keys of leases.
const leasePrefix = "lease-"

const (
	leaseRenewed = time.Minute     // how often a lease is written
	leaseLost    = 4 * time.Minute // after which its holder gives up
	leaseDead    = 5 * time.Minute // after which others take it for dead, by the bucket's clock
)

// lease is an object in the bucket that says that an upload of a storage is
// going on, for the uploads of other hosts. Nothing but the bucket's own clock
// is compared, and only its lists and plain writes are used: conditional ones
// are not to be had everywhere.
//
// Whoever comes writes a lease, and looks for others only then; so of two that
// come at the same time, at least one sees the other.
type lease struct {
	*heartbeat.Heart
	store   objstore.Store
	key     string
	content []byte
	written time.Time // by the bucket's clock; not to be read while the Heart beats by itself
}

func newLease(store objstore.Store, name backupname.Name, s shard.Shard, now time.Time) *lease {
	host, _ := os.Hostname()
	l := &lease{
		store: store, key: name.String() + "/" + leasePrefix + shardTag(s) + rand.Text(),
		content: fmt.Appendf(nil, "process %d on %s since %s\n%s\n", os.Getpid(), host, now.UTC().Format(time.RFC3339), processID(os.Getpid())),
	}
	l.Heart = heartbeat.New(leaseLost, l.write)
	return l
}

func (l *lease) write(ctx context.Context) error {
	if err := l.store.Put(ctx, l.key, l.content); err != nil {
		return err
	}
	o, err := l.store.Head(ctx, l.key)
	l.written = o.Modified
	return err
}

// release ends the lease. Where the bucket does not let it be deleted, it
// becomes empty, which says the same.
func (l *lease) release(ctx context.Context) error {
	l.Stop()
	err := l.store.Delete(ctx, l.key)
	if errors.Is(err, objstore.ErrDenied) {
		err = l.store.Put(ctx, l.key, nil)
	}
	return err
}

// holder says whose lease an object is, or "" where nobody holds it any more.
// now is the bucket's.
func holder(ctx context.Context, store objstore.Store, o objstore.Object, now time.Time) (string, error) {
	if o.Size == 0 || now.Sub(o.Modified) > leaseDead {
		return "", nil
	}
	body, err := store.Get(ctx, o.Key, 0, -1)
	if errors.Is(err, objstore.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer body.Close()
	content, err := io.ReadAll(io.LimitReader(body, 4096))
	if err != nil {
		return "", err
	}
	who, process, _ := strings.Cut(strings.TrimSpace(string(content)), "\n")
	if isDead(process) {
		return "", nil
	}
	return printable(who), nil
}

// printable makes a text of the bucket's fit for a terminal.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), 200)]
}

// processID tells a process from all others of this and of other hosts: the
// start of the system, the name space of its number, the number, and when it
// began. Where the system does not tell, it is "".
func processID(pid int) string {
	space, err := processSpace()
	if err != nil {
		return ""
	}
	began, err := processStart(pid)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s %d %s", space, pid, began)
}

func processSpace() (string, error) {
	space, err := os.Readlink("/proc/self/ns/pid")
	if boot := heartbeat.BootID(); boot != "" {
		return boot + " " + space, err
	}
	return "", errors.New("no boot id")
}

func processStart(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The second field is the program's name, which may hold anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	const began = 22 - 3 // fields are counted from 1, and the first two are cut off
	if len(fields) <= began {
		return "", errors.New("no start time")
	}
	return fields[began], nil
}

// isDead tells that a process was one of this system and is none any more. Of
// other hosts' processes nothing is known.
func isDead(process string) bool {
	fields := strings.Fields(process)
	space, err := processSpace()
	if err != nil || len(fields) != 4 || fields[0]+" "+fields[1] != space {
		return false
	}
	pid, err := strconv.Atoi(fields[2])
	if err != nil {
		return false
	}
	if unix.Kill(pid, 0) == unix.ESRCH { // /proc may hide others' processes
		return true
	}
	began, err := processStart(pid)
	return err == nil && began != fields[3]
}
