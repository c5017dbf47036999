package keys

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chipster/firn/internal/gpgtest"
)

// gpg is a key ring of the real gpg in a directory of its own.
type gpg struct {
	t    *testing.T
	home string
}

func newGPG(t *testing.T) gpg { return gpg{t, gpgtest.Home(t)} }

func (g gpg) env() []string { return append(os.Environ(), "GNUPGHOME="+g.home, "LC_ALL=C") }

// try runs gpg and returns its output, its messages and its error.
func (g gpg) try(stdin []byte, args ...string) (stdout []byte, stderr string, err error) {
	var out, messages bytes.Buffer
	cmd := exec.Command("gpg", append([]string{"--batch", "--no-tty", "--trust-model", "always"}, args...)...)
	cmd.Env = g.env()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &messages
	err = cmd.Run()
	return out.Bytes(), messages.String(), err
}

func (g gpg) run(stdin []byte, args ...string) []byte {
	g.t.Helper()
	out, messages, err := g.try(stdin, args...)
	if err != nil {
		g.t.Fatalf("gpg %s: %v\n%s", strings.Join(args, " "), err, messages)
	}
	return out
}

// withPassphrase are the arguments that unlock a key without a prompt.
func (g gpg) withPassphrase(passphrase string) []string {
	file := filepath.Join(g.home, "passphrase")
	if err := os.WriteFile(file, []byte(passphrase), 0o600); err != nil {
		g.t.Fatal(err)
	}
	return []string{"--pinentry-mode", "loopback", "--passphrase-file", file}
}

// generate makes a key with gpg itself, in its usual form.
func (g gpg) generate(userID, algo, usage, expire, passphrase string) {
	g.t.Helper()
	args := append(g.withPassphrase(passphrase), "--quick-generate-key", userID, algo, usage, expire)
	g.run(nil, args...)
}
