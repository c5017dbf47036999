package catalog

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/chipster/firn/internal/backupname"
	"github.com/chipster/firn/internal/manifest"
	"github.com/chipster/firn/internal/signature"
)

// ErrRollback says that the archive's newest version of a storage is older than
// one that was seen before.
var ErrRollback = errors.New("the archive is older than it was")

// trustedPath is the database for those who trust these keys: it holds only what
// they signed, so it is not shared with those who do not ask.
func trustedPath(path string, trust *signature.Trusted) string {
	if trust == nil {
		return path
	}
	ext := filepath.Ext(path)
	return fmt.Sprintf("%s-trust-%.4x%s", strings.TrimSuffix(path, ext), sha256.Sum256([]byte(trust.ID())), ext)
}

// entries reads the list of a version, and where signatures count only what is
// signed. What it yields counts once it has ended without an error.
func (c *Catalog) entries(list io.Reader, name backupname.Name) iter.Seq2[manifest.Entry, error] {
	if c.trust == nil {
		return manifest.Read(list)
	}
	return func(yield func(manifest.Entry, error) bool) {
		backup, sig, err := openSigned(c.root, name)
		if err != nil {
			yield(manifest.Entry{}, err)
			return
		}
		defer backup.Close()
		for e, err := range c.trust.Archived(name, list, backup, sig) {
			if !yield(e, err) {
				return
			}
		}
	}
}

// openSigned opens a version's list as it was signed, and reads the signature,
// which is empty where there is none.
func openSigned(root string, name backupname.Name) (io.ReadCloser, []byte, error) {
	var sig []byte
	f, _, err := openList(root, stamp{name: name, list: manifest.BackupInfo + signature.Suffix})
	if err == nil {
		sig, err = io.ReadAll(io.LimitReader(f, signature.MaxSize+1))
		err = errors.Join(err, f.Close())
	}
	if errors.Is(err, fs.ErrNotExist) {
		return io.NopCloser(strings.NewReader("")), nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	f, _, err = openList(root, stamp{name: name, list: manifest.BackupInfo})
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: the list that was signed is gone: %w", signature.ErrUntrusted, err)
	}
	return f, sig, err
}

// newestFile remembers, beside the database and longer than it, the newest
// version of each storage that was seen: a signature is good for ever, also on
// what somebody put back from last year.
func newestFile(database string) string { return database + ".newest" }

// checkNewest compares the newest versions with those seen before. One that is
// there and damaged is not missing: whoever asks for it is told.
func (c *Catalog) checkNewest(path string, have []record) error {
	if c.trust == nil {
		return nil
	}
	there, signed := map[string]backupname.Name{}, map[string]backupname.Name{}
	for _, r := range have { // in order
		there[r.name.Storage()] = r.name
		if r.Damaged == "" {
			signed[r.name.Storage()] = r.name
		}
	}
	seen, err := readNewest(newestFile(path))
	if err != nil {
		return err
	}
	for storage, before := range seen {
		if now, ok := there[storage]; !ok || backupname.Compare(now, before) < 0 {
			return fmt.Errorf("%w: the version %s was seen before, and there is none as new any more; if it was you who removed it, delete %s",
				ErrRollback, before, newestFile(path))
		}
	}
	changed := false
	for storage, now := range signed {
		if before, ok := seen[storage]; !ok || backupname.Compare(before, now) < 0 {
			changed, seen[storage] = true, now
		}
	}
	if !changed {
		return nil
	}
	return writeNewest(newestFile(path), seen)
}

func readNewest(file string) (map[string]backupname.Name, error) {
	seen := map[string]backupname.Name{}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return seen, nil
	}
	var names []string
	if err == nil {
		err = json.Unmarshal(data, &names)
	}
	for _, text := range names {
		var name backupname.Name
		if name, err = backupname.Parse(text); err == nil {
			seen[name.Storage()] = name
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot tell whether the archive is as new as it was: %s: %w", file, err)
	}
	return seen, nil
}

func writeNewest(file string, seen map[string]backupname.Name) error {
	var names []string
	for _, name := range seen {
		names = append(names, name.String())
	}
	data, err := json.Marshal(names)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
