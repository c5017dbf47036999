package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestMountHelperArguments(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"/a /b":       "mount -- /a /b",
		"/a /b -o rw": "mount -- /a /b",
		"/a /b -o ro,nosuid,nodev,noexec,noauto,nofail,_netdev,user,users,defaults,x-systemd.automount,comment=c": "mount -- /a /b",
		"/a /b -n -t fuse.firn -o key=/k":            "mount --key=/k -- /a /b",
		"/a /b -sfnv -okey=/k,allow_other":           "mount --key=/k --allow-other -- /a /b",
		"-o key=/k /a /b":                            "mount --key=/k -- /a /b",
		"/a /b -o key=/k -o name=storage":            "mount --key=/k --name=storage -- /a /b",
		"/a /b -o version=s/latest":                  "mount --version=s/latest -- /a /b",
		"/a /b -o trust=/1,trust=/2":                 "mount --trust=/1 --trust=/2 -- /a /b",
		"/a /b -o cache_size=1GiB,metrics_file=/m":   "mount --cache-size=1GiB --metrics-file=/m -- /a /b",
		"/a /b -o passphrase-file=/p,catalog=/c":     "mount --passphrase-file=/p --catalog=/c -- /a /b",
		"/a /b -s -o bogus,key=/k":                   "mount --key=/k -- /a /b",
		"/a /../b -o key=/x/../k":                    "mount --key=/k -- /a /b",
		"/a /b -N /proc/1/ns/mnt":                    "mount -- /a /b",
		"/a /b -o key=/k=with=signs,user=somebody":   "mount --key=/k=with=signs -- /a /b",
		"/a /b -o X-mount.mkdir,default_permissions": "mount -- /a /b",
	} {
		r, err := parseMountHelper(strings.Fields(line))
		if got := strings.Join(r.args, " "); err != nil || got != want {
			t.Errorf("%q is %q, %v, not %q", line, got, err, want)
		}
	}
	r, err := parseMountHelper([]string{"/a", "/b", "-fv"})
	if err != nil || !r.fake || !r.verbose {
		t.Errorf("-fv: %+v, %v", r, err)
	}
}

func TestMountHelperRefuses(t *testing.T) {
	t.Parallel()
	for line, says := range map[string]string{
		"":                          "ROOT and MOUNTPOINT",
		"/a":                        "ROOT and MOUNTPOINT",
		"/a /b /c":                  "ROOT and MOUNTPOINT",
		"/a /b -x":                  "-x",
		"/a /b --key=/k":            "there is no flag --",
		"/a /b -o bogus":            `"bogus"`,
		"/a /b -o bogus=1":          `"bogus"`,
		"/a /b -o keyfile=/k":       `"keyfile"`,
		"/a /b -o key":              "key needs a value",
		"/a /b -o key=":             "key needs a value",
		"/a /b -o key=-":            "standard input",
		"/a /b -o allow_other=true": "has no value",
		"/a /b -o remount,ro":       "cannot be changed",
	} {
		_, err := parseMountHelper(strings.Fields(line))
		var usage usageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, which should say %q", line, err, says)
		}
	}
}

// Whatever mount(8) is given, the helper makes no argument of it that firn
// takes for another flag or command.
func FuzzMountHelper(f *testing.F) {
	for _, options := range []string{"", "rw", "key=/k,allow_other", "key=-", "name=--key=/etc/shadow", "version=,", "a=b=c,,,=,-", "--", "x-y,-o"} {
		f.Add(options, false)
	}
	f.Fuzz(func(t *testing.T, options string, sloppy bool) {
		args, err := mountOptions(strings.Split(options, ","), sloppy)
		if err != nil {
			return
		}
		flags := mountCommand().Flags
		for _, arg := range args {
			name, value, hasValue := strings.Cut(arg, "=")
			flag := findFlag(flags, name)
			if flag == nil || !strings.HasPrefix(name, "--") || name != "--"+flag.Names()[0] || takesValue(flag) != hasValue || hasValue && value == "" {
				t.Errorf("%q becomes %q", options, arg)
			}
			if slices.Contains(othersOptions, strings.TrimPrefix(name, "--")) {
				t.Errorf("%q is for firn and for mount(8)", name)
			}
		}
	})
}
