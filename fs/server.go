package fs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// ErrBusy says that a mount cannot be taken down while it is in use.
var ErrBusy = errors.New("the mount is in use")

// Server is a mount. Its methods are safe for concurrent use.
type Server struct {
	mountpoint string
	fuse       *fuse.Server
	tree       *tree
	cancel     context.CancelFunc
	once       sync.Once
}

// Wait returns when the mount was taken down, by whomever, and all requests
// have been answered.
func (s *Server) Wait() {
	s.fuse.Wait()
	s.end()
}

// end stops what goes on in the background.
func (s *Server) end() {
	s.once.Do(func() {
		s.cancel()
		s.tree.closeFiles()
		s.tree.versions.wg.Wait()
		s.tree.wg.Wait()
	})
}

// Unmount takes the mount down. ErrBusy: somebody uses it.
func (s *Server) Unmount() error {
	for wait := 10 * time.Millisecond; ; wait *= 2 {
		err := s.unmount(0)
		if !errors.Is(err, ErrBusy) || wait > 300*time.Millisecond {
			return err
		}
		time.Sleep(wait) // the kernel takes a while to notice that files were closed
	}
}

// Detach takes the mount out of the tree of files at once. Who has something
// open can go on with it, and Wait returns when the last of them is done.
func (s *Server) Detach() error { return s.unmount(unix.MNT_DETACH) }

func (s *Server) unmount(flags int) error {
	err := unix.Unmount(s.mountpoint, flags|unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EPERM) {
		err = fusermount(s.mountpoint, flags)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EBUSY):
		err = ErrBusy
	}
	return fmt.Errorf("cannot unmount %s: %w", s.mountpoint, err)
}

// fusermount unmounts for ordinary users. Why it does not, it says in words
// alone; that the mount is in use is what happens.
func fusermount(mountpoint string, flags int) error {
	args := []string{"-u", "--", mountpoint}
	if flags&unix.MNT_DETACH != 0 {
		args = append([]string{"-z"}, args...)
	}
	out, err := exec.Command("fusermount3", args...).CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); !exited {
		return err
	}
	return fmt.Errorf("%w: %s", ErrBusy, bytes.TrimSpace(out))
}

// raiseReadAhead lets the kernel read ahead as far as one request goes, in place
// of an eighth of that. Only root can; it is no matter if it fails.
func (s *Server) raiseReadAhead() {
	var st unix.Stat_t
	if os.Geteuid() != 0 || unix.Stat(s.mountpoint, &st) != nil {
		return
	}
	setting := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(st.Dev), unix.Minor(st.Dev))
	if err := os.WriteFile(setting, fmt.Appendln(nil, preferredIO>>10), 0); err != nil {
		s.tree.log.Debug("cannot raise the kernel's read-ahead", "error", err)
	}
}
