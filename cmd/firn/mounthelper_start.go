package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"slices"
	"strings"
	"syscall"
	"time"
)

// startMount starts firn with these arguments as a process that outlives this
// one, and returns when it has mounted.
func startMount(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	name := "@firn-mount-" + rand.Text() // in the abstract namespace: nothing to clean up
	if err := completeEnvironment(); err != nil {
		return err
	}
	if _, err := exec.LookPath(logProgram); err != nil {
		return fmt.Errorf("its log has no place to go: %w", err)
	}
	program, err := os.Executable() // the symbolic link is another
	if err != nil {
		return err
	}
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer ready.Close()
	log, childLog, err := os.Pipe()
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Dir = "/" // keeps no other file system busy
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+name)
	cmd.Stderr = childLog
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	childLog.Close()
	if err != nil {
		return err
	}
	return awaitMount(ctx, cmd, ready, log)
}

// awaitMount shows what the process says until it is ready or has ended. Then
// the log is handed on to logger(1), which ends when the process does.
func awaitMount(ctx context.Context, cmd *exec.Cmd, ready *net.UnixConn, log *os.File) error {
	isReady := make(chan struct{})
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := ready.Read(buffer)
			if err != nil {
				return // closed: the process ended before
			}
			if slices.Contains(strings.Split(string(buffer[:n]), "\n"), "READY=1") {
				close(isReady)
				return
			}
		}
	}()
	copied, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		_, _ = io.Copy(os.Stderr, log)
		close(copied)
	}()
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case <-isReady:
			_ = log.SetReadDeadline(time.Now())
			<-copied
			if err := startLogger(log); err != nil {
				return errors.Join(err, cmd.Process.Signal(syscall.SIGTERM))
			}
			return nil
		case err := <-ended:
			<-copied
			return fmt.Errorf("firn mount ended: %w", cmp.Or(err, errors.New("unmounted at once")))
		case <-ctx.Done():
			ctx = context.Background()
			_ = cmd.Process.Signal(syscall.SIGTERM)
		}
	}
}

// logProgram is where mount(8) is: both are of util-linux.
const logProgram = "logger"

// startLogger has the log of the process written to the system's from now on.
func startLogger(log *os.File) error {
	logger := exec.Command(logProgram, "--tag", "firn-mount", "--priority", "daemon.notice", "--socket-errors=off")
	logger.Dir = "/"
	logger.Stdin = log
	logger.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := logger.Start(); err != nil {
		return fmt.Errorf("its log has no place to go: %w", err)
	}
	return logger.Process.Release()
}

// completeEnvironment sets what mount(8) takes out of the environment: $PATH, and
// $HOME, where the catalog is looked for.
func completeEnvironment() error {
	if os.Getenv("PATH") == "" {
		if err := os.Setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"); err != nil {
			return err
		}
	}
	if os.Getenv("HOME") != "" {
		return nil
	}
	u, err := user.Current()
	if err != nil {
		return err
	}
	return os.Setenv("HOME", u.HomeDir)
}
