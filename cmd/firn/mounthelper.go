package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// mountHelperName is the name under which mount(8) looks for the program of the
// type fuse.firn.
const mountHelperName = "mount.fuse.firn"

const mountHelperDescription = `mount(8) runs this program for file systems of the type fuse.firn. It starts
firn mount in the background, and returns when the mount can be read. It is
ended by umount(8).

What firn mount says until then appears on the terminal; later it goes to
the system's log, as firn-mount. The first mount of a large archive can take
minutes, since its catalog has to be made: in fstab(5), give
x-systemd.mount-timeout=10min then.

Options are the flags of firn-mount(1), without the dashes in front; allow_other
and cache_size can be written like that too. Those that mount(8) itself
knows are taken, and change nothing: a mount is always read-only. In a value
there can be no comma. The passphrase of a key cannot be asked for: give
passphrase-file.

Examples:
   mount -t fuse.firn /mnt/archive /mnt/versions -o key=/etc/firn/private.key,allow_other
   umount /mnt/versions

   # in /etc/fstab
   /mnt/archive /mnt/versions fuse.firn noauto,allow_other,key=/etc/firn/private.key 0 0`

// Exit codes of mount(8).
const (
	mountExitUsage  = 1
	mountExitFailed = 32
)

func isMountHelper(args []string) bool {
	return len(args) > 0 && filepath.Base(args[0]) == mountHelperName
}

// runMountHelper is the program as mount(8) calls it. It returns the exit code.
func runMountHelper(args []string) int {
	request, err := parseMountHelper(args)
	if err == nil && request.fake {
		return exitOK
	}
	if err == nil {
		if request.verbose {
			fmt.Fprintf(os.Stderr, "%s: firn %s\n", mountHelperName, strings.Join(request.args, " "))
		}
		err = startMount(request.args)
	}
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "%s: %v\n", mountHelperName, err)
		return mountExitUsage
	}
	fmt.Fprintf(os.Stderr, "%s: not mounted: %v\n", mountHelperName, err)
	return mountExitFailed
}

// mountRequest is what mount(8) asks for.
type mountRequest struct {
	args          []string // of firn
	fake, verbose bool
}

// parseMountHelper reads SOURCE TARGET [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE].
func parseMountHelper(args []string) (r mountRequest, err error) {
	var places, options []string
	sloppy := false
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if !isFlag(arg) {
			places = append(places, arg)
			continue
		}
		for i, letter := range arg[1:] {
			switch letter {
			case 's':
				sloppy = true
			case 'f':
				r.fake = true
			case 'v':
				r.verbose = true
			case 'n', 'r', 'w': // there is no mtab; it is read-only anyway
			case 'o', 't', 'N':
				value := arg[1+i+1:]
				if value == "" && len(args) > 0 {
					value, args = args[0], args[1:]
				}
				if letter == 'o' {
					options = append(options, strings.Split(value, ",")...)
				}
			default:
				return r, usagef("there is no flag -%c; usage: %s ROOT MOUNTPOINT [-sfnv] [-o OPTION[,OPTION...]]", letter, mountHelperName)
			}
			if strings.ContainsRune("otN", letter) {
				break
			}
		}
	}
	if len(places) != 2 {
		return r, usagef("ROOT and MOUNTPOINT are needed, and nothing else: %q", places)
	}
	flags, err := mountOptions(options, sloppy)
	if err != nil {
		return r, err
	}
	for i := range places {
		if places[i], err = filepath.Abs(places[i]); err != nil {
			return r, err
		}
	}
	r.args = slices.Concat([]string{"mount"}, flags, []string{"--"}, places)
	return r, nil
}

// othersOptions are those that are for mount(8), systemd or the kernel, or say
// what is so anyway.
var othersOptions = strings.Fields(`ro rw suid nosuid dev nodev exec noexec async sync dirsync atime noatime diratime
	nodiratime relatime norelatime strictatime nostrictatime lazytime nolazytime iversion noiversion mand nomand silent loud
	auto noauto user nouser users owner noowner group nogroup fail nofail defaults _netdev default_permissions`)

// mountOptions makes flags of firn mount from the options after -o.
func mountOptions(options []string, sloppy bool) (args []string, err error) {
	flags := mountCommand().Flags
	for _, option := range options {
		name, value, hasValue := strings.Cut(option, "=")
		switch {
		case option == "", slices.Contains(othersOptions, name), strings.HasPrefix(name, "x-"), strings.HasPrefix(name, "X-"), name == "comment":
			continue
		case name == "remount":
			return nil, usagef("a mount of firn cannot be changed: unmount it, and mount it again")
		}
		flag := findFlag(flags, strings.ReplaceAll(name, "_", "-"))
		if flag == nil {
			if sloppy {
				continue
			}
			return nil, usagef("there is no option %q; see %s(8)", name, mountHelperName)
		}
		arg, err := mountOption(flag, value, hasValue)
		if err != nil {
			return nil, err
		}
		args = append(args, arg)
	}
	return args, nil
}

func mountOption(flag cli.Flag, value string, hasValue bool) (string, error) {
	name := flag.Names()[0]
	takesValue := flag.(cli.DocGenerationFlag).TakesValue()
	switch {
	case takesValue && value == "":
		return "", usagef("the option %s needs a value: %[1]s=…", name)
	case !takesValue && hasValue:
		return "", usagef("the option %s has no value", name)
	case !takesValue:
		return "--" + name, nil
	case name == "key" && value == "-":
		return "", usagef("the key cannot come from standard input: name a file")
	}
	if takesFile(flag) {
		abs, err := filepath.Abs(value)
		if err != nil {
			return "", err
		}
		value = abs
	}
	return "--" + name + "=" + value, nil
}
