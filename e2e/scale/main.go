// Scale does for scripts/bench-scale.sh what a disk has no room for: it mounts an
// archive of many versions of very many files, whose lists are made as they are
// read. There are no sealed files in it. It is no part of firn.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

const usage = `usage:
  scale FILES VERSIONS MOUNTPOINT   mount an archive of lists, until it is interrupted`

func main() {
	if err := command(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func command(args []string) error {
	if len(args) != 3 {
		return errors.New(usage)
	}
	files, err := strconv.Atoi(args[0])
	versions, err2 := strconv.Atoi(args[1])
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	l, err := newLists(files, versions)
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	server, err := mount(l, args[2])
	if err != nil {
		return err
	}
	go func() {
		<-stop
		if err := server.Unmount(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}()
	server.Wait()
	return nil
}
