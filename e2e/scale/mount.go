package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// forever is how long the kernel may keep what it was told, in seconds.
const forever = 1 << 30

// mounted is an archive that can be read at a mountpoint.
type mounted struct {
	*lists
	mountpoint string
	device     int
}

// mount has fusermount3 do it, which hands over the device through a socket.
func mount(l *lists, mountpoint string) (*mounted, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(pair[0])
	theirs := os.NewFile(uintptr(pair[1]), "socket")
	cmd := exec.Command("fusermount3", "-o", "ro,nosuid,nodev,fsname=scale", "--", mountpoint)
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Env = append(os.Environ(), "_FUSE_COMMFD=3")
	if err := errors.Join(cmd.Run(), theirs.Close()); err != nil {
		return nil, fmt.Errorf("cannot mount on %s: %w", mountpoint, err)
	}
	rights := make([]byte, syscall.CmsgSpace(4))
	_, n, _, _, err := syscall.Recvmsg(pair[0], make([]byte, 1), rights, syscall.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, err
	}
	messages, err := syscall.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("fusermount3 handed over nothing: %w", err)
	}
	devices, err := syscall.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	return &mounted{l, mountpoint, devices[0]}, nil
}

func (m *mounted) unmount() error { return exec.Command("fusermount3", "-u", m.mountpoint).Run() }

// serve answers until the mount is taken down.
func (m *mounted) serve() error {
	var group sync.WaitGroup
	errs := make([]error, 2) // one makes lines while the other waits
	for i := range errs {
		group.Go(func() { errs[i] = m.answerAll() })
	}
	group.Wait()
	return errors.Join(append(errs, syscall.Close(m.device))...)
}

func (m *mounted) answerAll() error {
	in, out := make([]byte, smallestRequest), []byte(nil)
	for {
		n, err := syscall.Read(m.device, in)
		switch {
		case err == syscall.ENODEV:
			return nil
		case err == syscall.EINTR || err == syscall.ENOENT || err == syscall.EAGAIN: // whoever asked does not wait any more
			continue
		case err != nil:
			return fmt.Errorf("reading what the kernel asks: %w", err)
		}
		var r request
		decode(in[:n], &r)
		if r.Opcode == opForget || r.Opcode == opBatchForget || r.Opcode == opInterrupt {
			continue // they have no answer
		}
		var errno syscall.Errno
		out, errno = m.answer(out[:0], r, in[requestLength:n])
		if errno != 0 {
			out = out[:replyLength]
		}
		head, _ := binary.Append(nil, binary.NativeEndian, reply{uint32(len(out)), -int32(errno), r.Unique})
		copy(out, head)
		if _, err := syscall.Write(m.device, out); err != nil && err != syscall.ENOENT {
			return fmt.Errorf("answering the kernel: %w", err)
		}
	}
}

// answer appends the answer behind room for its head.
func (m *mounted) answer(out []byte, r request, body []byte) ([]byte, syscall.Errno) {
	out = append(out, make([]byte, replyLength)...)
	switch r.Opcode {
	case opInit:
		return m.start(out, body), 0
	case opLookup:
		name, _, _ := bytes.Cut(body, []byte{0})
		return m.lookup(out, r.Node, string(name))
	case opGetattr:
		return encode(out, attributesOut{Valid: forever, attributes: m.attributes(r.Node)}), 0
	case opRead:
		return m.read(out, r.Node, body), 0
	case opReaddir:
		return m.readdir(out, r.Node, body), 0
	case opDestroy:
		return out, 0
	}
	return out, syscall.ENOSYS
}

func (m *mounted) start(out, body []byte) []byte {
	var in initIn
	decode(body, &in)
	return encode(out, initOut{
		Major: protocolMajor, Minor: protocolMinor, MaxReadahead: in.MaxReadahead, MaxWrite: 4096, TimeGranularity: 1, MaxPages: maxPages,
		Flags: in.Flags & (asyncRead | noOpenSupport | noOpendir | withMaxPages),
	})
}

// The nodes: 1 is the archive, 2v+2 the folder of version v, 2v+3 its list.
const root = 1

func isList(node uint64) bool   { return node > root && node%2 == 1 }
func version(node uint64) int   { return int(node-2) / 2 }
func folder(version int) uint64 { return uint64(2*version + 2) }

func (m *mounted) attributes(node uint64) attributes {
	at := m.time(0)
	if node != root {
		at = m.time(version(node))
	}
	a := attributes{Node: node, Mode: syscall.S_IFDIR | 0o755, Links: 2, User: uint32(os.Getuid()), Group: uint32(os.Getgid()), BlockSize: 4096}
	if isList(node) {
		a.Mode, a.Links, a.Size, a.Blocks = syscall.S_IFREG|0o644, 1, uint64(m.size()), uint64(m.size()+511)/512
	}
	a.Accessed, a.Modified, a.Changed = seconds(at), seconds(at), seconds(at)
	return a
}

func seconds(t time.Time) uint64 { return uint64(t.Unix()) }

// entry is one of a folder.
type entry struct {
	name string
	node uint64
}

func (m *mounted) entries(node uint64) []entry {
	if node != root {
		return []entry{{"archive-info", node + 1}}
	}
	var all []entry
	for v := range m.versions {
		all = append(all, entry{m.name(v), folder(v)})
	}
	return all
}

func (m *mounted) lookup(out []byte, node uint64, name string) ([]byte, syscall.Errno) {
	for _, e := range m.entries(node) {
		if e.name == name {
			return encode(out, entryOut{Node: e.node, EntryValid: forever, AttrsValid: forever, attributes: m.attributes(e.node)}), 0
		}
	}
	return out, syscall.ENOENT
}

// readdir goes on where the last entry said that the next one is.
func (m *mounted) readdir(out []byte, node uint64, body []byte) []byte {
	var in readIn
	decode(body, &in)
	limit := len(out) + int(in.Size)
	for i, e := range m.entries(node) {
		if uint64(i) < in.Offset {
			continue
		}
		kind := m.attributes(e.node).Mode >> 12
		next := encode(out, entryHeader{Node: e.node, Next: uint64(i + 1), NameLength: uint32(len(e.name)), Type: kind})
		next = append(next, e.name...)
		for len(next)%8 != 0 {
			next = append(next, 0)
		}
		if len(next) > limit {
			break
		}
		out = next
	}
	return out
}

func (m *mounted) read(out []byte, node uint64, body []byte) []byte {
	var in readIn
	decode(body, &in)
	from := min(int64(in.Offset), m.size())
	return m.appendRange(out, version(node), from, min(from+int64(in.Size), m.size()))
}

// decode and encode cannot fail for what has a fixed size; the kernel sends no
// less than it says.
func decode(b []byte, to any) { _, _ = binary.Decode(b, binary.NativeEndian, to) }

func encode(b []byte, from any) []byte {
	b, _ = binary.Append(b, binary.NativeEndian, from)
	return b
}
