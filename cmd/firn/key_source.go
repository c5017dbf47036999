package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/chipster/firn/internal/keys"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// keyFlags are the flags of all commands that open sealed files.
func keyFlags() []cli.Flag {
	return []cli.Flag{
		&cli.PathFlag{Name: "key", Usage: "private key in `FILE`, - is standard input (otherwise the content of $FIRN_KEY)"},
		&cli.PathFlag{Name: "passphrase-file", Usage: "passphrase of the key or of the backups in `FILE` (otherwise $FIRN_PASSPHRASE, or a prompt)"},
	}
}

// loadPrivateKeys returns what keyFlags give: unlocked private keys, and the
// passphrases to try on backups that are sealed with one. Both may be empty:
// plain backups need neither.
func loadPrivateKeys(c *cli.Context) (openpgp.EntityList, [][]byte, error) {
	return keySource{
		keyFile:        c.Path("key"),
		passphraseFile: c.Path("passphrase-file"),
		stdin:          c.App.Reader,
		getenv:         os.Getenv,
		prompt:         promptPassphrase,
	}.load()
}

// keySource is where the private key and its passphrase come from. There is no
// flag for either value itself: other users see the arguments of a process.
type keySource struct {
	keyFile, passphraseFile string
	stdin                   io.Reader
	getenv                  func(string) string
	prompt                  func(keyID string) ([]byte, error)
}

func (s keySource) load() (openpgp.EntityList, [][]byte, error) {
	passphrase, err := s.passphrase()
	if err != nil {
		return nil, nil, err
	}
	var passphrases [][]byte
	ask := s.prompt
	if len(passphrase) > 0 {
		passphrases = [][]byte{passphrase}
		ask = func(string) ([]byte, error) { return passphrase, nil }
	}
	data, from, err := s.key()
	if err != nil || data == nil {
		return nil, passphrases, err
	}
	list, err := keys.ParsePrivate(data, ask)
	clear(data)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", from, err)
	}
	return list, passphrases, nil
}

// key returns nil data when no key is given.
func (s keySource) key() (data []byte, from string, err error) {
	if s.keyFile != "" {
		data, err = readKeyFile(s.keyFile, s.stdin)
		return data, s.keyFile, err
	}
	if text := s.getenv("FIRN_KEY"); text != "" {
		return []byte(text), "FIRN_KEY", nil
	}
	return nil, "", nil
}

// passphrase returns nil when none is given.
func (s keySource) passphrase() ([]byte, error) {
	if s.passphraseFile != "" {
		return readPassphraseFile(s.passphraseFile)
	}
	return []byte(s.getenv("FIRN_PASSPHRASE")), nil
}

// readKeyFile reads a little more than the parsers take, so that they can refuse
// what is too large. It never returns nil without an error.
func readKeyFile(file string, stdin io.Reader) ([]byte, error) {
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		stdin = f
	}
	return io.ReadAll(io.LimitReader(stdin, keys.MaxSize+1))
}

// readPassphraseFile drops the line end that editors add.
func readPassphraseFile(file string) ([]byte, error) {
	data, err := readKeyFile(file, nil)
	if err != nil {
		return nil, err
	}
	passphrase := bytes.TrimRight(data, "\r\n")
	if len(passphrase) == 0 {
		return nil, fmt.Errorf("%s: the passphrase is empty", file)
	}
	return passphrase, nil
}

var errNoTerminal = fmt.Errorf("%w: no terminal to ask for it: give --passphrase-file or FIRN_PASSPHRASE", keys.ErrPassphrase)

// promptPassphrase asks on the terminal itself, since standard input may be the key.
func promptPassphrase(keyID string) ([]byte, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, errNoTerminal
	}
	defer tty.Close()
	fmt.Fprintf(tty, "Passphrase of private key %s: ", keyID)
	defer fmt.Fprintln(tty)
	return term.ReadPassword(int(tty.Fd()))
}
