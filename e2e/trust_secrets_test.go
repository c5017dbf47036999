package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chipster/firn/internal/objstore"
	"github.com/chipster/firn/internal/objstore/objstoretest"
)

// secrets is a world in which all that programs say and write is looked through
// for what nobody is to see.
type secrets struct {
	*world
	values map[string][]byte // by what they are
	inputs []string          // files that hold them, for firn to read

	mu   sync.Mutex
	said bytes.Buffer // output and arguments of all programs
}

// No secret is in a log, whatever is logged, in an error, in an argument, in a
// file that firn writes, nor in the bucket.
func TestSecrets(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			bucket := objstoretest.VersityGW(t)
			s := &secrets{world: newWorld(t), values: map[string][]byte{"S3 secret key": []byte(bucket.SecretKey)}}
			var err error
			s.store, err = objstore.OpenS3(t.Context(), bucket)
			must(t, err)
			for _, variable := range bucketSettings(bucket) {
				if !strings.Contains(variable, bucket.SecretKey) {
					s.env = append(s.env, variable)
				}
			}
			s.input("s3-secret", "S3 secret key", bucket.SecretKey)
			s.input("wrong-s3-secret", "wrong S3 secret key", rand.Text())
			for _, name := range []string{"key-passphrase", "passphrase", "wrong-passphrase", "wrong-s3-key"} {
				s.input(name, name, rand.Text())
			}
			newSite(t, s.storage).fill(5, 1)
			log := []string{"--verbose", "--log-format", format}
			s.nightsWithKeys(log)
			s.wrongSecrets(log)
			s.look()
		})
	}
}

// input writes a file with a secret.
func (s *secrets) input(name, what, value string) {
	s.Helper()
	must(s, os.WriteFile(s.path(name), []byte(value+"\n"), 0o600))
	s.inputs = append(s.inputs, name)
	s.values[what] = []byte(value)
}

// key makes the lines of a key's file secrets, and its bytes, in pieces.
func (s *secrets) key(name string) {
	s.Helper()
	text, err := os.ReadFile(s.path(name))
	must(s, err)
	s.inputs = append(s.inputs, name)
	for i, line := range strings.Fields(string(text)) {
		s.values[fmt.Sprintf("line %d of %s", i+1, name)] = []byte(line)
	}
	binary, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	must(s, err)
	for i := 0; i+32 <= len(binary); i += 32 {
		s.values[fmt.Sprintf("bytes from %d on of %s", i, name)] = binary[i : i+32]
	}
}

