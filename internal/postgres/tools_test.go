package postgres

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]Version{
		"pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n": 150018,
		"psql (PostgreSQL) 16beta1\n":                           160000,
		"pg_dump (PostgreSQL) 18rc1":                            180000,
		"pg_dump (PostgreSQL) 19devel":                          190000,
		"pg_dump (PostgreSQL) 9.6.24":                           90624,
		"pg_dump (PostgreSQL) 9.6":                              90600,
		"pg_dump (EnterpriseDB) 13.1.4":                         130001,
		"pg_dump (PostgreSQL) 10.0":                             100000,
	} {
		if got, ok := parseVersion(text); !ok || got != want {
			t.Errorf("%q is version %d (%v); want %d", text, int(got), ok, int(want))
		}
	}
	for _, text := range []string{"", "pg_dump", "pg_dump 15.18", "command not found", "pg_dump (PostgreSQL) x"} {
		if got, ok := parseVersion(text); ok {
			t.Errorf("%q is version %v", text, got)
		}
	}
}

func TestVersionText(t *testing.T) {
	for version, want := range map[Version]string{150018: "15.18", 100000: "10.0", 90624: "9.6.24", 180000: "18.0"} {
		if got := version.String(); got != want {
			t.Errorf("%d is %q; want %q", int(version), got, want)
		}
	}
}

func saying(version string) string { return "echo 'pg_dump (PostgreSQL) " + version + "'" }

// install makes a $PATH and folders with stand-ins of pg_dump, each a script;
// "" is none.
func install(t *testing.T, inPath string, inFolders map[string]string) (pathDir, base string) {
	t.Helper()
	base = t.TempDir()
	for version, script := range inFolders {
		folder := filepath.Join(base, version)
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(standIn(t, "pg_dump", script), "pg_dump"), filepath.Join(folder, "pg_dump")); err != nil {
			t.Fatal(err)
		}
	}
	pathDir = t.TempDir()
	if inPath != "" {
		pathDir = standIn(t, "pg_dump", inPath)
	}
	t.Setenv("PATH", pathDir)
	saved := folders
	folders = []string{filepath.Join(base, "*")}
	t.Cleanup(func() { folders = saved })
	return pathDir, base
}

func TestFindChooses(t *testing.T) {
	all := map[string]string{"13": saying("13.9"), "15": saying("15.18"), "16": saying("16.3"), "9.6": saying("9.6.24"), "bad": "exit 1"}
	for _, c := range []struct {
		name, inPath string
		inFolders    map[string]string
		server       Version
		want         string // folder, or "PATH"
	}{
		{"of the same version", saying("16.3"), all, 150018, "15"},
		{"older, but of the same major version", saying("16.3"), all, 150099, "15"},
		{"next newer", saying("16.3"), all, 140001, "15"},
		{"PATH on a tie", saying("16.9"), all, 160003, "PATH"},
		{"PATH on a tie, though older", saying("16.1"), all, 160003, "PATH"},
		{"PATH is older", saying("14.2"), all, 160003, "16"},
		{"PATH is broken", "echo what", all, 160003, "16"},
		{"no PATH", "", all, 130009, "13"},
		{"three numbers", "", all, 90601, "9.6"},
		{"9.5 is older than 9.6", "", all, 90525, "9.6"},
		{"9.6 is older than 10", "", all, 100000, "13"},
		{"only PATH", saying("15.1"), nil, 150018, "PATH"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, base := install(t, c.inPath, c.inFolders)
			want := filepath.Join(base, c.want, "pg_dump")
			if c.want == "PATH" {
				want = filepath.Join(path, "pg_dump")
			}
			if got, err := (Tools{}).find(t.Context(), "pg_dump", c.server); err != nil || got.path != want || got.name != "pg_dump" {
				t.Errorf("found %+v, error %v; want %s", got, err, want)
			}
		})
	}
}

func TestFindSaysWhatToInstall(t *testing.T) {
	for _, c := range []struct {
		name      string
		inFolders map[string]string
		want      []string
	}{
		{"none", nil, []string{"there is no pg_dump here: install postgresql-client-16"}},
		{"old only", map[string]string{"13": saying("13.9"), "15": saying("15.18")},
			[]string{"the server is PostgreSQL 16.3, but the newest pg_dump here is 15.18 (", "/15/pg_dump): install postgresql-client-16 (or newer)"}},
		{"broken", map[string]string{"13": "echo out of order >&2; exit 3", "17": "echo Hello"},
			[]string{"there is no pg_dump", "/13/pg_dump --version: exit status 3", "/17/pg_dump --version says something else"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			install(t, "", c.inFolders)
			_, err := (Tools{}).find(t.Context(), "pg_dump", 160003)
			if !errors.Is(err, ErrTool) {
				t.Fatalf("error %v; want ErrTool", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q; want one with %q", err, want)
				}
			}
		})
	}
}

func TestFindInFolderOnly(t *testing.T) {
	install(t, saying("16.3"), nil)
	dir := standIn(t, "pg_dump", saying("15.18"))
	if got, err := (Tools{dir}).find(t.Context(), "pg_dump", 150000); err != nil || got.path != filepath.Join(dir, "pg_dump") {
		t.Errorf("found %+v, error %v", got, err)
	}
	if _, err := (Tools{dir}).find(t.Context(), "pg_dump", 160000); !errors.Is(err, ErrTool) || !strings.Contains(err.Error(), "in "+dir+" is 15.18") {
		t.Errorf("error %v", err)
	}
	empty := t.TempDir()
	if _, err := (Tools{empty}).find(t.Context(), "pg_dump", 160000); !errors.Is(err, ErrTool) || !strings.Contains(err.Error(), "no pg_dump in "+empty) {
		t.Errorf("error %v", err)
	}
}

func TestVacuumloIsInTheServersPackage(t *testing.T) {
	install(t, "", nil)
	_, err := (Tools{}).find(t.Context(), "vacuumlo", 150018)
	if !errors.Is(err, ErrTool) || !strings.HasSuffix(err.Error(), "install postgresql-15") {
		t.Errorf("error %v", err)
	}
}

// Debian's wrapper may run another version than it says.
func TestFindLeavesOutDebiansWrapper(t *testing.T) {
	path, base := install(t, "", map[string]string{"15": saying("15.18")})
	wrapper := filepath.Join(standIn(t, "pg_wrapper", saying("15.18")), "pg_wrapper")
	if err := os.Symlink(wrapper, filepath.Join(path, "pg_dump")); err != nil {
		t.Fatal(err)
	}
	want := filepath.Join(base, "15", "pg_dump")
	if got, err := (Tools{}).find(t.Context(), "pg_dump", 150000); err != nil || got.path != want {
		t.Errorf("found %+v, error %v; want %s", got, err, want)
	}
}

func TestFindIsCancelled(t *testing.T) {
	install(t, "exec sleep 60", nil)
	t.Setenv("PATH", os.Getenv("PATH")+":/bin:/usr/bin")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (Tools{}).find(ctx, "pg_dump", 150000); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
