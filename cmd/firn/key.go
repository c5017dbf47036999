package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/chipster/firn/internal/keys"
	"github.com/urfave/cli/v2"
)

// keyCommand is `firn key`: the keys that backups are sealed to and opened with.
func keyCommand() *cli.Command {
	return &cli.Command{
		Name:  "key",
		Usage: "make, show and convert OpenPGP keys",
		Description: `Backups are sealed to a public key, and only the private key opens them.
The keys are ordinary OpenPGP keys: gpg can make, import and use them too.`,
		Subcommands: []*cli.Command{keyGenerateCommand(), keyShowCommand(), keyExportCommand()},
	}
}

func keyGenerateCommand() *cli.Command {
	return &cli.Command{
		Name:  "generate",
		Usage: "make a key pair",
		Description: `Writes the public key armored, for backup-gpg-public-key, and the private key
as base64 of its binary form, readable by you alone. Existing files are never
overwritten. Without --passphrase-file the private key is not protected.

Examples:
   firn key generate --name chipster --email chipster@example.org
   firn key generate --curve25519 --passphrase-file secret.txt
   base64 -d firn.private.base64 | gpg --import`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "curve25519", Usage: "Ed25519 and Curve25519 in place of RSA-4096: smaller and faster"},
			&cli.StringFlag{Name: "name", Value: "firn", Usage: "`NAME` in the user id"},
			&cli.StringFlag{Name: "email", Usage: "`ADDRESS` in the user id"},
			&cli.PathFlag{Name: "passphrase-file", Usage: "protect the private key with the passphrase in `FILE`"},
			&cli.PathFlag{Name: "public", Value: "firn.public.asc", Usage: "write the public key to `FILE`"},
			&cli.PathFlag{Name: "private", Value: "firn.private.base64", Usage: "write the private key to `FILE`"},
		},
		Action: keyGenerate,
	}
}

func keyGenerate(c *cli.Context) error {
	if c.NArg() > 0 {
		return usagef("unexpected argument %q", c.Args().First())
	}
	publicFile, privateFile := c.Path("public"), c.Path("private")
	// Creating the files is what counts, but generating RSA takes seconds.
	for _, file := range []string{publicFile, privateFile} {
		if _, err := os.Lstat(file); err == nil {
			return fmt.Errorf("%s exists: move it away or choose another name", file)
		}
	}
	options := keys.Options{Name: c.String("name"), Email: c.String("email"), Curve25519: c.Bool("curve25519")}
	if file := c.Path("passphrase-file"); file != "" {
		passphrase, err := readPassphraseFile(file)
		if err != nil {
			return err
		}
		options.Passphrase = passphrase
	}
	entity, err := keys.Generate(options)
	if err != nil {
		return err
	}
	if err := writeKeyPair(entity, publicFile, privateFile); err != nil {
		return err
	}

	protection := "not protected by a passphrase"
	if len(options.Passphrase) > 0 {
		protection = "protected by the passphrase"
	}
	_, err = fmt.Fprintf(c.App.Writer, `fingerprint  %s
public key   %s
private key  %s (%s)
Keep the private key away from the host that is backed up, in more than one place: with it anyone reads the backups, without it nobody does.
`, keys.Fingerprint(entity), publicFile, privateFile, protection)
	return err
}

// writeKeyPair leaves both files or none.
func writeKeyPair(entity *openpgp.Entity, publicFile, privateFile string) error {
	var public, private bytes.Buffer
	if err := keys.ExportPublic(&public, entity); err != nil {
		return err
	}
	if err := keys.ExportPrivate(&private, entity); err != nil {
		return err
	}
	if err := writeNewFile(privateFile, private.Bytes(), 0o600); err != nil {
		return err
	}
	if err := writeNewFile(publicFile, public.Bytes(), 0o644); err != nil {
		return errors.Join(err, os.Remove(privateFile))
	}
	return nil
}

// writeNewFile refuses to overwrite. Keys are synced: the next one to write may
// be a backup that only this key opens.
func writeNewFile(file string, data []byte, mode os.FileMode) (err error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file))
		}
	}()
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func keyShowCommand() *cli.Command {
	return &cli.Command{
		Name:      "show",
		Usage:     "show what keys are in files",
		ArgsUsage: "FILE...",
		Description: `Reads armored, base64 and binary keys, public and private; - is standard input.
No passphrase is needed, and nothing secret is shown.

Examples:
   firn key show firn.public.asc
   gpg --export chipster | firn key show -`,
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "print a JSON array"}},
		Action: keyShow,
	}
}