// firn runs the program, which has to end with an exit code.
func (s *secrets) firn(want int, args ...string) string {
	s.Helper()
	cmd := exec.CommandContext(s.Context(), firn, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	var out bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.dir, s.env, &out, &out
	must(s, cmd.Start())
	ended := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			s.watch(cmd.Process.Pid)
			select {
			case <-ended:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
	_ = cmd.Wait()
	close(ended)
	watching.Wait()
	if code := cmd.ProcessState.ExitCode(); code != want {
		s.Errorf("%q: exit code %d, not %d\n%s", args, code, want, out.String())
	}
	s.said.Write(out.Bytes())
	return out.String()
}

// watch keeps the arguments of a process and of all that it started: other
// users see them.
func (s *secrets) watch(pid int) {
	arguments, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	s.mu.Lock()
	s.said.Write(arguments)
	s.mu.Unlock()
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for _, child := range strings.Fields(string(text)) {
			var id int
			if _, err := fmt.Sscan(child, &id); err == nil {
				s.watch(id)
			}
		}
	}
}

// nightsWithKeys takes a storage from the files to the files, sealed for a key
// that is protected, for one that is not, and with a passphrase.
func (s *secrets) nightsWithKeys(log []string) {
	s.Helper()
	run := func(args ...string) { s.Helper(); s.firn(0, slices.Concat(log, args)...) }
	run("key", "generate", "--curve25519", "--public", "locked.asc", "--private", "locked", "--passphrase-file", "key-passphrase")
	run("key", "generate", "--curve25519", "--public", "plain.asc", "--private", "plain")
	run("key", "show", "plain", "locked")
	s.key("locked")
	s.key("plain")
	config := fmt.Sprintf("backup-s3-secret-key: %s\nbackup-gpg-passphrase: %s\n", s.values["S3 secret key"], s.values["passphrase"])
	must(s, os.WriteFile(s.path("chipster.yaml"), []byte(config), 0o600))
	s.inputs = append(s.inputs, "chipster.yaml")

	secret := []string{"--s3-secret-key-file", "s3-secret"}
	run(slices.Concat([]string{"upload", "files", s.storage, "--name", "locked", "--recipient", "locked.asc"}, secret)...)
	run(slices.Concat([]string{"upload", "files", s.storage, "--name", "plain", "--recipient", "plain.asc"}, secret)...)
	run("upload", "files", s.storage, "--name", "passphrase", "--config", "chipster.yaml")
	s.inBucket()
	run(slices.Concat([]string{"archive", s.archive}, secret)...)
	s.inBucket()
	s.sessionKeys()
	catalog := s.catalog()
	run("versions", s.archive, catalog)
	run("ls", "-R", s.archive, "plain/latest", catalog)
	for name, open := range map[string][]string{
		"locked": {"--key", "locked", "--passphrase-file", "key-passphrase"}, "plain": {"--key", "plain"},
		"passphrase": {"--passphrase-file", "passphrase"},
	} {
		run(slices.Concat([]string{"restore", s.archive, name + "/latest", "--to", s.path("restored-" + name), catalog}, open)...)
		dir, output := s.mountLogged(slices.Concat(log, []string{"mount", s.archive}), slices.Concat(open, []string{catalog}))
		s.must("rsync", "-r", filepath.Join(dir, name, "latest")+"/", s.path("copied-"+name))
		s.said.WriteString(output())
	}
}

// sessionKeys has gpg tell what the packages are sealed with.
func (s *secrets) sessionKeys() {
	s.Helper()
	s.importKey("plain")
	sealed, err := filepath.Glob(filepath.Join(s.archive, "plain_*", "~.lz4.gpg"))
	if err != nil || len(sealed) != 1 {
		s.Fatalf("%q, %v", sealed, err)
	}
	_, stderr, _ := s.run(nil, "gpg", "--batch", "--show-session-key", "--output", "/dev/null", "--yes", "--decrypt", sealed[0])
	found := regexp.MustCompile(`session key: '9:([0-9A-F]{64})'`).FindStringSubmatch(stderr)
	if found == nil {
		s.Fatalf("gpg tells no session key:\n%s", stderr)
	}
	binary, err := hex.DecodeString(found[1])
	must(s, err)
	s.values["session key"], s.values["bytes of the session key"] = []byte(found[1]), binary
	s.values["session key in lowercase"] = []byte(strings.ToLower(found[1]))
}

// wrongSecrets makes errors of which secrets are the cause.
func (s *secrets) wrongSecrets(log []string) {
	s.Helper()
	run := func(want int, args ...string) { s.Helper(); s.firn(want, slices.Concat(log, args)...) }
	must(s, os.WriteFile(s.path("broken.yaml"), []byte("backup-s3-secret-key: 'x\n\t"+string(s.values["S3 secret key"])+"\n: ["), 0o600))
	must(s, os.WriteFile(s.path("broken-key"), []byte("-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n"+string(s.values["line 1 of plain"])+"\n-----END PGP PRIVATE KEY BLOCK-----\n"), 0o600))
	s.inputs = append(s.inputs, "broken.yaml", "broken-key")
	upload := []string{"upload", "files", s.storage, "--name", "plain", "--recipient", "plain.asc"}
	run(5, append(upload, "--s3-secret-key-file", "wrong-s3-secret")...)
	run(5, "archive", s.archive, "--s3-secret-key-file", "wrong-s3-secret")
	s.firn(1, append(slices.Concat(log, upload), "--config", "broken.yaml")...)
	restore := func(want int, what string, open ...string) {
		s.Helper()
		run(want, slices.Concat([]string{"restore", s.archive, what + "/latest", "--to", s.path("not-restored"), s.catalog()}, open)...)
	}
	restore(5, "locked", "--key", "locked", "--passphrase-file", "wrong-passphrase")
	restore(5, "locked", "--key", "plain")
	restore(5, "passphrase", "--passphrase-file", "wrong-passphrase")
	restore(1, "plain", "--key", "broken-key")
	restore(1, "plain", "--key", "passphrase") // the wrong file
}

// inBucket looks through the bucket.
func (s *secrets) inBucket() {
	s.Helper()
	for _, key := range s.objects("", "") {
		s.check("the bucket's "+key, append(s.object(key), key...))
	}
}

// check looks for secrets.
func (s *secrets) check(where string, data []byte) {
	s.Helper()
	for _, what := range s.in(data) {
		s.Errorf("%s holds %s", where, what)
	}
}

func (s *secrets) in(data []byte) (found []string) {
	for what, value := range s.values {
		if len(value) < 10 {
			continue // the end of a file's last line
		}
		if bytes.Contains(data, value) {
			found = append(found, what)
		}
	}
	slices.Sort(found)
	return found
}

// look looks through all that was said, and all files but those that hold the
// secrets.
func (s *secrets) look() {
	s.Helper()
	s.check("the output of a program, or an argument,", s.said.Bytes())
	files := 0
	must(s, filepath.WalkDir(s.dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(name)
		if path := strings.TrimPrefix(name, s.dir+"/"); !slices.Contains(s.inputs, path) {
			files++
			s.check(path, append(data, path...))
		} else if len(s.in(data)) == 0 {
			s.Errorf("the check finds nothing in %s", path)
		}
		return err
	}))
	if s.said.Len() < 10_000 || files < 300 || len(s.values) < 20 {
		s.Errorf("looked for %d secrets in %d bytes of output and %d files only", len(s.values), s.said.Len(), files)
	}
	s.inBucket()
}

