package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

const someArchive = "../../testdata/original/plain/archive"

// runCommand runs one command by itself and returns its standard output.
func runCommand(t *testing.T, command *cli.Command, args ...string) (string, error) {
	t.Helper()
	var out, complaints bytes.Buffer
	app := &cli.App{Name: "firn", Commands: []*cli.Command{command}, Writer: &out, ErrWriter: &complaints, ExitErrHandler: func(*cli.Context, error) {}}
	args = append([]string{"firn", command.Name, "--catalog", filepath.Join(t.TempDir(), "catalog")}, args...)
	err := app.RunContext(t.Context(), args)
	return out.String(), err
}

func mustRunCommand(t *testing.T, command *cli.Command, args ...string) string {
	t.Helper()
	out, err := runCommand(t, command, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestVersions(t *testing.T) {
	out := mustRunCommand(t, versionsCommand(), someArchive)
	if rows := strings.Split(strings.TrimSpace(out), "\n"); len(rows) != 5 || !strings.HasPrefix(rows[0], "NAME") || !strings.Contains(rows[4], "2021-03-04T01:10:00.123456Z  8 ") {
		t.Errorf("printed\n%s", out)
	}
	var rows []shownVersion
	out = mustRunCommand(t, versionsCommand(), "--json", someArchive, "file-storage")
	if err := json.Unmarshal([]byte(out), &rows); err != nil || len(rows) != 4 || rows[0].Files != 7 {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := runCommand(t, versionsCommand(), someArchive, "other"); exitCode(err) != exitNotFound {
		t.Error(err)
	}
}

func TestLsAndDiff(t *testing.T) {
	const v = "file-storage/latest"
	top := strings.Fields(mustRunCommand(t, lsCommand(), someArchive, v))
	all := strings.Fields(mustRunCommand(t, lsCommand(), "-R", someArchive, v))
	if len(all) != 8 || len(top) == 0 || !strings.HasPrefix(all[0], top[0]) {
		t.Errorf("%q and %q", top, all)
	}
	if one := mustRunCommand(t, lsCommand(), "-l", someArchive, v, all[0]); !strings.HasPrefix(one, "-r--r--r-- ") || strings.Count(one, "\n") != 1 {
		t.Errorf("%q", one)
	}
	for line := range strings.Lines(mustRunCommand(t, lsCommand(), "-R", "--json", someArchive, v)) {
		var n struct{ Path string }
		if err := json.Unmarshal([]byte(line), &n); err != nil || n.Path != all[0] {
			t.Errorf("%v: %s", err, line)
		}
		all = all[1:]
	}
	if _, err := runCommand(t, lsCommand(), someArchive, v, "nothing"); exitCode(err) != exitNotFound {
		t.Error(err)
	}
	changes := mustRunCommand(t, diffCommand(), someArchive, "file-storage_2019-05-05", v)
	if strings.Count(changes, "+ ") != 3 || strings.Count(changes, "- ") != 2 || strings.Count(changes, "~ ") != 1 {
		t.Errorf("printed\n%s", changes)
	}
}

func TestRestoreCommand(t *testing.T) {
	to := filepath.Join(t.TempDir(), "to")
	out := mustRunCommand(t, restoreCommand(), "--to", to, someArchive, "file-storage/latest")
	if !strings.Contains(out, "8 files") || !strings.Contains(out, to) {
		t.Errorf("printed %q", out)
	}
	if _, err := runCommand(t, restoreCommand(), someArchive, "file-storage/latest"); exitCode(err) != exitUsage {
		t.Error(err)
	}
	if _, err := runCommand(t, restoreCommand(), "--to", to, "../../testdata/original/rsa/archive", "file-storage/latest"); exitCode(err) == exitOK {
		t.Error("nothing was to be restored without a key")
	}
}

func TestShown(t *testing.T) {
	for path, want := range map[string]string{
		"ab/file": "ab/file", "日本 x": "日本 x", "a\nb": `"a\nb"`, "\x1b[2J": `"\x1b[2J"`, "\xff": `"\xff"`, `"a"`: `"\"a\""`,
	} {
		if got := shown(path); got != want {
			t.Errorf("%q is shown as %s", path, got)
		}
	}
}

func TestNotifySystemd(t *testing.T) {
	for _, socket := range []string{filepath.Join(t.TempDir(), "notify"), "@firn-test-" + filepath.Base(t.TempDir()) + "-" + filepath.Base(os.Args[0])} {
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("NOTIFY_SOCKET", socket)
		if err := notifySystemd("READY=1"); err != nil {
			t.Error(err)
		}
		b := make([]byte, 100)
		if n, err := conn.Read(b); err != nil || string(b[:n]) != "READY=1" {
			t.Errorf("%s got %q, %v", socket, b[:n], err)
		}
		conn.Close()
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := notifySystemd("READY=1"); err != nil {
		t.Error(err)
	}
}
