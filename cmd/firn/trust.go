package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/urfave/cli/v2"

	"github.com/chipster/firn/internal/config"
	"github.com/chipster/firn/internal/keys"
	"github.com/chipster/firn/internal/signature"
)

// trustFlag is the flag of all commands that read an archive's or a backup's
// lists.
func trustFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "trust", Usage: "take only what is signed with the public key in `FILE`; give it again for more keys"}
}

// trustOf returns nil where signatures do not matter. Flags come before what the
// configuration has, which may be nil.
func trustOf(c *cli.Context, cfg *config.Config) (*signature.Trusted, error) {
	var list openpgp.EntityList
	for _, name := range c.StringSlice("trust") {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("key to trust: %w", err)
		}
		found, err := keys.Parse(data)
		if err != nil {
			return nil, fmt.Errorf("key to trust: %s: %w", name, err)
		}
		list = append(list, found...)
	}
	if len(list) == 0 && cfg != nil {
		value := cfg.Get("backup-gpg-trusted-keys", "")
		if value.Text == "" {
			return nil, value.Err
		}
		var err error
		if list, err = keys.Parse([]byte(value.Text)); err != nil {
			return nil, fmt.Errorf("backup-gpg-trusted-keys in %s: %w", value.Source, err)
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	trusted, err := signature.NewTrusted(list)
	if err != nil {
		return nil, fmt.Errorf("keys to trust: %w", err)
	}
	return &trusted, nil
}

// signerOf returns nil where nothing is to be signed.
func signerOf(cfg *config.Config, role string) (*signature.Signer, error) {
	key := cfg.Get("backup-gpg-signing-key", role)
	passphrase := cfg.Get("backup-gpg-signing-passphrase", role)
	if err := errors.Join(key.Err, passphrase.Err); err != nil || key.Text == "" {
		return nil, err
	}
	list, err := keys.ParsePrivate([]byte(key.Text), func(string) ([]byte, error) { return []byte(passphrase.Text), nil })
	if errors.Is(err, keys.ErrPassphrase) {
		err = fmt.Errorf("%w; give backup-gpg-signing-passphrase, or --sign-passphrase-file", err)
	}
	if err != nil {
		return nil, fmt.Errorf("key to sign with, in %s: %w", key.Source, err)
	}
	signer, err := signature.NewSigner(list)
	if err != nil {
		return nil, fmt.Errorf("key to sign with, in %s: %w", key.Source, err)
	}
	return signer, nil
}
