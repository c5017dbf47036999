// Package gpgtest gives tests a key ring of the real gpg's.
package gpgtest

import (
	"os"
	"os/exec"
	"testing"
)

// Home is an empty home folder of gpg, until the test ends: then its agent ends
// too. A gpg that is missing fails the test.
func Home(t testing.TB) string {
	t.Helper()
	if _, err := exec.LookPath("gpg"); err != nil {
		t.Fatal("gpg is missing (Debian: apt install gnupg)")
	}
	// The agent's socket is in it, and sockets have short paths: t.TempDir is too
	// long for one.
	home, err := os.MkdirTemp("", "gpg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("gpgconf", "--homedir", home, "--kill", "all").CombinedOutput(); err != nil {
			t.Errorf("gpgconf --kill all: %v: %s", err, out)
		}
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	return home
}
