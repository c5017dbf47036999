package e2e

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/chipster/firn/internal/gpgtest"
	"github.com/chipster/firn/internal/objstore/objstoretest"
)

// TestScripts runs testdata/script: what the command line promises to people
// and scripts. There, firn is the program under test; "exits CODE PROGRAM ..."
// demands an exit code, "json FILE" a file or stdout of JSON values only, and
// "await FILE" waits for a file. $STORE is an empty place in a bucket that
// $S3_ENDPOINT and others describe, $ORIGINAL what the original system left.
func TestScripts(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) < 8 {
		t.Fatalf("%d scripts, %v", len(scripts), err)
	}
	bucket := objstoretest.VersityGW(t)
	testscript.Run(t, testscript.Params{
		Files: scripts,
		Setup: func(e *testscript.Env) error {
			bin := filepath.Join(e.WorkDir, ".bin")
			if err := os.Mkdir(bin, 0o755); err != nil {
				return err
			}
			for key, value := range map[string]string{
				"PATH": bin + string(os.PathListSeparator) + e.Getenv("PATH"), "HOME": e.WorkDir, "XDG_CACHE_HOME": e.WorkDir,
				"GNUPGHOME": gpgtest.Home(e.T().(testing.TB)), "ORIGINAL": original, "LC_ALL": "C",
				"S3_ENDPOINT": bucket.Endpoint, "S3_REGION": bucket.Region, "S3_ACCESS_KEY": bucket.AccessKey, "S3_SECRET_KEY": bucket.SecretKey,
				"S3_CA": bucket.CAFile, "STORE": "s3://" + bucket.Bucket + "/" + strings.ToLower(rand.Text()),
			} {
				e.Setenv(key, value)
			}
			return os.Symlink(firn, filepath.Join(bin, "firn"))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "json": isJSON, "await": await},
	})
}

// exits runs a program that has to end with an exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARGUMENT...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, not %d\n[stdout]\n%s[stderr]\n%s", code, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

// isJSON demands one JSON value or several.
func isJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: json FILE")
	}
	d := json.NewDecoder(strings.NewReader(ts.ReadFile(args[0])))
	for n := 0; ; n++ {
		var value any
		err := d.Decode(&value)
		if err == io.EOF && n > 0 {
			return
		}
		ts.Check(err)
	}
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await FILE")
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s does not appear", args[0])
		}
	}
}

// serveUnavailable is the command "unavailable FILE": a service that answers
// 503 to everything, whose URL is written to the file.
func serveUnavailable() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		err = os.WriteFile(os.Args[1]+".new", []byte("backup_s3_endpoint=http://"+l.Addr().String()+"\n"), 0o600)
	}
	if err == nil {
		err = os.Rename(os.Args[1]+".new", os.Args[1])
	}
	if err == nil {
		err = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "come back later", http.StatusServiceUnavailable)
		}))
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