type shownKey struct {
	File string `json:"file"`
	keys.Info
}

func keyShow(c *cli.Context) error {
	if c.NArg() == 0 {
		return usagef("name the FILE of a key; - is standard input")
	}
	shown := []shownKey{}
	for _, file := range c.Args().Slice() {
		list, err := parseKeyFile(c, file)
		if err != nil {
			return err
		}
		for _, entity := range list {
			shown = append(shown, shownKey{file, keys.Describe(entity, time.Now())})
		}
	}
	if c.Bool("json") {
		encoder := json.NewEncoder(c.App.Writer)
		encoder.SetIndent("", "  ")
		return encoder.Encode(shown)
	}
	for i, key := range shown {
		if i > 0 {
			fmt.Fprintln(c.App.Writer)
		}
		if err := printKey(c.App.Writer, key); err != nil {
			return err
		}
	}
	return nil
}

func printKey(w io.Writer, key shownKey) error {
	kind := "public"
	switch {
	case key.Protected:
		kind = "private, protected by a passphrase"
	case key.Private:
		kind = "private, not protected"
	}
	expires := "never"
	if key.Expires != nil {
		expires = key.Expires.Format(time.RFC3339)
	}
	seals := strings.Join(key.EncryptionKeys, " ") + " " + key.EncryptionAlgorithm
	if key.Problem != "" {
		seals = "impossible: " + key.Problem
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "file\t%s\n", key.File)
	fmt.Fprintf(table, "fingerprint\t%s\n", key.Fingerprint)
	for _, id := range key.UserIDs {
		fmt.Fprintf(table, "user id\t%s\n", printable(id))
	}
	fmt.Fprintf(table, "kind\t%s\n", kind)
	fmt.Fprintf(table, "algorithm\t%s\n", key.Algorithm)
	fmt.Fprintf(table, "sealing key\t%s\n", seals)
	fmt.Fprintf(table, "created\t%s\n", key.Created.Format(time.RFC3339))
	fmt.Fprintf(table, "expires\t%s\n", expires)
	return table.Flush()
}

func keyExportCommand() *cli.Command {
	return &cli.Command{
		Name:      "export",
		Usage:     "convert a key from any form to the documented ones",
		ArgsUsage: "FILE",
		Description: `Writes public keys armored, a private key as base64 of its binary form. A
private key keeps its passphrase. - is standard input.

Examples:
   firn key export -o firn.public.asc firn.private.base64
   gpg --export-secret-keys chipster | firn key export --private -o firn.private.base64 -`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "public", Usage: "write the public part (the default)"},
			&cli.BoolFlag{Name: "private", Usage: "write the private key"},
			&cli.PathFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE`, which must not exist, in place of standard output"},
		},
		Action: keyExport,
	}
}

func keyExport(c *cli.Context) error {
	if c.NArg() != 1 {
		return usagef("name one FILE of a key, after the options; - is standard input")
	}
	if c.Bool("public") && c.Bool("private") {
		return usagef("choose one of --public and --private")
	}
	file := c.Args().First()
	list, err := parseKeyFile(c, file)
	if err != nil {
		return err
	}
	export, mode := keys.ExportPublic, os.FileMode(0o644)
	if c.Bool("private") {
		export, mode = keys.ExportPrivate, 0o600
		// Base64 texts cannot be put one after the other.
		if len(list) != 1 {
			return fmt.Errorf("%s holds %d keys: export private keys one by one", file, len(list))
		}
	}
	var out bytes.Buffer
	for _, entity := range list {
		if err := export(&out, entity); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	if output := c.Path("output"); output != "" {
		return writeNewFile(output, out.Bytes(), mode)
	}
	_, err = c.App.Writer.Write(out.Bytes())
	return err
}

func parseKeyFile(c *cli.Context, file string) (openpgp.EntityList, error) {
	data, err := readKeyFile(file, c.App.Reader)
	if err != nil {
		return nil, err
	}
	list, err := keys.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return list, nil
}