// mountLogged mounts, by a process of its own, and returns the folder and a
// function that ends it and returns what it said.
func (w *world) mountLogged(before, after []string) (dir string, output func() string) {
	w.Helper()
	dir, err := os.MkdirTemp(w.dir, "mount")
	must(w, err)
	cmd := exec.Command(firn, slices.Concat(before, []string{dir}, after)...)
	var out bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = w.dir, w.env, &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	must(w, cmd.Start())
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	stop := sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
			w.Errorf("mount does not end\n%s", out.String())
		}
		if isMounted(dir) {
			_ = exec.Command("fusermount3", "-u", "-z", dir).Run()
			w.Errorf("%s is still mounted", dir)
		}
	})
	w.Cleanup(stop)
	for deadline := time.Now().Add(20 * time.Second); !isMounted(dir); time.Sleep(20 * time.Millisecond) {
		select {
		case <-ended:
			w.Fatalf("mount: %v\n%s", cmd.ProcessState, out.String())
		default:
		}
		if time.Now().After(deadline) {
			w.Fatal("the mount does not come up")
		}
	}
	return dir, func() string { stop(); return out.String() }
}

// Whatever the umask, others have no access to what firn keeps; what is restored
// has the mode that it had.
func TestModes(t *testing.T) {
	t.Parallel()
	for _, umask := range []string{"000", "022", "077"} {
		t.Run(umask, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t).withFolder()
			site := newSite(t, w.storage)
			site.fill(20, 1)
			run := func(args ...string) {
				t.Helper()
				w.shell(`umask "$1"; shift; exec "$@"`, slices.Concat([]string{umask, firn, "--quiet"}, args)...)
			}
			run("key", "generate", "--curve25519", "--public", "key.asc", "--private", "key")
			upload := []string{"upload", "files", w.storage, "--name", "file-storage", "--recipient", "key.asc"}
			run(upload...)
			w.checkModes(umask, "bucket", 0o750, 0o640)
			run("archive", w.archive)
			site.remove("~")
			run(upload...)
			run("archive", w.archive)
			w.checkModes(umask, "bucket", 0o750, 0o640)
			w.checkModes(umask, "archive", 0o750, 0o640)

			to := w.path("restored")
			run("restore", w.archive, "file-storage/latest", "--to", to, "--key", "key")
			sameTree(t, "restored", tree(t, to), tree(t, w.storage), 0o777)
			w.checkModes(umask, "home", 0o700, 0o600) // the catalog, in its usual place
			if info, err := os.Stat(w.path("key")); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the private key has mode %v, %v", info.Mode(), err)
			}
		})
	}
}

// checkModes compares the modes of all that is below a folder, which the test
// itself made.
func (w *world) checkModes(umask, dir string, folder, file fs.FileMode) {
	w.Helper()
	var mask fs.FileMode
	if _, err := fmt.Sscanf(umask, "%o", &mask); err != nil {
		w.Fatal(err)
	}
	n := 0
	counts := map[string]int{}
	must(w, filepath.WalkDir(w.path(dir), func(name string, e fs.DirEntry, err error) error {
		if err != nil || name == w.path(dir) {
			return err
		}
		info, err := e.Info()
		want := file
		if e.IsDir() {
			want = folder
		}
		n++
		if got := info.Mode().Perm(); got != want&^mask {
			what := fmt.Sprintf("%v where it should be %v", info.Mode(), want&^mask)
			if counts[what]++; counts[what] == 1 {
				w.Errorf("umask %s, %s: %q has mode %s", umask, dir, strings.TrimPrefix(name, w.path(dir)), what)
			}
		}
		return err
	}))
	for what, n := range counts {
		w.Errorf("umask %s, %s: %d in all have mode %s", umask, dir, n, what)
	}
	if n == 0 {
		w.Errorf("%s is empty", dir)
	}
}
