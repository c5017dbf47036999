package envelope

import (
	"bytes"
	"crypto/sha512"
	"encoding/base64"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/chipster/firn/internal/keys"
)

const fixtures = "../../testdata/original"

// privateKeys loads a key of the original's: "chipster" or "curve".
func privateKeys(t testing.TB, name string) openpgp.EntityList {
	t.Helper()
	list, err := keys.ParsePrivate(readFile(t, filepath.Join(fixtures, "keys", name+".private.base64")), nil)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func publicKeys(t testing.TB, name string) openpgp.EntityList {
	t.Helper()
	list, err := keys.ParsePublic(readFile(t, filepath.Join(fixtures, "keys", name+".public.asc")))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

var passphrase = []byte("correct horse battery staple")

// openers and recipients of one kind each: what one seals the other opens.
func kinds(t testing.TB) map[string]struct {
	Recipients
	*Opener
} {
	type kind = struct {
		Recipients
		*Opener
	}
	return map[string]kind{
		"rsa":        {Recipients{Keys: publicKeys(t, "chipster")}, NewOpener(privateKeys(t, "chipster"))},
		"curve":      {Recipients{Keys: publicKeys(t, "curve")}, NewOpener(privateKeys(t, "curve"))},
		"two keys":   {Recipients{Keys: append(publicKeys(t, "curve"), publicKeys(t, "chipster")...)}, NewOpener(privateKeys(t, "chipster"))},
		"passphrase": {Recipients{Passphrase: passphrase}, NewOpener(nil, []byte("wrong"), passphrase)},
		"plain":      {Recipients{}, NewOpener(nil)},
	}
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// content makes data of which about half compresses.
func content(size int) []byte {
	b := make([]byte, size)
	random := rand.New(rand.NewPCG(1, uint64(size)))
	for i := 0; i < size; {
		n := min(1+random.IntN(100_000), size-i)
		if random.IntN(2) == 0 {
			for j := range n {
				b[i+j] = byte(random.Uint32())
			}
		}
		i += n
	}
	return b
}

func seal(t testing.TB, r Recipients, plain []byte) []byte {
	t.Helper()
	s, err := r.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	return sealWith(t, s, plain)
}

func sealWith(t testing.TB, s *Session, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := s.NewWriter(&b, int64(len(plain)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, struct{ io.Reader }{bytes.NewReader(plain)}); err != nil {
		t.Fatal(err)
	}
	sums, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	want := Sums{int64(len(plain)), sha512.Sum512(plain), int64(b.Len()), sha512.Sum512(b.Bytes()), sums.Blocks}
	if sums != want {
		t.Fatalf("sums of %d bytes: %+v, want %+v", len(plain), sums, want)
	}
	return b.Bytes()
}

func open(o *Opener, sealed []byte, encrypted bool) ([]byte, error) {
	r, err := o.NewReader(bytes.NewReader(sealed), encrypted)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// gpgHome imports the original's keys once into a home of its own.
var gpgHome = sync.OnceValues(func() (string, error) {
	home, err := os.MkdirTemp("/tmp", "firn-gpg")
	if err != nil {
		return "", err
	}
	for _, name := range []string{"chipster", "curve"} {
		b, err := os.ReadFile(filepath.Join(fixtures, "keys", name+".private.base64"))
		if err != nil {
			return "", err
		}
		key, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(string(b), "\n", ""))
		if err != nil {
			return "", err
		}
		cmd := exec.Command("gpg", "--homedir", home, "--batch", "--quiet", "--import")
		cmd.Stdin = bytes.NewReader(key)
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", &exec.Error{Name: "gpg --import: " + string(out), Err: err}
		}
	}
	return home, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if home, err := gpgHome(); err == nil {
		exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		os.RemoveAll(home)
	}
	os.Exit(code)
}

// run runs a real tool; one that is missing fails the test.
func run(t testing.TB, input []byte, name string, args ...string) []byte {
	t.Helper()
	if name == "gpg" {
		home, err := gpgHome()
		if err != nil {
			t.Fatal(err)
		}
		args = append([]string{"--homedir", home, "--batch", "--quiet", "--no-tty", "--trust-model", "always", "--pinentry-mode", "loopback"}, args...)
	}
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s(run make tools if it is not installed)", name, strings.Join(args, " "), err, stderr.String())
	}
	return out
}
