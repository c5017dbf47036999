// Package e2e tests the program as its users meet it: bin/firn on a real S3
// server, with real gpg, lz4, tar, rsync and FUSE. It looks at what the program
// prints and leaves behind, never into its packages.
//
// $FIRN is the program, $FIRN_TOOLS the folder of versitygw; `make test-e2e`
// sets both. With FIRN_TEST_S3_ENDPOINT and the variables beside it, see
// internal/objstore/objstoretest, the buckets are on that server instead.
package e2e

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// firn is the absolute path of the program under test, original the folder of
// what the original system left, project the project's.
var firn, original, project string

func TestMain(m *testing.M) {
	// The same program again is the commands of the scripts.
	testscript.Main(tests{m}, map[string]func(){"unavailable": serveUnavailable})
}

type tests struct{ *testing.M }

func (t tests) Run() int {
	if err := findEverything(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// Most of the time the tests wait, for disks and for each other's servers.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	return t.M.Run()
}

func findEverything() error {
	var err error
	if project, err = filepath.Abs(".."); err != nil {
		return err
	}
	original = filepath.Join(project, "testdata", "original")
	if firn, err = filepath.Abs(cmp.Or(os.Getenv("FIRN"), filepath.Join(project, "bin", "firn"))); err != nil {
		return err
	}
	if _, err := exec.LookPath(firn); err != nil {
		return fmt.Errorf("%w: run make build", err)
	}
	if os.Getenv("FIRN_TOOLS") == "" {
		os.Setenv("FIRN_TOOLS", filepath.Join(project, ".tools", "bin"))
	}
	for _, tool := range []string{"gpg", "lz4", "tar", "rsync", "sha512sum", "fusermount3"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%w: run make tools", err)
		}
	}
	return nil
}
