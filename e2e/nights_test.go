package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// night is a version of the storage and what it must be for ever.
type night struct {
	backup string
	copy   string // folder
	files  map[string]file
}

// nights is a storage that is backed up night after night.
type nights struct {
	*world
	site *site
	all  []night
}

// TestNights backs up a storage that changes and compares every version with a
// copy that was kept, through the mount and restored.
func TestNights(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name          string
		protect       func(w *world)
		nights        int
		small, medium int
		large         int
	}{
		{"five", withNewKey, 5, 250, 12, 80 << 20},
		{"rsa", withRSA, 2, 60, 3, 0},
		{"passphrase", withPassphrase, 2, 20, 2, 0},
		{"plain", func(*world) {}, 2, 60, 3, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t).withBucket()
			test.protect(w)
			n := &nights{world: w, site: newSite(t, w.storage)}
			n.site.fill(test.small, test.medium)
			if test.large > 0 {
				n.site.add(n.site.content(test.large))
			}
			n.backUp()
			n.archiveAll()
			for i := 2; i <= test.nights; i++ {
				n.site.day()
				n.backUp()
				switch i {
				case 3: // the archive server was off for a night
					n.site.day()
					n.backUp()
					n.archiveAll()
				case 4:
					n.archiveUnderMount()
				default:
					n.archiveAll()
				}
			}
			n.check()
		})
	}
}

// withNewKey seals for a key that firn makes.
func withNewKey(w *world) {
	w.firn("key", "generate", "--curve25519", "--public", "key.asc", "--private", "key")
	w.importKey("key")
	w.seal, w.open = []string{"--recipient", "key.asc"}, []string{"--key", w.path("key")}
}

// withRSA seals for the key that the original's archives are sealed for.
func withRSA(w *world) {
	private := filepath.Join(original, "keys", "chipster.private.base64")
	w.importKey(private)
	w.seal = []string{"--recipient", filepath.Join(original, "keys", "chipster.public.asc")}
	w.open = []string{"--key", private}
}

func withPassphrase(w *world) {
	file := filepath.Join(original, "keys", "passphrase.txt")
	must(w, os.WriteFile(filepath.Join(w.gpgHome, "gpg.conf"), []byte("pinentry-mode loopback\npassphrase-file "+file+"\n"), 0o600))
	w.seal, w.open = []string{"--passphrase-file", file}, []string{"--passphrase-file", file}
}

// backUp makes a backup, looks at it in the bucket, and keeps a copy.
func (n *nights) backUp() {
	n.Helper()
	backup := n.upload()
	files := tree(n, n.storage)
	n.all = append(n.all, night{backup, n.keepCopy(backup), files})
	n.checkBackup(backup, len(files))
}

// archiveAll archives what waits. Then only the newest is left in the bucket.
func (n *nights) archiveAll() {
	n.Helper()
	pulled := n.pull()
	newest := n.all[len(n.all)-1].backup
	if len(pulled) == 0 || pulled[len(pulled)-1] != newest {
		n.Fatalf("archived %q, not %s", pulled, newest)
	}
	for _, key := range n.objects("", "") {
		if !strings.HasPrefix(key, newest+"/") {
			n.Errorf("%s is still in the bucket", key)
		}
	}
	for _, name := range []string{"backup-info", "archive-info"} {
		if !slices.Contains(n.objects("", ""), newest+"/"+name) {
			n.Errorf("the bucket has no %s/%s", newest, name)
		}
	}
}

// archiveUnderMount archives while others read in a mount: nobody notices, but
// for the new version that appears.
func (n *nights) archiveUnderMount() {
	n.Helper()
	mount := n.mount()
	done, result := make(chan struct{}), make(chan error, 1)
	earlier := n.all[:len(n.all)-1]
	go func() { result <- readUntil(done, mount, earlier) }()
	n.archiveAll()
	close(done)
	if err := <-result; err != nil {
		n.Errorf("while the archiver moved files: %v", err)
	}
	newest := n.all[len(n.all)-1]
	n.await(inMount(mount, newest.backup))
	n.checkRsync(newest.copy, inMount(mount, newest.backup))
	n.checkRsync(newest.copy, filepath.Join(mount, "file-storage", "latest"))
	n.checkRsync(earlier[0].copy, inMount(mount, earlier[0].backup))
}

// readUntil reads all versions over and over, at least once.
func readUntil(done <-chan struct{}, mount string, versions []night) error {
	for {
		for _, v := range versions {
			for path, want := range v.files {
				hash, err := hashOf(inMount(mount, v.backup) + "/" + path)
				if err != nil {
					return err
				}
				if hash != want.hash {
					return fmt.Errorf("%s: %q has other content", v.backup, path)
				}
			}
		}
		select {
		case <-done:
			return nil
		default:
		}
	}
}

// check compares everything in every way.
func (n *nights) check() {
	var versions []string
	mount := n.mount()
	for _, v := range n.all {
		versions = append(versions, v.backup)
		n.checkRsync(v.copy, inMount(mount, v.backup))
		// Nothing can be written in a mount.
		sameTree(n, v.backup+" in the mount", tree(n, inMount(mount, v.backup)), v.files, 0o555)
		sameTree(n, v.backup+" restored", tree(n, n.restore(v.backup)), v.files, 0o777)
	}
	n.checkAnswers()
	n.checkArchive(versions)
}
