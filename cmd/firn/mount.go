package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	gometrics "runtime/metrics"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/chipster/firn/fs"
	"github.com/chipster/firn/internal/catalog"
	"github.com/chipster/firn/metrics"
)

func mountCommand() *cli.Command {
	return &cli.Command{
		Name:      "mount",
		Usage:     "show the versions of an archive as plain files",
		ArgsUsage: "ROOT MOUNTPOINT",
		Description: `Mounts the archive ROOT, read-only, on the empty folder MOUNTPOINT:
MOUNTPOINT/file-storage/2026-01-02T01:10:00.000Z/..., and .../latest. New
versions appear by themselves. It runs until it is interrupted or the mount is
taken down with umount or fusermount3 -u; systemd is told when it is ready.

While somebody uses the mount, it cannot be taken down; a second signal takes
it out of sight and waits for the last user.

Without a key everything is listed, and files that are not encrypted can be
read. A damaged file gives an input/output error, a file without a fitting key
"permission denied"; the log says why.

MOUNTPOINT/.firn-stats holds numbers of what the mount did so far, as JSON; no
listing shows it, and with --version it is not there. --metrics-file writes the
same for the textfile collector of Prometheus' node_exporter.

Examples:
   firn mount /mnt/archive /mnt/versions --key firn.private.base64
   firn mount /mnt/archive /mnt/versions --version file-storage/latest
   rsync -a /mnt/versions/file-storage/latest/ /opt/storage/`,
		Flags: append(keyFlags(),
			catalogFlag(), trustFlag(),
			&cli.StringFlag{Name: "name", Usage: "show the storage `NAME` only"},
			&cli.StringFlag{Name: "version", Usage: "show the `VERSION` itself, without folders above"},
			&cli.BoolFlag{Name: "allow-other", Usage: "let other users look into the mount (needs user_allow_other in /etc/fuse.conf, unless you are root)"},
			&cli.StringFlag{Name: "cache-size", Value: humanBytes(fs.DefaultCacheBytes), Usage: "keep at most `SIZE` of what was read; the process takes about 170 MiB more"},
			&cli.PathFlag{Name: "metrics-file", Usage: "write numbers for Prometheus to `FILE` every 30 seconds; node_exporter reads names that end in .prom"},
		),
		Action: runMount,
	}
}

func runMount(c *cli.Context) (err error) {
	args, err := arguments(c, "ROOT", "MOUNTPOINT")
	if err != nil {
		return err
	}
	if c.IsSet("name") && c.IsSet("version") {
		return usagef("choose one of --name and --version")
	}
	o := fs.Options{Archive: args[0], Mountpoint: args[1], AllowOther: c.Bool("allow-other"), Storage: c.String("name"), Logger: logger(c)}
	if o.CacheBytes, err = parseBytes(c.String("cache-size")); err != nil {
		return err
	}
	if o.Opener, err = openerOf(c); err != nil {
		return err
	}
	if o.Catalog, err = openCatalog(c, args[0]); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Catalog.Close()) }()
	if err := chooseVersion(c, &o); err != nil {
		return err
	}
	defer limitMemory(o.CacheBytes)()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	server, err := fs.Mount(o)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.App.Writer, "mounted %s on %s; unmount with: fusermount3 -u %s\n", shown(args[0]), shown(args[1]), shown(args[1]))
	if err := notifySystemd("READY=1"); err != nil {
		logger(c).Warn("cannot tell systemd that the mount is ready", "error", err)
	}
	if file := c.Path("metrics-file"); file != "" {
		defer tellMetrics(c, file, args[1], server)()
	}
	if err := serve(c, server, signals); err != nil {
		return err
	}
	o.Opener.Wipe() // nobody reads any more
	return nil
}

// limitMemory has the garbage collected before it doubles the cache, which is
// what it does by default, until the function that it returns is called.
// $GOMEMLIMIT comes before.
func limitMemory(cache int64) (end func()) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	live := []gometrics.Sample{{Name: "/gc/heap/live:bytes"}}
	limit := func() {
		gometrics.Read(live)
		debug.SetMemoryLimit(memoryLimit(cache, int64(live[0].Value.Uint64())))
	}
	limit()
	return every(time.Second, limit)
}

// memoryLimit leaves room above what is in use. The files that the kernel knows
// of take some 600 bytes each until it forgets them: with a million of them and a
// limit that stood still, collecting garbage would take most of the time.
func memoryLimit(cache, live int64) int64 {
	const rest = 96 << 20 // the catalog, requests in flight, the program itself
	return max(cache+cache/8+rest, live+live/2)
}

// chooseVersion checks what --name and --version say.
func chooseVersion(c *cli.Context, o *fs.Options) error {
	if spec := c.String("version"); spec != "" {
		v, err := o.Catalog.Find(c.Context, spec)
		if err == nil {
			err = v.Readable()
		}
		o.Version = &v
		return err
	}
	if o.Storage == "" {
		return nil
	}
	found, err := o.Catalog.Versions(c.Context, o.Storage)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%w: %s has none of the storage %q", catalog.ErrNoVersion, o.Archive, o.Storage)
	}
	return err
}

// serve waits for the end of the mount. Each signal is more urgent.
func serve(c *cli.Context, server *fs.Server, signals <-chan os.Signal) error {
	ended := make(chan struct{})
	go func() {
		server.Wait()
		close(ended)
	}()
	end := []func() error{server.Unmount, server.Detach, func() error { return errors.New("given up while the mount is in use") }}
	for {
		select {
		case <-ended:
			return nil
		case <-signals:
			err := end[0]()
			if end = end[1:]; len(end) == 0 {
				return err
			}
			if err != nil {
				logger(c).Warn("cannot unmount yet; interrupt again to detach the mount", "error", err)
			}
		}
	}
}

// tellMetrics writes the numbers of the mount now, twice a minute, and when the
// function that it returns is called. A file that cannot be written is no reason
// to take a mount from its users.
func tellMetrics(c *cli.Context, file, dir string, server *fs.Server) (end func()) {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs // one mount has one name, wherever it is told
	}
	warned := false
	tell := func(mounted bool) {
		err := metrics.WriteMountFile(file, dir, time.Now(), mounted, server.Stats())
		if err != nil && !warned {
			logger(c).Warn("cannot tell the numbers of the mount; trying on in silence", "error", err)
		}
		warned = warned || err != nil
	}
	tell(true)
	stop := every(metricsInterval, func() { tell(true) })
	return func() {
		stop()
		tell(false)
	}
}

// every calls f time and again, until the function that it returns is called.
func every(interval time.Duration, f func()) (end func()) {
	ending, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				f()
			case <-ending:
				return
			}
		}
	}()
	return func() {
		close(ending)
		<-ended
	}
}

// metricsInterval is twice as often as Prometheus commonly asks.
const metricsInterval = 30 * time.Second

// notifySystemd is sd_notify(3); without systemd it does nothing.
func notifySystemd(state string) error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	conn, err := net.Dial("unixgram", socket) // "@" stands for an abstract one here too
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte(state))
	return errors.Join(err, conn.Close())
}
