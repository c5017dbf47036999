package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// patience is how long a program may take to end after SIGTERM.
const patience = 5 * time.Second

// program is one of PostgreSQL's that is about to run, or does.
type program struct {
	*exec.Cmd
	name     string
	messages *messages // of its standard error
}

// program prepares t to work on the database. It is asked to end when ctx does,
// killed when it does not, and does not outlive this process. No argument may
// hold the password, which it has in its environment.
func (d *Database) program(ctx context.Context, t tool, log *slog.Logger, arguments ...string) *program {
	cmd := exec.CommandContext(ctx, t.path, arguments...)
	p := &program{Cmd: cmd, name: t.name, messages: &messages{program: t.name, log: log}}
	cmd.Env = d.environment()
	cmd.Stderr = p.messages
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	// The signal comes when the thread ends that starts the program. The threads
	// of this process end when it does, as no goroutine here locks one.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	return p
}

// failure makes one line of what Run or Wait returned and of what the program
// said last.
func (p *program) failure(err error) error {
	if err == nil {
		return nil
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	said := p.messages.String()
	if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
		said = strings.TrimSuffix("killed by signal "+fmt.Sprint(int(status.Signal()))+": "+said, ": ")
	}
	if said == "" {
		said = exit.String()
	}
	return fmt.Errorf("%s: %s", p.name, said)
}

const (
	maxLines = 20
	maxLine  = 1000 // bytes
)

// messages is an [io.Writer] that keeps the last lines, and logs warnings as
// they come. It must not be written to and read at the same time.
type messages struct {
	program string
	log     *slog.Logger // nil: do not log
	lines   []string
	partial []byte // of the line that has not ended; at most maxLine
	warning bool   // the last line was one
}

func (m *messages) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		end := bytes.IndexAny(rest, "\r\n") // progress is written with \r
		part := rest
		if end >= 0 {
			part = rest[:end]
		}
		m.partial = append(m.partial, part[:min(len(part), maxLine-len(m.partial))]...)
		if end < 0 {
			break
		}
		m.endLine()
		rest = rest[end+1:]
	}
	return len(p), nil
}

func (m *messages) endLine() {
	line := strings.ToValidUTF8(strings.TrimSpace(string(m.partial)), "\uFFFD")
	m.partial = m.partial[:0]
	line = strings.TrimPrefix(line, m.program+": ")
	if line == "" {
		return
	}
	more := strings.HasPrefix(line, "detail:") || strings.HasPrefix(line, "hint:")
	m.warning = strings.Contains(strings.ToLower(line), "warning:") || more && m.warning
	if m.warning {
		if m.log != nil {
			m.log.Warn(m.program, "message", line)
		}
		return
	}
	if len(m.lines) == maxLines {
		m.lines = append(m.lines[:0], m.lines[1:]...)
	}
	m.lines = append(m.lines, line)
}

// String is the last lines that are no warnings, as one.
func (m *messages) String() string {
	m.endLine()
	return strings.Join(m.lines, "; ")
}
